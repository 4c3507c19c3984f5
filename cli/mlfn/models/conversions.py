"""How to get from other kinds of model to ONNX: one line for each, told wherever such a model is met."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["CONVERSIONS", "how_to_convert"]

CONVERSIONS: dict[str, str] = {
    "catboost": 'CatBoost: model.save_model("model.onnx", format="onnx")',
    "coreml": "Core ML has no way back to ONNX: export the original model",
    "h5py": "Keras: pip install tf2onnx; python -m tf2onnx.convert --keras model.h5 --output model.onnx",
    "keras": 'Keras 3: model.export("model.onnx", format="onnx")',
    "lightgbm": "LightGBM: pip install onnxmltools; onnxmltools.convert_lightgbm(model, initial_types=…)",
    "paddle": "PaddlePaddle: pip install paddle2onnx; paddle2onnx --model_dir DIR --save_file model.onnx",
    "pytorch": 'PyTorch: torch.onnx.export(model, (example,), "model.onnx", dynamo=True)',
    "safetensors": "safetensors hold weights without a graph: optimum-cli export onnx --model FOLDER OUT",
    "sklearn": 'scikit-learn: skl2onnx.to_onnx(model, X[:1], options={"zipmap": False}).SerializeToString()',
    "spark": "Spark ML: pip install onnxmltools; onnxmltools.convert_sparkml(model, …)",
    "tensorflow": "TensorFlow: pip install tf2onnx; python -m tf2onnx.convert --saved-model DIR --output model.onnx",
    "tflite": "TensorFlow Lite: pip install tf2onnx; python -m tf2onnx.convert --tflite FILE --output model.onnx",
    "transformers": "Hugging Face: pip install optimum; optimum-cli export onnx --model FOLDER OUT",
    "xgboost": "XGBoost: pip install onnxmltools; onnxmltools.convert_xgboost(model, initial_types=…)",
}
"""By MLflow's name of the flavour, where it has one."""


def how_to_convert(kinds: Iterable[str]) -> tuple[str, ...]:
    """Return the hints for the kinds that have one."""
    return tuple(CONVERSIONS[kind] for kind in kinds if kind in CONVERSIONS)
