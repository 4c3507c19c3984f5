"""Containers of docker (or podman), driven through their command line as OpenWhisk's invoker does."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

from mlfn_local.openwhisk.calling import post
from mlfn_local.openwhisk.containers import CannotStart, Wanted
from mlfn_policies.openwhisk_proxy import Answer, Silence, Status

__all__ = ["DockerContainers"]

_SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
_PORT = 8080
_NO_COMMAND = 127
_LABEL = "mlfn.openwhisk"
_SHARES_PER_POOL = 1024


@dataclass(frozen=True, slots=True)
class _Ran:
    code: int
    out: str
    err: str


async def _engine(engine: str, *arguments: str) -> _Ran:
    process = await asyncio.create_subprocess_exec(
        engine,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return _Ran(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


class _DockerContainer:
    """One container."""

    def __init__(self, engine: str, container_id: str, address: str) -> None:
        self._engine = engine
        self._id = container_id
        self._address = address
        self._seen = 0

    async def post(self, path: str, body: bytes, timeout_s: float) -> Answer | Silence:
        """Send ``/init`` or ``/run``."""
        call = asyncio.ensure_future(post((self._address, _PORT), path, body, timeout_s))
        ended = asyncio.ensure_future(_engine(self._engine, "wait", self._id))
        try:
            await asyncio.wait({call, ended}, return_when=asyncio.FIRST_COMPLETED)
            return call.result() if call.done() else Silence.DROPPED
        finally:
            call.cancel()
            ended.cancel()

    async def logs(self, most_bytes: int) -> tuple[str, ...]:
        """Return the lines since the last time, without the end marks."""
        ran = await _engine(self._engine, "logs", "--timestamps", self._id)
        lines = (ran.out + ran.err).splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        kept, room = list[str](), most_bytes
        for line in new:
            room -= len(line) + 1
            if room < 0:
                break
            if _SENTINEL not in line:
                kept.append(line)
        return tuple(kept)

    async def pause(self) -> None:
        """Freeze the container."""
        await _engine(self._engine, "pause", self._id)

    async def resume(self) -> None:
        """Let the container go on."""
        await _engine(self._engine, "unpause", self._id)

    async def destroy(self) -> None:
        """Kill and remove the container."""
        await _engine(self._engine, "rm", "--force", self._id)


class DockerContainers:
    """Start containers. ``pull`` False: images are here already; ``pool_mb`` is what CPU shares are shares of."""

    def __init__(self, engine: str, api_host: str, *, pool_mb: int, unpulled: tuple[str, ...] = ()) -> None:
        self._engine = engine
        self._api_host = api_host
        self._pool_mb = pool_mb
        self._unpulled = unpulled

    async def create(self, wanted: Wanted) -> _DockerContainer:
        """Pull, create and start. Raises CannotStart with OpenWhisk's words."""
        await self._pull(wanted.image)
        name = "".join(letter if letter.isalnum() else "_" for letter in wanted.name)
        shares = max(2, wanted.memory_mb * _SHARES_PER_POOL // self._pool_mb)
        ran = await _engine(
            self._engine,
            "run",
            "--detach",
            "--label",
            f"{_LABEL}=1",
            "--name",
            f"mlfn-ow-{name}-{secrets.token_hex(4)}",
            "--cpu-shares",
            str(shares),
            "--memory",
            f"{wanted.memory_mb}m",
            "--memory-swap",
            f"{wanted.memory_mb}m",
            "--pids-limit",
            "1024",
            "--cap-drop",
            "NET_RAW",
            "--cap-drop",
            "NET_ADMIN",
            "--ulimit",
            "nofile=1024:1024",
            "--env",
            f"__OW_API_HOST={self._api_host}",
            wanted.image,
        )
        if ran.code == _NO_COMMAND:
            raise CannotStart(Status.DEVELOPER_ERROR, f"executable file not found in image {wanted.image}")
        if ran.code:
            raise CannotStart(Status.WHISK_ERROR, "Failed to provision resources to run the action.")
        container_id = ran.out.strip()
        address = await self._address(container_id)
        return _DockerContainer(self._engine, container_id, address)

    async def _pull(self, image: str) -> None:
        """Pull as the invoker does: a failure counts only for ``latest`` or no tag, or where the image is not here."""
        if image in self._unpulled:
            return
        if (await _engine(self._engine, "pull", "--quiet", image)).code == 0:
            return
        tag = image.rpartition("/")[2].partition(":")[2]
        here = (await _engine(self._engine, "image", "inspect", image)).code == 0
        if tag in ("", "latest") or not here:
            raise CannotStart(Status.DEVELOPER_ERROR, f"Failed to pull container image '{image}'.")

    async def _address(self, container_id: str) -> str:
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        ran = await _engine(self._engine, "inspect", "--format", form, container_id)
        words = ran.out.split()
        if ran.code or not words:
            await _engine(self._engine, "rm", "--force", container_id)
            raise CannotStart(Status.WHISK_ERROR, "Failed to provision resources to run the action.")
        return words[0]
