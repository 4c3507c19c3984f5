"""All functions of the service: what is recorded, what of it runs, and which requests go where.

The database is changed first; memory follows only when that has succeeded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlfn_local import logs
from mlfn_local.content import ContentStore
from mlfn_local.errors import Kind, LocalError
from mlfn_local.ledger import Ledger
from mlfn_local.records import FunctionRecord, Keep, RevisionRecord, Share
from mlfn_local.revision import Place, RevisionAtWork
from mlfn_local.router import Route, Router

if TYPE_CHECKING:
    from mlfn_local.gate import Gate

__all__ = ["Functions", "address"]

REMOVAL_GRACE_S = 5.0
"""Time for a deleted function's requests to finish."""


def address(function: str, tag: str) -> str:
    """Return the name under which a tag is reached, in place of the function's own: Knative's form of it."""
    return f"{tag}-{function}"


class Functions:
    """Hold the functions, and the revisions that are at work."""

    def __init__(self, ledger: Ledger, content: ContentStore, place: Place, router: Router) -> None:
        self.ledger = ledger
        self.content = content
        self.place = place
        self._router = router
        self._records: dict[str, FunctionRecord] = {}
        self._at_work: dict[str, RevisionAtWork] = {}

    # -- what is there ------------------------------------------------------------------------------------------------

    @property
    def records(self) -> tuple[FunctionRecord, ...]:
        """Return all functions, sorted by name."""
        return tuple(self._records[name] for name in sorted(self._records))

    @property
    def at_work(self) -> tuple[RevisionAtWork, ...]:
        """Return the revisions that run or may have to."""
        return tuple(self._at_work.values())

    def get(self, name: str) -> FunctionRecord:
        """Return one function. Raises LocalError."""
        record = self._records.get(name)
        if record is None:
            known = ", ".join(sorted(self._records)) or "none"
            raise LocalError(
                Kind.NOT_FOUND,
                f"there is no function {name!r} on the local platform; deployed functions: {known}",
                hints=("mlfn list",),
            )
        return record

    def find(self, name: str) -> FunctionRecord | None:
        """Return one function, None when it is not there."""
        return self._records.get(name)

    @property
    def addresses(self) -> frozenset[str]:
        """Return the names under which functions and their tags are reached."""
        return frozenset(self._router.routes)

    # -- what changes -------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Take up what the database holds, and start what must always run."""
        for record in await self.ledger.call(self.ledger.state.functions):
            self._take(record)
        for revision in self.at_work:
            revision.resume()

    def forget_logs(self) -> None:
        """Remove the logs of functions that are gone: those of first deploys that were interrupted."""
        for folder in self.place.logs.iterdir():
            if folder.name not in self._records:
                logs.forget(folder)

    def begin(self, record: RevisionRecord) -> RevisionAtWork:
        """Put a new revision to work, without traffic."""
        revision = RevisionAtWork(record, self.place, resumed=False)
        self._at_work[record.name] = revision
        return revision

    async def refresh(self, name: str) -> None:
        """Follow the database after a change that moves no traffic."""
        record = await self.ledger.call(self.ledger.state.function, name)
        if record is not None:
            self._take(record)
        else:
            self._forget(name)

    def wake(self, record: RevisionRecord) -> RevisionAtWork:
        """Put an old revision to work again, without traffic."""
        at_work = self._at_work.get(record.name)
        if at_work is None or (at_work.retired and at_work.settled):
            return self.begin(record)
        at_work.restore()
        return at_work

    async def switch(self, name: str, revision: str) -> None:
        """Give a revision that has proved itself all traffic of its function; what served before is drained."""
        await self.ledger.call(self.ledger.state.make_serve, name, revision)
        await self.refresh(name)

    async def split(self, name: str, shares: Sequence[Share]) -> None:
        """Set the shares and tags of a function's revisions, all of them ready; what served before is drained."""
        await self.ledger.call(self.ledger.state.set_traffic, name, shares)
        await self.refresh(name)

    async def keep(self, name: str, keep: Keep) -> None:
        """Set which old revisions of a function stay."""
        if await self.ledger.call(self.ledger.state.set_keep, name, keep):
            await self.refresh(name)

    async def drop_old(self) -> None:
        """Remove the revisions that have become too old to be kept."""
        if await self.ledger.call(self.ledger.state.drop_old):
            for record in self.records:
                await self.refresh(record.name)

    async def drop(self, revision: str, function: str) -> None:
        """Remove a revision that never served, and its function where that has no other."""
        at_work = self._at_work.pop(revision, None)
        if at_work is not None:
            await at_work.close(kill=True)
        await self.ledger.call(self.ledger.state.drop_revision, revision)
        await self.refresh(function)
        if function not in self._records:
            logs.forget(self.place.logs / function)

    async def fail(self, revision: str, function: str, message: str) -> None:
        """Keep a revision that nobody waited for as failed."""
        at_work = self._at_work.pop(revision, None)
        if at_work is not None:
            await at_work.close(kill=True)
        await self.ledger.call(self.ledger.state.fail_revision, revision, message)
        await self.refresh(function)

    async def remove(self, name: str) -> None:
        """Delete a function: no new requests, those under way finish, then its instances end. Raises LocalError."""
        record = self.get(name)
        await self.ledger.call(self.ledger.state.remove_function, name)
        self._forget(name)
        names = {revision.name for revision in record.revisions}
        leaving = [self._at_work.pop(r) for r in list(self._at_work) if r in names]
        await asyncio.gather(*(self._close(revision) for revision in leaving))
        logs.forget(self.place.logs / name)

    async def close(self) -> None:
        """End all instances; those that work may finish."""
        await asyncio.gather(*(self._close(revision) for revision in self.at_work))
        self._at_work.clear()

    @staticmethod
    async def _close(revision: RevisionAtWork) -> None:
        try:
            await asyncio.wait_for(revision.close(kill=False), REMOVAL_GRACE_S)
        except TimeoutError:
            await revision.close(kill=True)

    # -- time ---------------------------------------------------------------------------------------------------------

    def report(self) -> None:
        """Record the last second's load of all revisions."""
        for revision in self.at_work:
            revision.report()

    def tick(self) -> None:
        """Decide the scale of all revisions; forget those that have no traffic and have run dry."""
        for name, revision in list(self._at_work.items()):
            revision.tick()
            if revision.retired and revision.settled:
                del self._at_work[name]

    def watch(self) -> None:
        """Look at the memory of those instances that no cgroup limits."""
        for revision in self.at_work:
            if revision.must_watch:
                revision.watch()

    # -- memory follows the database ----------------------------------------------------------------------------------

    def _take(self, record: FunctionRecord) -> None:
        before = self._records.get(record.name)
        self._records[record.name] = record
        shares = record.shares
        gates: dict[str, Gate] = {}
        for revision in record.revisions:
            if revision.name in shares:
                at_work = self._at_work.get(revision.name)
                if at_work is None or at_work.retired:
                    at_work = self._at_work[revision.name] = self._take_up(revision, at_work)
                gates[revision.name] = at_work.gate
        # The requests that come from now on go to the new gates; only then is anything drained.
        serving = [(percent, gates[name]) for name, percent in shares.items() if percent]
        missing = "" if serving else f"function {record.name} has no ready revision yet"
        self._router.routes[record.name] = Route(serving, missing)
        for tag, revision_name in record.tags.items():
            self._router.routes[address(record.name, tag)] = Route([(100, gates[revision_name])])
        for tag in before.tags if before is not None else ():
            if tag not in record.tags:
                self._router.routes.pop(address(record.name, tag), None)
        known = {revision.name: revision.state for revision in record.revisions}
        for at_work in self.at_work:
            if at_work.record.function != record.name or at_work.proving:
                continue
            if at_work.record.name not in shares and known.get(at_work.record.name) != "pending":
                at_work.retire("the traffic goes to another revision")

    def _forget(self, name: str) -> None:
        record = self._records.pop(name, None)
        self._router.routes.pop(name, None)
        for tag in record.tags if record is not None else ():
            self._router.routes.pop(address(name, tag), None)

    def _take_up(self, record: RevisionRecord, before: RevisionAtWork | None) -> RevisionAtWork:
        if before is not None:
            before.restore()
            return before
        return RevisionAtWork(record, self.place, resumed=True)
