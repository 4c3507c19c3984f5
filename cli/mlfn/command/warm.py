"""`mlfn warm`: plan, look at and do what keeps a function warm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlfn.command.advice import near_functions
from mlfn.command.connecting import connect
from mlfn.command.names import function_argument
from mlfn.command.options import CONTEXT, PLATFORM, NearGroup, output_option, setting_options
from mlfn.command.output import Format, print_data, say, table
from mlfn.command.warm_words import plan_document, status_document, status_line
from mlfn.errors import InvalidInput
from mlfn.function import FunctionSpec
from mlfn.platforms import Platform, Touches
from mlfn.settings import Resolved
from mlfn.settings.values import BadValue, duration

if TYPE_CHECKING:
    from mlfn.warmers.pinger import Waiting
    from mlfn_policies.warm import WarmPlan, WarmWish

__all__ = ["warm"]

_FORMS = (Format.TABLE, Format.JSON, Format.YAML)
_SCALING = ("function.concurrency", "function.target", "function.min_scale", "function.max_scale", "function.window")
_LONGEST_S = 30 * 86400


@click.group(cls=NearGroup, short_help="Plan and look at what keeps a function warm.", context_settings=CONTEXT)
def warm() -> None:
    """Plan and look at what keeps a function warm, so that no request waits for a start.

    `mlfn deploy --warm auto` does what `mlfn warm plan` says.
    """


@warm.command(short_help="Say what would keep a function warm, and what it costs.")
@click.argument("target", metavar="MODEL|NAME")
@click.option(
    "--instances", type=click.IntRange(1, 1000), default=1, show_default=True, help="Instances to have ready."
)
@click.option(
    "--cold-share",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    default=0.0,
    show_default=True,
    help="Share of requests that may wait for a start.",
)
@click.option("--gap", metavar="DURATION", default="", help="Mean time between two requests, where it is known.")
@click.option("--period", metavar="DURATION", default="", help="Ask for pings of this period.")
@setting_options(*_SCALING, *PLATFORM)
@output_option(*_FORMS)
def plan(target: str, output: Format, **flags: object) -> None:
    """Say what would keep a function warm on the platform, and what it costs: instance-hours and pings a day.

    The target is a model that is not deployed yet, with the settings of this folder and the options, or the NAME of a
    function. Nothing is changed.

    \b
    Examples:
      mlfn warm plan model.onnx
      mlfn warm plan iris --period 45s
      mlfn warm plan iris --cold-share 5 --gap 10m -o json
    """
    from mlfn.delivery.warm import options, plan_for, summary, terms_for

    wish = _wish(flags)
    resolved, platform = connect({key: value for key, value in flags.items() if key not in _OWN})
    spec = _spec(platform, resolved, target)
    made = plan_for(terms_for(platform, spec), wish)
    carried_out = options(made, spec)
    if output.is_data:
        print_data({"schema": "mlfn.warm-plan/v1", "function": spec.name, **plan_document(made, carried_out)}, output)
        return
    print(f"{summary(made)}\nbecause: {made.reason}")
    if carried_out:
        print(f"deploy it with: {' '.join(carried_out)}")
    if made.method != "none":
        print(f"pings: safe up to every {made.safe_period_s} s, cold from {made.cliff_s} s on")
    print(f"\n{_alternatives(made)}")


@warm.command(short_help="Tell how a function is kept warm now.")
@function_argument()
@setting_options(*PLATFORM)
@output_option(*_FORMS)
def status(name: str, output: Format, **flags: object) -> None:
    """Tell how the function NAME is kept warm now: what pings it, how often, and what came of it.

    \b
    Examples:
      mlfn warm status iris
      mlfn warm status iris -o json | jq .sent
    """
    _, platform = connect(flags)
    if isinstance(platform, Touches):
        _print_warmth(platform, name, output)
        return
    with near_functions(platform, name):
        found = platform.status(name).warm
    if found is None:
        raise InvalidInput(f"the platform {platform.name} does not tell how functions are kept warm")
    if output.is_data:
        print_data({"schema": "mlfn.warm-status/v1", "function": name, **status_document(found)}, output)
    else:
        print(status_line(found, name))


@warm.command(short_help="Ping a function from this terminal until stopped.")
@function_argument()
@click.option("--period", metavar="DURATION", default="", help="Between two pings.  [default: the longest safe one]")
@click.option(
    "--instances",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Containers to keep, on OpenWhisk: as many pings at once.",
)
@setting_options("invoke.timeout", *PLATFORM)
def run(name: str, period: str, instances: int, **flags: object) -> None:
    """Ping the function NAME until Ctrl-C or SIGTERM: for places where nothing else can.

    A ping that fails is tried again with growing pauses. One line on standard error tells each failure.

    \b
    Examples:
      mlfn warm run iris
      mlfn warm run iris --period 30s --platform knative
      mlfn warm run iris --instances 3 --platform openwhisk
    """
    from mlfn.delivery.warm import ping_sender
    from mlfn.warmers.pinger import pings

    resolved, platform = connect(flags)
    if isinstance(platform, Touches):
        _touch(platform, name, instances, int(_seconds("--period", period)))
        return
    if instances > 1:
        raise InvalidInput(f"--instances: on {platform.name} one ping keeps one instance, never more")
    with near_functions(platform, name):
        spec = platform.status(name).spec
    period_s = _safe_period_s(platform, spec, _seconds("--period", period))
    say(f"pinging {name} on {platform.name} every {period_s} s; Ctrl-C ends it")
    sent = failed = 0
    with _until_stopped() as waiting:
        for ping in pings(ping_sender(platform, name, resolved.settings.invoke.timeout_s), period_s, waiting):
            sent, failed = sent + 1, failed + bool(ping.error)
            if ping.error:
                say(f"ping {ping.number} failed: {ping.error}; the next in {ping.next_s:.0f} s")
    say(f"stopped after {sent} pings, {failed} of them failed")


def _touch(platform: Touches, name: str, instances: int, period_s: int) -> None:
    from mlfn.warmers.pinger import pings

    made = platform.touch_plan(name, instances, period_s)
    say(
        f"touching {instances} containers of {name} every {made.period_s} s ({made.calls_per_day} calls a day, "
        f"{made.quota_share:.1%} of a minute's quota); Ctrl-C ends it"
    )
    sent = failed = 0
    with _until_stopped() as waiting:
        for ping in pings(lambda number: platform.touch(name, made), made.period_s, waiting):
            sent, failed = sent + 1, failed + bool(ping.error)
            if ping.error:
                say(f"round {ping.number} failed: {ping.error}; the next in {ping.next_s:.0f} s")
    say(f"stopped after {sent} rounds, {failed} of them failed")


def _print_warmth(platform: Touches, name: str, output: Format) -> None:
    found = platform.warmth(name)
    share = found.cold / found.calls if found.calls else 0.0
    if output.is_data:
        told = {"cold_share": share, **asdict(found)}
        print_data({"schema": "mlfn.warmth/v1", "function": name, **told}, output)
        return
    print(
        f"{name}: {found.cold} of the last {found.calls} calls were cold ({share:.1%}); "
        f"{found.pings} pings, {found.cold_pings} of them cold, ran {found.ping_seconds:.1f} s"
    )


_OWN = ("instances", "cold_share", "gap", "period")


def _spec(platform: Platform, resolved: Resolved, target: str) -> FunctionSpec:
    """Return the settings of a model to be deployed, where there is such a file, else of a deployed function."""
    if not Path(target).exists():
        with near_functions(platform, target):
            return platform.status(target).spec
    from mlfn.command.deploy import spec_of

    return spec_of(resolved, Path(target))


def _wish(flags: dict[str, object]) -> WarmWish:
    from mlfn_policies.warm import WarmWish

    return WarmWish(
        instances=int(str(flags["instances"])),
        cold_share=float(str(flags["cold_share"])) / 100,
        gap_s=_seconds("--gap", str(flags["gap"])),
        period_s=int(_seconds("--period", str(flags["period"]))),
    )


def _seconds(option: str, text: str) -> float:
    if not text:
        return 0.0
    kind = duration(1, _LONGEST_S, seconds_only=option == "--period")
    try:
        return float(kind.read(text))
    except BadValue as error:
        raise InvalidInput(f"{option} is {text!r}: {error}") from error


def _safe_period_s(platform: Platform, spec: FunctionSpec, asked_s: float) -> int:
    """Return the period to ping at; raises InvalidInput for one that would find nothing, and where none makes sense."""
    from mlfn.delivery.warm import plan_for, terms_for
    from mlfn_policies.staying import safe_period_s
    from mlfn_policies.warm import WarmWish

    # Whoever waits here sends to the second, whatever the cluster has besides.
    terms = replace(terms_for(platform, spec), sender="mlfn warm run", finest_s=1, exact=True)
    period_s = int(asked_s) or safe_period_s(terms.window_s, terms.retention_s)
    plan_for(terms, WarmWish(period_s=period_s))
    return period_s


@contextmanager
def _until_stopped() -> Iterator[Waiting]:
    """Let SIGTERM and Ctrl-C end the waiting, not the ping that is under way."""
    import signal
    import threading
    import time

    from mlfn.warmers.pinger import Waiting

    stopped = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stopped.set()) for number in numbers]
    try:
        yield Waiting(time.monotonic, stopped.wait)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _alternatives(made: WarmPlan) -> str:
    from mlfn.delivery.warm import cost

    heads = ("METHOD", "COLD ANSWERS", "COST", "NOT CHOSEN BECAUSE")
    rows = [(made.method.value, f"{made.choice.cold_share:.2%}", cost(made.choice), "(chosen)")]
    rows += [(each.method.value, f"{each.cold_share:.2%}", cost(each), each.why_not) for each in made.alternatives]
    return table(heads, rows)
