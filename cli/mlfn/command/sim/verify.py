"""`mlfn sim verify`: recorded decisions against the simulator's."""

from __future__ import annotations

from pathlib import Path

import click

from mlfn.command.options import output_option
from mlfn.command.output import Format, print_data, say, table
from mlfn.command.sim.refusals import refusals
from mlfn.errors import CheckNotMet

__all__ = ["verify"]


@click.command(short_help="Replay recordings and count the decisions that are equal.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    show_envvar=True,
    help="Configuration to replay with, for the kinds that have one.  [default: the file beside each recording]",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def verify(files: tuple[Path, ...], profile: Path | None, output: Format) -> None:
    """Replay recordings of a real control plane and count the decisions that are equal; exit code 9 when one is not.

    \b
    Examples:
      mlfn sim verify kpa_decisions.json.gz
      mlfn sim verify recordings/*.json.gz -o json
    """
    import mlfn_sim.agreement

    with refusals():
        report = mlfn_sim.agreement.verify_files(files, profile)
    if output.is_data:
        print_data(report.as_json(), output)
    else:
        heads = ("FILE", "KIND", "CASES", "DECISIONS", "EQUAL", "ROWS", "EQUAL ROWS")
        rows = [
            (r.file, r.kind, *map(str, (r.cases, r.decisions, r.equal_decisions, r.rows, r.equal_rows)))
            for r in report.results
        ]
        print(table(heads, rows))
        for result in report.results:
            if result.first_difference is not None:
                say(f"{result.file}: first difference: {dict(result.first_difference)}")
    if not report.agrees:
        differing = [result.file for result in report.results if not result.agrees]
        raise CheckNotMet(f"decisions differ in {', '.join(differing)}")
