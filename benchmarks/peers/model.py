"""What every peer shares: the model, and a JSON body in, a JSON body out.

Environment: MODEL (the file), PORT. Body: {"inputs": {name: nested list}}; answer: {"outputs": {name: nested list}}
with the last float output. One thread per session, as for mlfn on one core.
"""

import os

import numpy as np
import onnxruntime as ort
import orjson

PORT = int(os.environ.get("PORT", "9100"))
DATATYPES = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(int64)": np.int64}


class Model:
    """One session, warmed up by nobody: as a tuned service without mlfn would be."""

    def __init__(self, path: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = {each.name: DATATYPES[each.type] for each in self.session.get_inputs()}
        self.outputs = [each.name for each in self.session.get_outputs() if each.type == "tensor(float)"][-1:]

    def decode(self, body: bytes) -> dict[str, np.ndarray]:
        """Parse a body into arrays."""
        document = orjson.loads(body)
        return {name: np.asarray(data, self.inputs[name]) for name, data in document["inputs"].items()}

    def predict(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model."""
        return dict(zip(self.outputs, self.session.run(self.outputs, feed), strict=True))

    def encode(self, outputs: dict[str, np.ndarray]) -> bytes:
        """Write the answer."""
        return orjson.dumps({"outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)


def load() -> Model:
    """Load the model that the environment names."""
    return Model(os.environ["MODEL"])
