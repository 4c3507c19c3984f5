"""Move a function's traffic: check the split, have the revisions that come in ready, then switch all at once.

One change of a function at a time. What is asked for is refused whole or done whole, also when it is interrupted.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence

from mlfn_local import logs
from mlfn_local.deploying import START_LIMIT_S, Deployer
from mlfn_local.errors import Kind, LocalError
from mlfn_local.functions import Functions, address
from mlfn_local.ledger import unbroken
from mlfn_local.process import Ending
from mlfn_local.records import FunctionRecord, RevisionState, Share
from mlfn_local.revision import RevisionAtWork

__all__ = ["check_split", "move_traffic"]

_TAG = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_BYTES = 63
"""Longest label of a host name: ``TAG-NAME`` is one."""


async def move_traffic(
    functions: Functions, deployer: Deployer, name: str, shares: Iterable[Share]
) -> tuple[Share, ...]:
    """Set the shares and tags of a function's revisions and return them. Raises LocalError.

    A revision that had no traffic is started first: requests never wait for it, and one that does not start gets none.
    """
    wanted = tuple(shares)
    with deployer.alone(name):
        record = functions.get(name)
        check_split(record, wanted, functions.addresses)
        coming = [share.revision for share in wanted if share.percent and not record.shares.get(share.revision)]
        warm = [functions.wake(revision) for revision in record.revisions if revision.name in coming]
        try:
            for revision in warm:
                await _have_ready(revision)
        except BaseException:
            await functions.refresh(name)  # what was started for nothing goes to rest again
            raise
        moving = asyncio.ensure_future(functions.split(name, wanted))
        try:
            await unbroken(moving)
        except asyncio.CancelledError:
            if moving.exception() is not None:
                raise
            # Too late to take it back: it is done, and said so.
    return functions.get(name).traffic


def check_split(record: FunctionRecord, wanted: Sequence[Share], addresses: frozenset[str]) -> None:
    """Refuse a split that cannot be, with all that is wrong with it. Raises LocalError.

    ``addresses`` are those that functions and tags have now.
    """
    problems = [*_wrong_shares(record, wanted), *_wrong_tags(record, wanted)]
    if problems:
        raise LocalError(Kind.INVALID_INPUT, "; ".join(problems), hints=(f"mlfn traffic {record.name}",))
    new_tags = [share.tag for share in wanted if share.tag and share.tag not in record.tags]
    taken = [address(record.name, tag) for tag in new_tags if address(record.name, tag) in addresses]
    if taken:
        raise LocalError(
            Kind.CONFLICT,
            f"the address {taken[0]} belongs to another function or its tag already",
            hints=("choose another tag",),
        )


def _wrong_shares(record: FunctionRecord, wanted: Sequence[Share]) -> list[str]:
    ready = [revision.name for revision in record.revisions if revision.state is RevisionState.READY]
    unknown = sorted({share.revision for share in wanted} - set(ready))
    problems = []
    if unknown:
        problems.append(f"{record.name} has no ready revision {', '.join(unknown)}; ready: {', '.join(ready)}")
    if any(not 0 <= share.percent <= 100 for share in wanted):
        problems.append(f"a share of {record.name} is not from 0 to 100")
    total = sum(share.percent for share in wanted)
    if total != 100:
        problems.append(f"the shares of {record.name} sum to {total}, expected 100")
    if len({(share.revision, share.tag) for share in wanted}) != len(wanted):
        problems.append(f"a revision of {record.name} is named twice")
    return problems


def _wrong_tags(record: FunctionRecord, wanted: Sequence[Share]) -> list[str]:
    tags = [share.tag for share in wanted if share.tag]
    problems = [
        f"{tag!r} is no tag: expected lower-case letters, digits and '-', starting with a letter, "
        f"{_LABEL_BYTES} characters at most together with '-{record.name}'"
        for tag in tags
        if not _TAG.fullmatch(tag) or len(address(record.name, tag)) > _LABEL_BYTES
    ]
    return problems + [f"the tag {tag} is given to two revisions" for tag in sorted(set(tags)) if tags.count(tag) > 1]


async def _have_ready(revision: RevisionAtWork) -> None:
    try:
        ending = await asyncio.wait_for(revision.prove(), START_LIMIT_S)
    except TimeoutError:
        message = f"revision {revision.record.name} was not ready within {START_LIMIT_S:g} s; the traffic stays"
        raise LocalError(Kind.DEPLOY_FAILED, message) from None
    if ending is not None:
        raise _not_started(revision, ending)


def _not_started(revision: RevisionAtWork, ending: Ending) -> LocalError:
    record = revision.record
    return LocalError(
        Kind.DEPLOY_FAILED,
        f"revision {record.name} does not start: {ending.message}; the traffic stays as it was",
        details=logs.tail_of(logs.log_path(revision.logs, record.function, ending.instance)),
    )
