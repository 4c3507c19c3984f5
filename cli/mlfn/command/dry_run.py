"""`mlfn deploy --dry-run`: what a deploy would do, told and not done."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlfn.command.output import Format, print_data, say, stages, table
from mlfn.platforms import Platform

if TYPE_CHECKING:
    from mlfn.delivery.deploy import Order
    from mlfn.delivery.plans import Plan

__all__ = ["print_objects", "rehearse"]


def rehearse(platform: Platform, order: Order, output: Format, *, on_server: bool) -> None:
    """Print what deploying ``order`` would apply, or what it would change on the cluster."""
    from mlfn.delivery.manifest import objects_for
    from mlfn.delivery.plans import plan

    order = replace(order, push=False)
    with stages() as stage:
        if on_server:
            planned = plan(platform, order, progress=stage)
        else:
            _, objects = objects_for(platform, order, progress=stage)
    if on_server:
        _print_plan(planned, output)
    else:
        print_objects(objects, output)


def print_objects(objects: tuple[dict[str, object], ...], output: Format) -> None:
    """Print objects of an API as one text that `kubectl apply -f -` takes."""
    from mlfn.delivery.documents import documents

    if output is Format.JSON:
        print_data({"schema": "mlfn.manifest/v1", "apiVersion": "v1", "kind": "List", "items": list(objects)}, output)
    else:
        print(documents(objects), end="")


def _print_plan(planned: tuple[Plan, ...], output: Format) -> None:
    if output.is_data:
        changes = [each.as_json() for each in planned]
        print_data({"schema": "mlfn.plan/v1", "changes": changes}, output)
        return
    rows = [(each.kind, each.name, each.action, each.summary) for each in planned]
    print(table(("KIND", "NAME", "WOULD BE", "FIELDS"), rows))
    if not any(each.differences for each in planned):
        say("a deploy would change nothing")
