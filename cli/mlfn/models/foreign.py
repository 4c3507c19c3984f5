"""Files and folders that are no model we read: what they are instead, told from their first bytes, and the way out.

Nothing is unpickled, unpacked or run: a zip archive's list of names is all that is read beyond the first bytes.
"""

from __future__ import annotations

import codecs
import zipfile
from pathlib import Path

from mlfn.errors import InvalidInput
from mlfn.models.conversions import CONVERSIONS

__all__ = ["explain"]

HEAD_BYTES = 4096

_PICKLE_HINT = "mlfn never opens a pickle: it could run any code"
_PICKLE_HINTS = (_PICKLE_HINT, CONVERSIONS["sklearn"], CONVERSIONS["pytorch"])
_DOWNLOAD_HINT = "if it was downloaded, fetch the file again, and compare its size with the original"

_SIGNATURES: tuple[tuple[int, bytes, str, tuple[str, ...]], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)", (CONVERSIONS["h5py"],)),
    (4, b"TFL3", "a TensorFlow Lite model", (CONVERSIONS["tflite"],)),
    (4, b"ORTM", "a model in ONNX Runtime's own format (.ort)", ("deploy the .onnx file that it was made from",)),
    (0, b"GGUF", "a GGUF file (llama.cpp)", ("GGUF does not convert to ONNX: export the original model",)),
    (0, b"\x93NUMPY", "a NumPy array", ("deploy the model, not its data",)),
    (0, b"PAR1", "a Parquet table", ("deploy the model, not its data",)),
    (0, b"\x1f\x8b", "a gzip archive", ("unpack it: gunzip FILE, or tar xzf FILE",)),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", ("unpack it: unzstd FILE",)),
    (0, b"BZh", "a bzip2 archive", ("unpack it: bunzip2 FILE",)),
    (0, b"\xfd7zXZ", "an xz archive", ("unpack it: unxz FILE",)),
    (257, b"ustar", "a tar archive", ("unpack it: tar xf FILE",)),
    (0, b"\x78\x9c", "zlib data (a compressed joblib file?)", (_PICKLE_HINT, CONVERSIONS["sklearn"])),
    (0, b"binf", "an XGBoost model", (CONVERSIONS["xgboost"],)),
    (0, b"{L\x00\x00", "an XGBoost model (UBJSON)", (CONVERSIONS["xgboost"],)),
    (0, b"CBM1", "a CatBoost model", (CONVERSIONS["catboost"],)),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the model itself", ("git lfs install && git lfs pull",)),
    (0, b"tree\nversion=", "a LightGBM model", (CONVERSIONS["lightgbm"],)),
    (0, b"%PDF", "a PDF document", ()),
    (0, b"\x7fELF", "a program or library", ()),
)
"""(offset, bytes, what it is, hints); the first that fits."""

_ZIP_MEMBERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("data.pkl", "a PyTorch file", (_PICKLE_HINT, CONVERSIONS["pytorch"])),
    ("constants.pkl", "a TorchScript file", (_PICKLE_HINT, CONVERSIONS["pytorch"])),
    ("model.weights.h5", "a Keras 3 model", (CONVERSIONS["keras"],)),
    (".onnx", "a zip archive with an ONNX model in it", ("unpack it: unzip FILE",)),
    (".npy", "NumPy arrays (.npz)", ("deploy the model, not its data",)),
    ("MLmodel", "a zip archive with an MLflow model in it", ("unpack it: unzip FILE",)),
)

_FOLDER_MEMBERS: tuple[tuple[str, str, str], ...] = (
    ("saved_model.pb", "a TensorFlow SavedModel", "tensorflow"),
    ("model.safetensors", "a Hugging Face model", "transformers"),
    ("pytorch_model.bin", "a Hugging Face model", "transformers"),
    ("inference.pdmodel", "a PaddlePaddle model", "paddle"),
    ("model.pdmodel", "a PaddlePaddle model", "paddle"),
)


def explain(path: Path) -> InvalidInput:
    """Return the error for something that no format knows. Raises OSError when it cannot be read."""
    if path.is_dir():
        return _folder(path)
    size = path.stat().st_size
    if size == 0:
        return InvalidInput(f"{path} is empty; expected an ONNX model", hints=(_DOWNLOAD_HINT,))
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    what, hints = _recognise(path, head)
    return InvalidInput(
        f"{path} is {what}; expected an ONNX file or an MLflow folder",
        hints=hints or ("mlfn serves ONNX: docs/guides/bring-your-model.md tells how to export one",),
    )


def _recognise(path: Path, head: bytes) -> tuple[str, tuple[str, ...]]:
    for offset, magic, what, hints in _SIGNATURES:
        if head[offset : offset + len(magic)] == magic:
            return what, hints
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(path)
    if _is_pickle(head):
        return "a pickle (scikit-learn, joblib, PyTorch…)", _PICKLE_HINTS
    if head[8:9] == b"{" and b'"dtype"' in head[:HEAD_BYTES]:
        return "a safetensors file", (CONVERSIONS["safetensors"],)
    return _text(head) or ("no ONNX model: its first bytes are no ModelProto", ())


def _is_pickle(head: bytes) -> bool:
    """Tell a pickle by its protocol byte (2 to 5), or a protocol 0 or 1 pickle by its opening opcode."""
    return head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"ccopy_reg\n"))


def _zip(path: Path) -> tuple[str, tuple[str, ...]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        # ValueError: a name that is no text. Which it is matters: the file may be whole, and of a newer kind.
        return f"a zip archive that cannot be read ({error})", (_DOWNLOAD_HINT,)
    for member, what, hints in _ZIP_MEMBERS:
        if any(name.endswith(member) for name in names):
            return what, hints
    return "a zip archive", ("unpack it: unzip FILE",)


def _text(head: bytes) -> tuple[str, tuple[str, ...]] | None:
    """Describe a text; None when it is none."""
    try:
        # Not bytes.decode: the head may end within a character.
        start = codecs.getincrementaldecoder("utf-8")().decode(head).lstrip("\ufeff \t\r\n")
    except UnicodeDecodeError:
        return None
    if any(ord(character) < 32 and character not in "\t\n\r\f\x1b" for character in start):
        return None
    lowered = start[:200].lower()
    if lowered.startswith(("<!doctype html", "<html")) or "<head" in lowered:
        return "an HTML page, such as a server sends in place of a file", (_DOWNLOAD_HINT,)
    if lowered.startswith(("<?xml", "<error")):
        return "an XML document", (_DOWNLOAD_HINT,)
    if lowered.startswith(("{", "[")):
        hints = (CONVERSIONS["xgboost"],) if '"learner"' in start else (_DOWNLOAD_HINT,)
        return ("an XGBoost model (JSON)" if '"learner"' in start else "a JSON document"), hints
    first = start.splitlines()[0][:60] if start else ""
    return f"a text that begins with {first!r}", (_DOWNLOAD_HINT,)


def _folder(path: Path) -> InvalidInput:
    for member, what, kind in _FOLDER_MEMBERS:
        if (path / member).is_file():
            return InvalidInput(
                f"{path} is {what}; expected an ONNX file or an MLflow folder", hints=(CONVERSIONS[kind],)
            )
    models = sorted(each.relative_to(path).as_posix() for each in (*path.glob("*.onnx"), *path.glob("*/*.onnx")))
    hints = tuple(f"did you mean {path / model}?" for model in models[:5])
    return InvalidInput(
        f"{path} is a folder without an MLmodel file; expected an ONNX file or an MLflow folder",
        hints=hints or ("name the .onnx file, or the folder that mlflow.onnx.save_model wrote",),
    )
