"""The values that the database holds and the control socket carries. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

__all__ = [
    "ErrorRecord",
    "FunctionRecord",
    "FunctionSettings",
    "Keep",
    "ModelFiles",
    "RevisionRecord",
    "RevisionState",
    "ScaleChange",
    "Share",
]


class RevisionState(StrEnum):
    """How far a revision has come: only a ready one ever gets traffic."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """Say how a function is to run; the fields and their meaning are those of ``mlfn.function.FunctionSpec``."""

    concurrency: int = 0
    target: float = 100.0
    utilization: float = 0.7
    min_scale: int = 0
    max_scale: int = 0
    window_s: int = 60
    memory_bytes: int = 0
    timeout_s: float = 300.0
    env: Mapping[str, str] = field(default_factory=dict)
    warm: str = "off"
    """``off``, ``auto`` (what it meant is in the other settings) or the period of pings, such as ``45s``."""

    def as_json(self) -> dict[str, Any]:
        """Return the settings as a JSON document with sorted environment."""
        return {**asdict(self), "env": dict(sorted(self.env.items()))}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FunctionSettings:
        """Read settings; fields that this version does not know are left out."""
        known = {f.name for f in fields(cls)}
        return cls(**{key: item for key, item in value.items() if key in known})


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Name the files of a model and what reading them told."""

    digest: str
    entry: str
    files: tuple[str, ...]
    format: str
    size_bytes: int
    signature: Mapping[str, Any]
    """The signature as JSON: the service hands it on and never looks inside."""

    def as_json(self) -> dict[str, Any]:
        """Return the files as a JSON document."""
        return {**asdict(self), "files": list(self.files), "signature": dict(self.signature)}

    def is_same_as(self, other: ModelFiles) -> bool:
        """Say whether both are one model: a lone file may have any name; of several the names are in the digest."""
        return self.digest == other.digest and (len(self.files) == 1 or self.entry == other.entry)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelFiles:
        """Read the files from a JSON document."""
        return cls(**{**value, "files": tuple(value["files"])})


@dataclass(frozen=True, slots=True)
class RevisionRecord:
    """Describe one immutable version of a function."""

    name: str
    function: str
    model: ModelFiles
    settings: FunctionSettings
    state: RevisionState
    created_at: float
    attended: bool = True
    """Whether somebody waits for it: an attended pending revision is dropped when the service starts anew."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """Say which share of requests a revision gets, and under which tag it is reached alone."""

    revision: str
    percent: int
    tag: str = ""
    """A revision with several tags has one entry for each; its shares add up."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Say which old revisions of a function stay to go back to: those without traffic and without a tag.

    Whatever is said here, the one that lost its traffic last stays: it is what a rollback goes to.
    """

    revisions: int = 10
    """This many, those first that served last: enough to find the good one in a bad week."""
    age_s: float = 30 * 86400.0
    """For this long after they served last: what nobody went back to in a month is not missed."""


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """Describe a function with its revisions (oldest first) and the split of its traffic."""

    name: str
    created_at: float
    revisions: tuple[RevisionRecord, ...] = ()
    traffic: tuple[Share, ...] = ()

    @property
    def latest(self) -> RevisionRecord | None:
        """Return the revision with the largest share, the newest of them where several have it."""
        shares = self.shares
        serving = [revision for revision in self.revisions if shares.get(revision.name, 0) > 0]
        return max(serving, key=lambda r: (shares[r.name], r.name), default=None)

    @property
    def shares(self) -> dict[str, int]:
        """Return the percentage of each revision that has traffic or a tag."""
        found: dict[str, int] = {}
        for share in self.traffic:
            found[share.revision] = found.get(share.revision, 0) + share.percent
        return found

    @property
    def tags(self) -> dict[str, str]:
        """Return the revision of each tag."""
        return {share.tag: share.revision for share in self.traffic if share.tag}


@dataclass(frozen=True, slots=True)
class ScaleChange:
    """Tell one change of scale and its reason."""

    function: str
    revision: str
    at: float
    before: int
    after: int
    reason: str


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """Tell one failure of an instance or of a deploy."""

    function: str
    revision: str
    at: float
    message: str
