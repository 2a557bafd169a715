"""`uda compare`: finished runs in one table."""

from __future__ import annotations

import json
from pathlib import Path

import click

from udacore.cli.words import FileWord, say
from udacore.errors import one_line


@click.command(short_help="Put finished runs into one table.")
@click.argument("runs", nargs=-1, required=True, type=FileWord(), metavar="RUN...")
@click.option("--set", "data", default="target", show_default=True, metavar="NAME", help="Evaluation set that is compared.")
@click.option("--to", metavar="NAME", help="Run that those without a control of their own are compared with.")
@click.option("--markdown", "style", flag_value="markdown", help="Tables in Markdown.")
@click.option("--json", "style", flag_value="json", help="Every number as JSON.")
def compare(runs: tuple[Path, ...], data: str, to: str | None, style: str | None) -> None:
    """Compare RUNs: run folders, or folders that hold some.

    \b
    Examples:
      uda compare runs
      uda compare runs/seed-1 runs/seed-2 runs/seed-3 --to source-only
      uda compare runs/proca-streets runs/proca-streets-control

    Runs of one name and several seeds become one row: mean and sample
    standard deviation. The difference is paired by seed; a method's partner
    is its matched control, the folder NAME-control that `control=true` makes.
    Runs scored under another protocol than the first are named on stderr.
    """
    from udacore.engine.results import comparison

    found = [comparison.read_run_folder(folder, data) for folder in comparison.find_runs(runs)]
    rows = comparison.group(found, to)
    for line in comparison.differing_protocols(rows):
        click.echo(one_line(f"warning: {line}"), err=True)
    if style == "json":
        click.echo(json.dumps(comparison.plain(rows)))
        return
    form: comparison.Style = "markdown" if style == "markdown" else "text"
    say(comparison.format_comparison(rows, form))
    say("\n" + comparison.format_classes(rows, form))
