"""`uda eval`: score a run, or a checkpoint, under a protocol."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from udacore.cli.arguments import open_run
from udacore.cli.run import is_first_process, show_results
from udacore.cli.words import FileWord, say

if TYPE_CHECKING:
    from udacore.engine.evaluation import Result


@click.command(short_help="Score a run or a checkpoint under a named protocol.")
@click.argument("run_or_config")
@click.argument("overrides", nargs=-1)
@click.option("--plugin", "-p", help="Method, where CONFIG is a preset.  [default: what the file says]")
@click.option("--round", "only", metavar="NAME", help="Round whose model and settings are used.  [default: the last finished]")
@click.option("--checkpoint", type=FileWord(), help="File of weights instead of the run's own, or a folder of them.")
@click.option("--network", metavar="CHILD", help="Child of the model that is scored in its place, such as teacher.  [default: the protocol's]")
@click.option("--json", "as_json", is_flag=True, help="Results as JSON.")
def evaluate(
    run_or_config: str, overrides: tuple[str, ...], plugin: str | None, only: str | None, checkpoint: Path | None, network: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Evaluate RUN_OR_CONFIG: a run folder, or a preset or file together with --checkpoint.

    \b
    Examples:
      uda eval runs/proca-streets
      uda eval runs/proca-streets evaluate.target.flip=true
      uda eval gta5-cityscapes --plugin proca --checkpoint proca.pt
      uda eval runs/proca-gta5-cityscapes evaluate.target.flip=true \\
          'evaluate.target.scales=[0.5,0.75,1,1.25,1.5,1.75]'
      uda eval gta5-cityscapes --plugin fada --checkpoint FOLDER > scores.csv

    \b
    A folder of checkpoints gives a table in CSV: a line for each file ending
    in .pt or .pth, in the order of their names, on the first evaluation set.
    """
    method, config, run = open_run(run_or_config, overrides, plugin, checkpoint)
    from udacore.engine.results.scoring import score_checkpoint, score_folder, with_network

    config = with_network(config, network)
    if checkpoint is not None and checkpoint.is_dir():
        show_table(score_folder(config, method, folder=run, only=only, checkpoints=checkpoint), as_json)
    else:
        show_results(score_checkpoint(config, method, folder=run, only=only, checkpoint=checkpoint), as_json)


def show_table(rows: Iterable[tuple[int | None, Result]], as_json: bool) -> None:
    """Results of a folder of checkpoints as CSV, a line as soon as it is known, or as
    JSON; the best of them on stderr.

    Fractions are not rounded; what does not count is empty.
    """
    table = csv.writer(sys.stdout, lineterminator="\n")
    found: list[tuple[int | None, Result]] = []
    for iterations, result in rows:
        found.append((iterations, result))
        if as_json or not is_first_process():
            continue
        if len(found) == 1:
            table.writerow(["iters", "mIoU", *result.classes, "mean F1", *(f"F1 {name}" for name in result.classes)])
        scores = result.scores
        values = [scores.miou, *scores.iou, scores.mean_f1, *scores.f1]
        table.writerow(["" if iterations is None else iterations, *("" if math.isnan(value) else value for value in values)])
        sys.stdout.flush()
    if not is_first_process():
        return
    if as_json:
        click.echo(json.dumps([{"iters": iterations, **result.row()} for iterations, result in found]))
    best = max((result for _, result in found), key=lambda result: -1.0 if math.isnan(result.scores.miou) else result.scores.miou)
    say(f"best: {best.protocol['checkpoint']}, mIoU {100 * best.scores.miou:.1f} on {best.set}", err=True)
