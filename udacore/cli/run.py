"""`uda run`: train."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import click

from udacore.cli.arguments import note_partial, read_run, run_arguments
from udacore.cli.words import say
from udacore.errors import one_line


@click.command(short_help="Train: all rounds of a method, or one of them.")
@run_arguments
@click.option("--resume", is_flag=True, help="Go on where a stopped run of the same settings left off.")
@click.option("--resume-anyway", is_flag=True, help="The same if data, versions, device or threads have changed; env.json records it.")
@click.option("--force", is_flag=True, help="Begin again in a folder that exists; with --round: run it again.")
@click.option("--round", "only", metavar="NAME", help="Run this round only; earlier ones are read from the folder.")
@click.option("--dry-run", is_flag=True, help="20 steps of every round: memory, time a step, total time.")
@click.option("--quick", metavar="N", type=click.IntRange(min=1), help="Rehearse: steps divided by N, few small images; name ends with -quick.")
@click.option("--json", "as_json", is_flag=True, help="Results as JSON.")
def run(
    plugin: str | None, words: tuple[str, ...], resume: bool, resume_anyway: bool, force: bool, only: str | None, dry_run: bool,
    quick: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Train with CFG, a file or the name of a preset, changed by KEY=VALUE.

    Without CFG the plugin's preset for the embedded domains runs.

    \b
    Examples:
      uda run --plugin proca
      uda run --plugin proca gta5-cityscapes source.root=/data/gta5
      uda run --plugin proca streets rounds.adapt.steps=100 control=true
      uda run --plugin proca gta5-cityscapes --resume
      torchrun --nproc-per-node=4 -m udacore run --plugin proca gta5-cityscapes
    """
    given = {"--resume": resume, "--resume-anyway": resume_anyway, "--force": force, "--round": only is not None, "--dry-run": dry_run, "--json": as_json}
    refuse_conflicts([option for option, is_given in given.items() if is_given])
    method, config = read_run(plugin, words)
    notes = note_partial(method, words)
    if quick is not None:
        from udacore.config.quick import make_quick

        config = make_quick(config, quick)
        notes.append(f"note: a rehearsal: steps divided by {quick}, few small images; its scores mean nothing")
    if dry_run:
        for note in notes if is_first_process() else ():
            click.echo(one_line(note), err=True)
        from udacore.engine.dry_run import dry_run as try_out

        table = try_out(config, method)
        if is_first_process():
            say(table)
        return
    from udacore.engine.run import run as carry_out

    show_results(carry_out(config, method, resume=resume, force=force, only=only, anyway=resume_anyway, notes=notes), as_json)


def refuse_conflicts(given: Sequence[str]) -> None:
    """UsageError for two options of which one would be ignored."""
    pairs = [("--force", "--resume"), ("--force", "--resume-anyway"), ("--round", "--resume-anyway")]
    pairs += [("--dry-run", other) for other in ("--resume", "--resume-anyway", "--force", "--round", "--json")]
    for one, other in pairs:
        if one in given and other in given:
            raise click.UsageError(f"{one} and {other} exclude each other: leave one out")


def is_first_process() -> bool:
    """Whether this process speaks for all; the processes of torchrun have parted when results are shown."""
    return os.environ.get("RANK", "0") == "0"


def show_results(results: Sequence[object], as_json: bool) -> None:
    """The table of results, or their JSON, on stdout of the main process."""
    from udacore.engine.evaluation import Result
    from udacore.metrics import format_scores

    rows = [result for result in results if isinstance(result, Result)]
    if not is_first_process() or not rows:
        return
    if as_json:
        click.echo(json.dumps([row.row() for row in rows]))
        return
    for classes in dict.fromkeys(row.classes for row in rows):
        table = {f"{row.round} on {row.set}": row.scores for row in rows if row.classes == classes}
        say(format_scores(table, classes))
    for row in rows:
        say(f"{row.round} on {row.set}: " + ", ".join(f"{key} {value}" for key, value in row.protocol.items()))
