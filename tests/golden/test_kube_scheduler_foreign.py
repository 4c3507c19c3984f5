"""Recordings that erring hands changed: told as different or refused by name, and never anything else."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlfn_sim.agreement import verify_files
from mlfn_sim.errors import RecordingError

DATA = Path(__file__).parents[1] / "data" / "kube_scheduler"
FOREIGN: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    3.5,
    1e30,
    "",
    "x",
    "-5",
    "100m",
    [],
    {},
    [1],
    ["a"],
    {"a": 1},
    [{}],
    [None],
    [[]],
)
CHANGES = 120
_PODS = 4


def loaded(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value inside a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*way, key)
        yield from places(inner, (*way, key))


def changed(document: Any, rng: random.Random) -> None:
    """Replace one value by a foreign one, or take it away."""
    *way, last = rng.choice([way for way in places(document) if len(way) > 1])
    for key in way:
        document = document[key]
    if rng.random() < 0.2:
        del document[last]
    else:
        document[last] = copy.deepcopy(rng.choice(FOREIGN))


def judged(path: Path) -> str:
    try:
        return "agrees" if verify_files([path]).agrees else "differs"
    except RecordingError as error:
        return "refused" if f"{path.parent}/{path.stem}." in str(error) else f"refused without a file: {error}"


@pytest.mark.parametrize("kind", ["steps", "scores"])
def test_foreign_values_are_told_or_refused(kind: str, tmp_path: Path) -> None:
    rng, seen = random.Random(kind), set()
    cases = loaded(DATA / "decisions.json.gz")
    for _ in range(CHANGES):
        path = tmp_path / f"{kind}.json"
        if kind == "steps":
            case = copy.deepcopy(rng.choice(cases))
            document: list[Any] = [case | {name: case[name][:_PODS] for name in ("pods", "steps")}]
            changed(document, rng)
            path.write_text(json.dumps(document))
        else:
            source = rng.choice(sorted(DATA.glob("r*.out.jsonl.gz")))
            lines = [json.loads(line) for line in gzip.decompress(source.read_bytes()).splitlines()[:_PODS]]
            cluster = loaded(source.with_name(source.name.replace(".out.jsonl.gz", ".json.gz")))
            both = [cluster | {"pods": cluster["pods"][:_PODS]}, lines]
            changed(both, rng)
            path.write_text(json.dumps(both[0]))
            path.with_name("scores.out.jsonl").write_text("\n".join(map(json.dumps, both[1])))
        seen.add(judged(path))
    assert seen == {"agrees", "differs", "refused"}


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_truncated_companion_is_refused(keep: float, tmp_path: Path) -> None:
    for name in ("r7_all.json.gz", "r7_all.out.jsonl.gz"):
        data = (DATA / name).read_bytes()
        (tmp_path / name).write_bytes(data if "out" not in name else data[: int(len(data) * keep)])
    with pytest.raises(RecordingError, match=r"r7_all\.out\.jsonl\.gz"):
        verify_files([tmp_path / "r7_all.json.gz"])


def test_the_words_of_later_patch_releases_agree_too(tmp_path: Path) -> None:
    cluster = loaded(DATA / "r8_full.json.gz")
    lines = gzip.decompress((DATA / "r8_full.out.jsonl.gz").read_bytes()).decode().splitlines()
    refused = [i for i, line in enumerate(lines) if "untolerated taint {" in line]
    assert refused
    later = []
    for line in map(json.loads, lines):
        head, _, tail = line.get("err", "").partition(": ")
        counts: dict[str, int] = {}
        for reason in tail.removesuffix(".").split(", ") if "untolerated taint {" in tail else ():
            count, words = reason.split(" ", 1)
            words = "node(s) had untolerated taint(s)" if "untolerated taint {" in words else words
            counts[words] = counts.get(words, 0) + int(count)
        if counts:
            line["err"] = f"{head}: {', '.join(sorted(f'{n} {words}' for words, n in counts.items()))}."
        later.append(json.dumps(line))
    (tmp_path / "x.json").write_text(json.dumps(cluster))
    (tmp_path / "x.out.jsonl").write_text("\n".join(later))
    assert judged(tmp_path / "x.json") == "agrees"
