"""What is no model: one InvalidInput that names the file, says what it is, and tells the way out."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from mlfn.errors import InvalidInput
from mlfn.models import open_model
from mlfn.models.onnx_format import MAX_FILE_BYTES


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def zipped(**members: bytes) -> bytes:
    """Return a zip archive; __ in a name stands for a dot."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def tarred() -> bytes:
    """Return an empty tar archive with one member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.onnx"))
    return buffer.getvalue()


FILES: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "is empty", "fetch the file again"),
    "text": (b"hello, I am a model\n", "a text that begins with 'hello", "fetch the file again"),
    "non-ascii text": ("Größe\n".encode() * 2000, "a text that begins with 'Größe'", "fetch"),
    "text cut within a character": (b"x" + "ö".encode() * 3000, "a text that begins with 'xö", "fetch"),
    "html": (b"<!DOCTYPE html><html><head><title>404</title>", "an HTML page", "fetch the file again"),
    "xml": (b'<?xml version="1.0"?><Error/>', "an XML document", "fetch"),
    "json": (b'{"error": "not found"}', "a JSON document", "fetch"),
    "xgboost json": (b'{"learner": {"attributes": {}}}', "an XGBoost model", "convert_xgboost"),
    "lightgbm": (b"tree\nversion=v4\nnum_class=1\n", "a LightGBM model", "convert_lightgbm"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer", "git lfs pull"),
    "pickle 2": (pickle.dumps([1], 2), "a pickle", "never opens a pickle"),
    "pickle 5": (pickle.dumps([1], 5), "a pickle", "to_onnx"),
    "pickle 0": (b"ccopy_reg\n_reconstructor\n", "a pickle", "to_onnx"),
    "joblib zlib": (zlib.compress(pickle.dumps([1] * 100)), "zlib data", "never opens a pickle"),
    "torch": (zipped(archive__data__pkl=b"", version=b"3"), "a PyTorch file", "torch.onnx.export"),
    "torchscript": (zipped(m__constants__pkl=b""), "a TorchScript file", "torch.onnx.export"),
    "keras 3": (zipped(model__weights__h5=b""), "a Keras 3 model", 'format="onnx"'),
    "npz": (zipped(a__npy=b""), "NumPy arrays", "deploy the model"),
    "zip with onnx": (zipped(model__onnx=b""), "a zip archive with an ONNX model", "unzip"),
    "zip": (zipped(a__txt=b""), "a zip archive", "unzip"),
    "damaged zip": (zipped(a__txt=b"")[:20], "a zip archive that cannot be read (File is not a zip file)", "fetch"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file", "tf2onnx"),
    "safetensors": ((60).to_bytes(8, "little") + b'{"w":{"dtype":"F32","shape":[1]', "a safetensors", "optimum"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(16), "a TensorFlow Lite model", "--tflite"),
    "ort": (b"\x1c\0\0\0ORTM" + bytes(16), "ONNX Runtime's own format", ".onnx"),
    "gguf": (b"GGUF\3\0\0\0", "a GGUF file", "export the original"),
    "gzip": (gzip.compress(b"x"), "a gzip archive", "gunzip"),
    "tar": (tarred(), "a tar archive", "tar xf"),
    "numpy": (b"\x93NUMPY\x01\0", "a NumPy array", "deploy the model"),
    "tensorflow graph": (b"\x0a\x0f\x0a\x01x\x12\x0aPlaceholder", "no ONNX model", "docs"),
    "noise": (bytes(range(200, 256)) * 9, "no ONNX model", "docs"),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_model(kind: str, tmp_path: Path) -> None:
    content, what, way_out = FILES[kind]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        open_model(path)
    assert what in caught.value.message
    assert str(path) in caught.value.message
    assert way_out in "\n".join(caught.value.hints)
    assert list(tmp_path.iterdir()) == [path]


def test_a_pickle_is_never_unpickled(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "model.onnx"
    path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(InvalidInput, match="a pickle"):
        open_model(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # the bomb was a real one


def test_a_damaged_model(tmp_path: Path, repository: Path) -> None:
    content = bytearray((repository / "examples/iris/model.onnx").read_bytes())
    at = content.index(b"LinearClassifier")
    content[at - 1] = 0xFF  # the length of the operator's name
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="is damaged") as caught:
        open_model(path)
    assert caught.value.hints


def test_a_name_that_is_no_text(tmp_path: Path, repository: Path) -> None:
    content = (repository / "examples/iris/model.onnx").read_bytes().replace(b"probabilities", b"probabiliti\xff\xfe")
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="should be a name"):
        open_model(path)


def test_graphs_nested_without_end(tmp_path: Path) -> None:
    def message(number: int, content: bytes) -> bytes:
        length, size = bytearray(), len(content)
        while size > 127:
            length.append(size & 127 | 128)
            size >>= 7
        return bytes([number << 3 | 2, *length, size]) + content

    graph = b""
    for _ in range(3000):
        graph = message(1, message(5, message(6, graph)))
    path = tmp_path / "deep.onnx"
    path.write_bytes(b"\x08\x08" + message(7, graph) + message(8, b"\x10\x11"))
    with pytest.raises(InvalidInput, match="nested more than"):
        open_model(path)


def test_a_file_beyond_protobufs_bound(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.write(b"\x08\x08\x3a\xff\xff\xff\xff\x0f")  # a graph of 4 GiB
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(InvalidInput, match=str(MAX_FILE_BYTES)) as caught:
        open_model(path)
    assert "save_as_external_data" in caught.value.hints[0]


# -- paths ------------------------------------------------------------------------------------------------------------


def test_no_such_file_with_a_near_name(tmp_path: Path) -> None:
    (tmp_path / "iris.onnx").write_bytes(b"")
    with pytest.raises(InvalidInput, match="there is no file") as caught:
        open_model(tmp_path / "irs.onnx")
    assert "iris.onnx" in caught.value.hints[0]


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no file"):
        open_model(tmp_path / "nowhere" / "iris.onnx")


def test_a_file_used_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidInput, match="is a file, not a folder"):
        open_model(tmp_path / "file" / "iris.onnx")


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "link.onnx").symlink_to(tmp_path / "gone")
    with pytest.raises(InvalidInput, match="a link to nothing"):
        open_model(tmp_path / "link.onnx")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "loop.onnx").symlink_to(tmp_path / "loop.onnx")
    with pytest.raises(InvalidInput, match="cannot be read"):
        open_model(tmp_path / "loop.onnx")


@pytest.fixture
def another_user() -> int | None:
    """Return a user who may not read what is ours: for root, nobody; for anyone else, the user itself."""
    return 65534 if os.geteuid() == 0 else None


def test_a_file_without_the_right_to_read_it(tmp_path: Path, another_user: int | None) -> None:
    path = tmp_path / "iris.onnx"
    path.write_bytes(b"\x08\x08")
    path.chmod(0)
    # All is imported before the rights are given up: nobody may not read the packages either.
    code = (
        "import os, sys, tempfile; from pathlib import Path\n"
        "from mlfn.models import open_model; from mlfn.models.onnx_format import FORMAT\n"
        "from mlfn.errors import InvalidInput\n"
        f"os.chdir({str(tmp_path)!r}); user = {another_user!r}\n"
        "user and os.setuid(user)\n"
        "try: open_model(Path('iris.onnx'), [FORMAT])\n"
        "except InvalidInput as error: print(error.message, *error.hints)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "iris.onnx cannot be read: Permission denied" in done.stdout
    assert "ls -l" in done.stdout


def test_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(InvalidInput, match="a device, socket or pipe"):
        open_model(tmp_path / "pipe.onnx")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="a folder without an MLmodel") as caught:
        open_model(tmp_path)
    assert "mlflow" in caught.value.hints[0]


def test_a_folder_with_a_model_in_it(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx/model.onnx").write_bytes(b"")
    with pytest.raises(InvalidInput) as caught:
        open_model(tmp_path)
    assert caught.value.hints == (f"did you mean {tmp_path / 'onnx/model.onnx'}?",)


@pytest.mark.parametrize(
    ("member", "what"),
    [("saved_model.pb", "TensorFlow SavedModel"), ("model.safetensors", "Hugging Face"), ("model.pdmodel", "Paddle")],
)
def test_folders_of_other_tools(member: str, what: str, tmp_path: Path) -> None:
    (tmp_path / member).write_bytes(b"")
    with pytest.raises(InvalidInput, match=what) as caught:
        open_model(tmp_path)
    assert "onnx" in caught.value.hints[0]
