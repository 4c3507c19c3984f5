"""Tell the experiment to a planner: a page that holds its plots, each plot as a PNG too, and the document as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlfn_sim.aside import written_aside
from mlfn_sim.reporting.page import Heading, Page, Paragraph, Part, Picture, Table, write_page
from mlfn_sim.reporting.plots import Line, LinePlot, draw_lines
from mlfn_sim.scaling.values import BURST

__all__ = ["at_rate", "summary", "write_report"]

_Document = Mapping[str, Any]
_ASSUMED = (
    "Placements are real: the simulator's kube-scheduler 1.34 decides on each pod. Time is modelled: a cycle takes as "
    "long as the service-time model says, constraints included: it was fitted to measurements on two shared cores and "
    "to the thresholds of kube-scheduler's own benchmark, scheduler_perf, each about one constraint. That the prices "
    "of several add up, nobody has measured. For constraints about other pods, as many pods as nodes are taken to be "
    "there. A bind takes 2 ms. Pods come by a Poisson process, of 20 functions by Zipf's law, onto nodes in three "
    "zones of which other work holds 0 to 90 %; none leaves. A smaller sample spares scoring, not constraints: "
    "kube-scheduler reads all nodes for these."
)
_MEASURES = (
    "Zone skew: of a function's pods, how many more are in its fullest zone than in its emptiest. Fragmentation: of "
    "the free cores, those in pieces too small for a function of two cores. Image hits: pods whose node had the image."
)
_WAITS = (
    "A scheduler that is too slow for the rate lets its queue grow for as long as the rate lasts. A second and more at "
    "low rates are conflicts, which wait for a back-off."
)


def at_rate(point: Mapping[str, Any], rate: float) -> Mapping[str, Any]:
    """Return the figures of a point at a rate."""
    found: Mapping[str, Any] = next(each for each in point["rates"] if each["rate"] == rate)
    return found


def summary(document: _Document) -> list[str]:
    """Return what a planner has to know, a sentence each."""
    claim = document["claim"]
    modelled = {each["what"]: each["per_s"] for each in claim["origins"] if each["kind"] == "modelled"}
    told = [f"At {claim['nodes']:,} nodes: {what} schedules {rate:,.1f} pods/s." for what, rate in modelled.items()]
    most = claim["most_constraints"]
    if "default" in most:
        told.append(
            f"The default scheduler keeps up with {claim['per_s']:.0f} functions/s at {claim['nodes']:,} nodes as long "
            f"as a function carries no more than {most['default']} of the ten constraints; those about other pods "
            "(affinity and anti-affinity) cost most of the time."
        )
    passing = [
        f"{name} up to {count}" for name, count in most.items() if name != "default" and count > most.get("default", -1)
    ]
    if passing:
        told.append(f"What passes that rate with more constraints: {', '.join(passing)}.")
    return told


def write_report(document: _Document, folder: Path) -> Path:
    """Write ``scale.json``, ``scale.html`` and the plots into a folder; return the page."""
    with written_aside(folder / "scale.json") as aside:
        aside.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    pictures = {}
    for name, (plot, caption) in _plots(document).items():
        png = draw_lines(plot)
        with written_aside(folder / f"{name}.png") as aside:
            aside.write_bytes(png)
        pictures[name] = Picture(png, caption)
    page = folder / "scale.html"
    write_page(Page("How far the scheduler scales", tuple(_parts(document, pictures))), page)
    return page


def _focus(document: _Document) -> tuple[int, int]:
    """Return the size and the number of constraints that the plots look at: those of the claim, or the nearest."""
    nodes, most = document["claim"]["nodes"], document["claim"]["most_constraints"].get("default", 8)
    grid = document["grid"]
    return (
        min(grid["nodes"], key=lambda each: abs(each - nodes)),
        min(grid["constraints"], key=lambda each: abs(each - most)),
    )


def _chosen(document: _Document, **wanted: Any) -> list[Mapping[str, Any]]:
    return [each for each in document["points"] if all(each[name] == value for name, value in wanted.items())]


def _capacity(points: Sequence[Mapping[str, Any]]) -> list[float]:
    return [at_rate(point, BURST)["throughput_per_s"] for point in points]


def _plots(document: _Document) -> dict[str, tuple[LinePlot, str]]:
    nodes, constraints = _focus(document)
    grid = document["grid"]
    first, names, rates = grid["designs"][0], grid["designs"], grid["rates"]

    def lines(over: str, what: str, wanted: Mapping[str, Any], values: Sequence[Any]) -> tuple[Line, ...]:
        found = [(value, _chosen(document, **wanted, **{what: value})) for value in values]
        label = {"constraints": "{} constraints", "design": "{}"}[what]
        return tuple(Line(label.format(value), [p[over] for p in ps], _capacity(ps)) for value, ps in found)

    sizes = lines("nodes", "constraints", {"design": first}, grid["constraints"])
    designs = lines("constraints", "design", {"nodes": nodes}, names)
    claimed = Line("15 functions/s", (min(grid["constraints"]), max(grid["constraints"])), (15.0, 15.0))
    here = {"nodes": nodes, "constraints": constraints}
    waits = tuple(
        Line(name, rates, [at_rate(point, rate)["latency_p99_s"] for rate in rates])
        for name in names
        for point in _chosen(document, design=name, **here)
    )
    return {
        "capacity-by-nodes": (
            LinePlot(f"Throughput of a burst, {first}", "nodes", "pods/s", sizes, log_x=True, log_y=True),
            "How many pods/s the scheduler places when all come at once, by the size of the cluster.",
        ),
        "capacity-by-constraints": (
            LinePlot(
                f"Throughput of a burst on {nodes:,} nodes", "constraints", "pods/s", (*designs, claimed), log_y=True
            ),
            "The same by the number of constraints that each function carries, for each design.",
        ),
        "latency-by-rate": (
            LinePlot(
                f"Time from creation to bind, {nodes:,} nodes, {constraints} constraints",
                "pods that come, 1/s",
                "s, 99th percentile",
                waits,
                log_x=True,
                log_y=True,
            ),
            _WAITS,
        ),
    }


def _parts(document: _Document, pictures: Mapping[str, Picture]) -> list[Part]:
    nodes, constraints = _focus(document)
    parts: list[Part] = [Paragraph(sentence) for sentence in summary(document)]
    parts += [pictures["capacity-by-nodes"], pictures["capacity-by-constraints"], pictures["latency-by-rate"]]
    claim = document["claim"]
    parts += [
        Heading(
            f"Where “{claim['nodes']:,} nodes, fewer than ten constraints, {claim['per_s']:.0f} functions/s” is from"
        ),
        Paragraph(
            "Not one of these is the origin for certain; each would give a rate of that kind, under what it assumes."
        ),
        Table(
            ("limit", "functions/s", "kind", "what it assumes"),
            [(each["what"], f"{each['per_s']:,.1f}", each["kind"], each["assumption"]) for each in claim["origins"]],
        ),
        Heading("Throughput of a burst, pods/s"),
        _capacities(document),
        Heading(f"Placements of a burst on {nodes:,} nodes, {constraints} constraints"),
        _qualities(document, nodes, constraints),
        Paragraph(_MEASURES, note=True),
        Heading("Designs, constraints, assumptions"),
        Table(("design", "what it is"), [(each["name"], each["about"]) for each in document["designs"]]),
        Table(
            ("constraint", "adds us at 5,000 nodes"),
            [(each["name"], f"{each['adds_us']:,.0f}") for each in document["constraints"]],
        ),
        Paragraph(_ASSUMED, note=True),
    ]
    return parts


def _capacities(document: _Document) -> Table:
    names = document["grid"]["designs"]
    rows = []
    for nodes in document["grid"]["nodes"]:
        for constraints in document["grid"]["constraints"]:
            found = {each["design"]: each for each in _chosen(document, nodes=nodes, constraints=constraints)}
            rates = (f"{_capacity([found[name]])[0]:,.1f}" for name in names)
            rows.append((f"{nodes:,}", str(constraints), *rates))
    return Table(("nodes", "constraints", *names), rows)


def _qualities(document: _Document, nodes: int, constraints: int) -> Table:
    rows = []
    for point in _chosen(document, nodes=nodes, constraints=constraints):
        burst = at_rate(point, BURST)
        rows.append(
            (
                point["design"],
                f"{point['cycle_us'] / 1000:,.2f}",
                f"{burst['conflicts']:,}",
                f"{burst['refused']:,}",
                f"{burst['zone_skew_percent']:.1f}",
                f"{burst['fragmentation_percent']:.1f}",
                f"{burst['image_hit_percent']:.1f}",
            )
        )
    heads = ("design", "cycle ms", "conflicts", "refused", "zone skew %", "fragmentation %", "image hits %")
    return Table(heads, rows)
