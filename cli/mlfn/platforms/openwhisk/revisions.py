"""A function's actions as they are on the server: its sequence and its revisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlfn.errors import Conflict, NotFound
from mlfn.function import Revision
from mlfn.platforms.openwhisk.reads import Api
from mlfn.platforms.openwhisk.records import CREATED, DIGEST, annotations_of, is_managed, read_signature, read_spec

__all__ = ["Live", "read_all", "read_live", "require_live", "to_revision"]

Action = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Live:
    """What is there of one function. ``head`` is the sequence that callers invoke; ``revisions`` go oldest first."""

    name: str
    head: Action | None
    revisions: Mapping[str, Action]

    @property
    def current(self) -> str | None:
        """Return the revision that the sequence points at."""
        if self.head is None:
            return None
        components: list[str] = self.head.get("exec", {}).get("components") or []
        return components[0].split("/")[-1] if len(components) == 1 else None


def read_live(api: Api, name: str, *, force: bool = False) -> Live:
    """Return what is there of a function. Raises Conflict where the name is somebody else's, unless ``force``."""
    head = api.action(name)
    if head is not None and not is_managed(head) and not force:
        raise Conflict(
            f"the action {name} is not managed by mlfn",
            hints=(f"choose another --name, or take it over: mlfn deploy MODEL --name {name} --force",),
        )
    names = {each["name"] for each in api.actions() if _is_revision_of(each, name)}
    return Live(name, head, {each["name"]: each for each in _whole(api, sorted(names))})


def require_live(api: Api, name: str) -> Live:
    """Return what is there of a function. Raises NotFound where there is none of mlfn's."""
    head = api.action(name)
    if head is None or not is_managed(head):
        what = ": the action of that name is not managed by mlfn" if head is not None else ""
        raise NotFound(f"there is no function {name!r}{what}", hints=("mlfn list --platform openwhisk",))
    return read_live(api, name)


def read_all(api: Api) -> tuple[Live, ...]:
    """Return all functions, sorted by name."""
    listed = [each for each in api.actions() if is_managed(each) and "@" not in each["name"]]
    return tuple(read_live(api, name) for name in sorted(each["name"] for each in listed))


def _whole(api: Api, names: list[str]) -> list[dict[str, Any]]:
    found = (api.action(name) for name in names)
    return [each for each in found if each is not None]


def _is_revision_of(action: Action, name: str) -> bool:
    function, separator, _ = action["name"].rpartition("@")
    return bool(separator) and function == name and is_managed(action)


def to_revision(action: Action) -> Revision:
    """Return a revision as all platforms show it."""
    kept = annotations_of(action)
    spec = read_spec(action)
    settings = {"memory_mb": action["limits"]["memory"], "timeout_s": spec.timeout_s, "concurrency": spec.concurrency}
    return Revision(
        name=action["name"],
        digest=str(kept.get(DIGEST, "")),
        created_at=float(kept.get(CREATED, action["updated"] / 1000)),
        state="ready",
        settings=settings,
        signature=read_signature(action),
    )
