"""Call an action container as the invoker's default HTTP client does: one connection a call, and a length demanded.

While nobody listens yet the call is tried again every 50 ms; only that. An answer without ``Content-Length``, chunked
or compressed, or with status 204, counts as none.
"""

from __future__ import annotations

import asyncio
import contextlib

from mlfn_policies.openwhisk_proxy import MAX_RESULT_BYTES, Answer, Silence

__all__ = ["post"]

_AGAIN_S = 0.05
_PORT = 8080


async def post(address: tuple[str, int], path: str, body: bytes, timeout_s: float) -> Answer | Silence:
    """Send a JSON body and return the answer within the time."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await _connect(address)
            try:
                writer.write(_head(path, len(body)) + body)
                return await _read(reader)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return Silence.TIMEOUT
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return Silence.DROPPED


async def _connect(address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection(*address)
        except ConnectionRefusedError:
            await asyncio.sleep(_AGAIN_S)


def _head(path: str, length: int) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "Accept: application/json",
        f"Content-Length: {length}",
        "Content-Type: application/json",
        f"Host: localhost:{_PORT}",
        "Connection: Keep-Alive",
        "User-Agent: mlfn-openwhisk",
        "Accept-Encoding: gzip,deflate",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _read(reader: asyncio.StreamReader) -> Answer | Silence:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    length = fields.get("content-length", "")
    if not length.isdigit() or fields.get("content-encoding", "identity") != "identity" or status == 204:
        return Silence.GONE
    size = int(length)
    kept = await reader.readexactly(min(size, MAX_RESULT_BYTES))
    return Answer(status, kept.decode(errors="replace"), size)
