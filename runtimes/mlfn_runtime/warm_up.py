"""The inferences before ready: through the real door, the real handler and the real model, JSON and binary tensors.

The first requests of a fresh process cost several times the later ones (allocations, caches, the interpreter's
specialisation after some calls), so the warm-up sends them itself, to a transport that keeps the answers.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import orjson

from mlfn_runtime.access import Access
from mlfn_runtime.counters import Counters
from mlfn_runtime.errors import StartError
from mlfn_runtime.http_door import HttpDoor
from mlfn_runtime.logs import JsonLog
from mlfn_runtime.settings import DoorSettings
from mlfn_runtime.tensors import to_binary, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mlfn_runtime.calibration import Calibration
    from mlfn_runtime.routes import Exchange
    from mlfn_runtime.service import ModelService

__all__ = ["warm_up"]

_MOST_ROUNDS = 12
"""The interpreter has specialised the code of the path after 8 calls or so."""

_PLAIN = str.maketrans("", "", "/-_.")
_BUDGET_S = 0.02
"""No further rounds after this long: a slow model's first runs warm it by themselves."""


class _Sink(asyncio.Transport):
    """Take what a connection writes and give it to whoever awaits the answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.answer: asyncio.Future[bytes] = loop.create_future()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.answer.done():
            self.answer.set_result(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered here."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing to close."""


async def warm_up(dispatch: Callable[[Exchange], None], service: ModelService, calibration: Calibration) -> None:
    """Send inferences until the path is warm; raise StartError where one is not answered."""
    loop = asyncio.get_running_loop()
    unseen = Counters()
    log = JsonLog(None, unseen, schedule=lambda flush: None)
    door = HttpDoor(dispatch, Access(unseen, log), unseen, DoorSettings())
    path = f"/v2/models/{service.name}/infer"
    requests = (_json_request(path, service, calibration.inputs), _binary_request(path, service, calibration.inputs))
    start = time.perf_counter()
    for round_number in range(_MOST_ROUNDS):
        for request in requests:
            answer = await _exchange(door, loop, request)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise StartError("warm_up", f"the inference before ready failed: {_message(answer)}")
        if round_number and time.perf_counter() - start > _BUDGET_S:
            break


async def _exchange(door: HttpDoor, loop: asyncio.AbstractEventLoop, request: bytes) -> bytes:
    sink = _Sink(loop)
    connection = door.connect()
    connection.connection_made(sink)
    connection.data_received(request)
    answer = await sink.answer
    connection.connection_lost(None)
    return answer


def _json_request(path: str, service: ModelService, inputs: dict[str, NDArray[Any]]) -> bytes:
    tensors = [{**_described(service, name, array), "data": to_json(array)} for name, array in inputs.items()]
    body = orjson.dumps({"inputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)
    return _request(path, b"", body)


def _binary_request(path: str, service: ModelService, inputs: dict[str, NDArray[Any]]) -> bytes:
    raw = {name: to_binary(array) for name, array in inputs.items()}
    tensors = [
        {**_described(service, name, array), "parameters": {"binary_data_size": len(raw[name])}}
        for name, array in inputs.items()
    ]
    text = orjson.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}})
    return _request(path, b"inference-header-content-length: %d\r\n" % len(text), b"".join((text, *raw.values())))


def _described(service: ModelService, name: str, array: NDArray[Any]) -> dict[str, object]:
    specs = service.signature.inputs if service.signature else ()
    datatype = next(spec.datatype for spec in specs if spec.name == name)
    return {"name": name, "datatype": datatype, "shape": list(array.shape)}


def _request(path: str, header: bytes, body: bytes) -> bytes:
    head = f"POST {_quoted(path)} HTTP/1.1\r\nhost: warm-up\r\ncontent-length: {len(body)}\r\n".encode()
    return b"%b%b\r\n%b" % (head, header, body)


def _quoted(path: str) -> str:
    if path.isascii() and path.translate(_PLAIN).isalnum():
        return path
    from urllib.parse import quote  # 3 ms of a start, needed by odd names only

    return quote(path)


def _message(answer: bytes) -> str:
    body = answer.partition(b"\r\n\r\n")[2]
    return body.decode("utf-8", "replace")[:400]
