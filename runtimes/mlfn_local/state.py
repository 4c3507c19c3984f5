"""The embedded database: functions, revisions, traffic, the router's port, scale decisions, errors.

Every change is one transaction that is on the disk before the call returns (WAL, synchronous=FULL), so that a service
killed at any point finds either all of it or nothing. Used from one thread at a time. Raises LocalError.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from mlfn_local.errors import Kind, LocalError
from mlfn_local.records import (
    ErrorRecord,
    FunctionRecord,
    FunctionSettings,
    Keep,
    ModelFiles,
    RevisionRecord,
    RevisionState,
    ScaleChange,
    Share,
)

__all__ = ["KEPT_DECISIONS", "KEPT_ERRORS", "State"]

KEPT_DECISIONS = 200
"""Scale decisions kept for each function."""
KEPT_ERRORS = 50
"""Errors kept for each function."""
KEEP = Keep()

_MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE functions (
        name TEXT PRIMARY KEY, created_at REAL NOT NULL, next_revision INTEGER NOT NULL DEFAULT 1
    ) STRICT;
    CREATE TABLE revisions (
        name TEXT PRIMARY KEY,
        function TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
        model TEXT NOT NULL,
        settings TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'ready', 'failed')),
        created_at REAL NOT NULL,
        attended INTEGER NOT NULL,
        error TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX revisions_by_function ON revisions (function);
    CREATE TABLE traffic (
        function TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
        revision TEXT NOT NULL REFERENCES revisions (name) ON DELETE CASCADE,
        percent INTEGER NOT NULL CHECK (percent BETWEEN 0 AND 100),
        PRIMARY KEY (function, revision)
    ) STRICT;
    CREATE TABLE decisions (
        id INTEGER PRIMARY KEY,
        function TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
        revision TEXT NOT NULL, at REAL NOT NULL, before INTEGER NOT NULL, after INTEGER NOT NULL, reason TEXT NOT NULL
    ) STRICT;
    CREATE INDEX decisions_by_function ON decisions (function, id);
    CREATE TABLE errors (
        id INTEGER PRIMARY KEY,
        function TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
        revision TEXT NOT NULL, at REAL NOT NULL, message TEXT NOT NULL
    ) STRICT;
    CREATE INDEX errors_by_function ON errors (function, id);
    """,
    """
    ALTER TABLE functions ADD COLUMN keep_revisions INTEGER NOT NULL DEFAULT 10;
    ALTER TABLE functions ADD COLUMN keep_age_s REAL NOT NULL DEFAULT 2592000;
    ALTER TABLE revisions ADD COLUMN served_at REAL NOT NULL DEFAULT 0;
    UPDATE revisions SET served_at = created_at;
    CREATE TABLE shares (
        function TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
        revision TEXT NOT NULL REFERENCES revisions (name) ON DELETE CASCADE,
        percent INTEGER NOT NULL CHECK (percent BETWEEN 0 AND 100),
        tag TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (function, revision, tag)
    ) STRICT;
    CREATE UNIQUE INDEX shares_by_tag ON shares (function, tag) WHERE tag <> '';
    INSERT INTO shares (function, revision, percent) SELECT function, revision, percent FROM traffic;
    DROP TABLE traffic;
    """,
)
"""Each entry brings the schema one version further; never change one that was released."""


class State:
    """Hold the open database."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        with self._told():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            with self._told():
                path.chmod(0o600)
                self._open()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS):
            raise LocalError(
                Kind.FAILURE,
                f"the state in {self._path} was written by a newer mlfn (schema {version}, known: {len(_MIGRATIONS)})",
                hints=("use that version of mlfn, or another MLFN_STATE_DIR",),
            )
        for number in range(version, len(_MIGRATIONS)):
            script = f"BEGIN IMMEDIATE; {_MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
            try:
                self._db.executescript(script)
            except sqlite3.Error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    # -- what is there ------------------------------------------------------------------------------------------------

    def port(self) -> int:
        """Return the router's port of last time, 0 when there was none."""
        with self._told():
            row = self._db.execute("SELECT value FROM settings WHERE key = 'port'").fetchone()
        return int(row[0]) if row else 0

    def functions(self) -> list[FunctionRecord]:
        """Return all functions with revisions and traffic, sorted by name."""
        with self._told():
            names = self._db.execute("SELECT name FROM functions ORDER BY name").fetchall()
            found = [self._function(name) for (name,) in names]
        return [function for function in found if function is not None]

    def function(self, name: str) -> FunctionRecord | None:
        """Return one function."""
        with self._told():
            return self._function(name)

    def _function(self, name: str) -> FunctionRecord | None:
        row = self._db.execute("SELECT name, created_at FROM functions WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        revisions = self._db.execute(
            "SELECT name, function, model, settings, state, created_at, attended, error FROM revisions "
            "WHERE function = ? ORDER BY name",
            (name,),
        )
        shares = self._db.execute(
            "SELECT revision, percent, tag FROM shares WHERE function = ? ORDER BY revision, tag", (name,)
        )
        return FunctionRecord(row[0], row[1], tuple(map(_revision_of, revisions)), tuple(Share(*s) for s in shares))

    def decisions(self, function: str) -> list[ScaleChange]:
        """Return the kept changes of scale of a function, oldest first."""
        columns = "function, revision, at, before, after, reason"
        with self._told():
            rows = self._db.execute(f"SELECT {columns} FROM decisions WHERE function = ? ORDER BY id", (function,))  # noqa: S608 (fixed names)
            return [ScaleChange(*row) for row in rows]

    def errors(self, function: str) -> list[ErrorRecord]:
        """Return the kept errors of a function, oldest first."""
        with self._told():
            rows = self._db.execute(
                "SELECT function, revision, at, message FROM errors WHERE function = ? ORDER BY id", (function,)
            )
            return [ErrorRecord(*row) for row in rows]

    def digests(self) -> frozenset[str]:
        """Return the digests of all models that a revision uses."""
        with self._told():
            rows = self._db.execute("SELECT DISTINCT json_extract(model, '$.digest') FROM revisions")
            return frozenset(digest for (digest,) in rows)

    # -- what changes -------------------------------------------------------------------------------------------------

    def set_port(self, port: int) -> None:
        """Remember the router's port."""
        with self._change() as db:
            db.execute("INSERT OR REPLACE INTO settings (key, value) VALUES ('port', ?)", (str(port),))

    def add_pending(
        self, function: str, model: ModelFiles, settings: FunctionSettings, *, attended: bool, keep: Keep = KEEP
    ) -> str:
        """Record a revision that is about to be started, and its function where it is new; return its name.

        What is kept of the function is set too, and acted on once the revision serves.
        """
        now = self._clock()
        with self._change() as db:
            db.execute("INSERT OR IGNORE INTO functions (name, created_at) VALUES (?, ?)", (function, now))
            (number,) = db.execute(
                "UPDATE functions SET next_revision = next_revision + 1, keep_revisions = ?, keep_age_s = ? "
                "WHERE name = ? RETURNING next_revision - 1",
                (keep.revisions, keep.age_s, function),
            ).fetchone()
            name = f"{function}-{number:05d}"
            # What an unattended deploy left behind is only kept until the next one.
            db.execute("DELETE FROM revisions WHERE function = ? AND state = 'failed'", (function,))
            db.execute(
                "INSERT INTO revisions (name, function, model, settings, state, created_at, served_at, attended) "
                "VALUES (?, ?, ?, ?, 'pending', ?, ?, ?)",
                (name, function, _json(model.as_json()), _json(settings.as_json()), now, now, int(attended)),
            )
        return name

    def make_serve(self, function: str, revision: str) -> list[str]:
        """Make a revision ready and give it all traffic; return the revisions that are too old to be kept.

        Tags stay where they are.
        """
        with self._change() as db:
            changed = db.execute("UPDATE revisions SET state = 'ready', error = '' WHERE name = ?", (revision,))
            if changed.rowcount != 1:
                raise LocalError(Kind.CONFLICT, f"revision {revision} was removed while it started")
            tagged = db.execute("SELECT revision, 0, tag FROM shares WHERE function = ? AND tag <> ''", (function,))
            self._set_traffic(db, function, [Share(revision, 100), *(Share(*row) for row in tagged)])
            return self._drop_old(db, function)

    def set_traffic(self, function: str, split: Iterable[Share]) -> list[str]:
        """Replace the split of a function's traffic; return the revisions that are too old to be kept."""
        with self._change() as db:
            self._set_traffic(db, function, split)
            return self._drop_old(db, function)

    def set_keep(self, function: str, keep: Keep) -> list[str]:
        """Replace what is kept of a function; return the revisions that are too old for that."""
        with self._change() as db:
            db.execute(
                "UPDATE functions SET keep_revisions = ?, keep_age_s = ? WHERE name = ?",
                (keep.revisions, keep.age_s, function),
            )
            return self._drop_old(db, function)

    def drop_old(self) -> list[str]:
        """Remove the revisions of all functions that have become too old to be kept; return their names."""
        with self._change() as db:
            names = db.execute("SELECT name FROM functions ORDER BY name").fetchall()
            return [revision for (name,) in names for revision in self._drop_old(db, name)]

    def _set_traffic(self, db: sqlite3.Connection, function: str, split: Iterable[Share]) -> None:
        # Those that served until now have served now: from here on their age counts.
        db.execute(
            "UPDATE revisions SET served_at = ? WHERE name IN (SELECT revision FROM shares WHERE function = ?)",
            (self._clock(), function),
        )
        db.execute("DELETE FROM shares WHERE function = ?", (function,))
        db.executemany(
            "INSERT INTO shares (function, revision, percent, tag) VALUES (?, ?, ?, ?)",
            [(function, share.revision, share.percent, share.tag) for share in split],
        )

    def _drop_old(self, db: sqlite3.Connection, function: str) -> list[str]:
        (revisions, age_s) = db.execute(
            "SELECT keep_revisions, keep_age_s FROM functions WHERE name = ?", (function,)
        ).fetchone()
        rows = db.execute(
            "SELECT name, served_at FROM revisions WHERE function = ? AND state = 'ready' "
            "AND name NOT IN (SELECT revision FROM shares) ORDER BY served_at DESC, name DESC",
            (function,),
        ).fetchall()
        since = self._clock() - age_s
        dropped = [
            name
            for place, (name, served_at) in enumerate(rows)
            if place > 0 and (place >= revisions or served_at < since)
        ]
        db.executemany("DELETE FROM revisions WHERE name = ?", [(name,) for name in dropped])
        return dropped

    def drop_revision(self, revision: str) -> None:
        """Remove a revision that never served, and its function where that has no other."""
        with self._change() as db:
            self._drop(db, revision)

    def fail_revision(self, revision: str, message: str) -> None:
        """Keep an unattended revision as failed, so that its outcome can be looked up."""
        with self._change() as db:
            db.execute("UPDATE revisions SET state = 'failed', error = ? WHERE name = ?", (message, revision))

    def drop_interrupted(self) -> list[str]:
        """Remove the pending revisions of deploys that somebody waited for; return their names."""
        with self._change() as db:
            rows = db.execute("SELECT name FROM revisions WHERE state = 'pending' AND attended = 1").fetchall()
            for (name,) in rows:
                self._drop(db, name)
        return [name for (name,) in rows]

    @staticmethod
    def _drop(db: sqlite3.Connection, revision: str) -> None:
        row = db.execute("DELETE FROM revisions WHERE name = ? RETURNING function", (revision,)).fetchone()
        if row is not None:
            db.execute(
                "DELETE FROM functions WHERE name = ? AND NOT EXISTS (SELECT 1 FROM revisions WHERE function = ?)",
                (row[0], row[0]),
            )

    def remove_function(self, name: str) -> bool:
        """Remove a function and all that belongs to it; say whether it was there."""
        with self._change() as db:
            return db.execute("DELETE FROM functions WHERE name = ?", (name,)).rowcount == 1

    def add_history(self, decisions: Iterable[ScaleChange], errors: Iterable[ErrorRecord]) -> None:
        """Append changes of scale and errors; those of a function that is gone meanwhile are left out."""
        with self._change() as db:
            functions = set()
            for change in decisions:
                functions.add(change.function)
                db.execute(
                    "INSERT INTO decisions (function, revision, at, before, after, reason) "
                    "SELECT ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM functions WHERE name = ?)",
                    (
                        change.function,
                        change.revision,
                        change.at,
                        change.before,
                        change.after,
                        change.reason,
                        change.function,
                    ),
                )
            for error in errors:
                functions.add(error.function)
                db.execute(
                    "INSERT INTO errors (function, revision, at, message) "
                    "SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM functions WHERE name = ?)",
                    (error.function, error.revision, error.at, error.message, error.function),
                )
            for name in sorted(functions):
                self._bound(db, name)

    @staticmethod
    def _bound(db: sqlite3.Connection, function: str) -> None:
        for table, kept in (("decisions", KEPT_DECISIONS), ("errors", KEPT_ERRORS)):
            db.execute(
                f"DELETE FROM {table} WHERE function = ? AND id NOT IN "  # noqa: S608 (fixed names)
                f"(SELECT id FROM {table} WHERE function = ? ORDER BY id DESC LIMIT ?)",
                (function, function, kept),
            )

    # -- how --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error) -> LocalError:
        name = getattr(error, "sqlite_errorname", "")
        if name in ("SQLITE_FULL",) or name.startswith("SQLITE_IOERR"):
            what, hint = f"the disk is full or failing ({error})", "free some space, then run the command again"
        elif name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            what, hint = f"it is not writable ({error})", "set MLFN_STATE_DIR to a folder that you can write to"
        elif name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or type(error) is sqlite3.DatabaseError:
            what = f"it is damaged ({error})"
            hint = f"move {self._path} away and deploy again; the models in the content store stay"
        else:
            what, hint = str(error), "look into the service log: mlfn local status"
        return LocalError(Kind.FAILURE, f"the local state {self._path} cannot be used: {what}", hints=(hint,))


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _revision_of(row: tuple[Any, ...]) -> RevisionRecord:
    name, function, model, settings, state, created_at, attended, error = row
    return RevisionRecord(
        name=name,
        function=function,
        model=ModelFiles.from_json(orjson.loads(model)),
        settings=FunctionSettings.from_json(orjson.loads(settings)),
        state=RevisionState(state),
        created_at=created_at,
        attended=bool(attended),
        error=error,
    )
