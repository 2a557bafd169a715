"""Source-only, AdaBN, each method beside its matched control, and the oracle, over several seeds of the embedded domains.

    python benchmarks/streets.py --seeds 11 12 13 [--plugins clp pycda fada proca bdl] [--folder runs/benchmark] [a.b=c ...]

Writes benchmarks/RESULTS.md (mean, sample deviation, paired difference), streets.json (every number) and streets.png (some
pictures of the first seed). Runs that are finished in the folder are read, not repeated, so it can be stopped and started.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import rows
import torch
from picture import draw

from udacore.metrics import Scores, format_scores

HERE = Path(__file__).parent
Table = dict[str, dict[int, Scores]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--plugins", nargs="*", default=["clp", "pycda", "fada", "proca", "bdl"])
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--no-oracle", action="store_true", help="leave the oracle's row out")
    parser.add_argument("overrides", nargs="*", help="a.b=c for every run")
    arguments = parser.parse_intermixed_args()
    table, classes = measure(arguments.seeds, arguments.plugins, arguments.folder, arguments.overrides, not arguments.no_oracle)
    text = "\n".join([report(table, classes), *(rounds_of(plugin, arguments.folder, sorted(arguments.seeds)) for plugin in arguments.plugins)])
    (HERE / "streets.json").write_text(json.dumps(plain(table, classes), indent=1) + "\n")
    (HERE / "RESULTS.md").write_text(text)
    print(text)
    place = arguments.folder / f"seed-{arguments.seeds[0]}"
    print(draw({run: place / run.lower() for run in table if not run.endswith("control")}, HERE / "streets.png"))


def measure(seeds: Sequence[int], plugins: Sequence[str], folder: Path, more: Sequence[str], with_oracle: bool) -> tuple[Table, tuple[str, ...]]:
    """All runs; scores on the target's validation pictures by row and seed."""
    table: Table = {}
    classes: tuple[str, ...] = ()
    for seed in seeds:
        place = folder / f"seed-{seed}"
        results = {"source-only": rows.source_only(place, seed, *more), "AdaBN": rows.adabn(place, seed, *more)}
        for plugin in plugins:
            results[f"{plugin} control"] = rows.adapted(plugin, place, seed, *more, control=True)
            results[plugin] = rows.adapted(plugin, place, seed, *more)
        if with_oracle:
            results["oracle"] = rows.oracle(place, seed, *more)
        for name, result in results.items():
            table.setdefault(name, {})[seed] = result.scores
            classes = result.classes
    return table, classes


def partner(row: str, table: Table) -> str | None:
    """The row that a row is compared with: a method with its control, the others with source-only."""
    if f"{row} control" in table:
        return f"{row} control"
    return None if row == "source-only" else "source-only"


def report(table: Table, classes: Sequence[str]) -> str:
    """The table in Markdown, with the command and the machine that made it."""
    seeds = sorted(next(iter(table.values())))
    device = f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"
    lines = [
        "# Results on the embedded domains",
        "",
        f"Made on {datetime.date.today().isoformat()} by `python {shlex.join(['benchmarks/streets.py', *sys.argv[1:]])}` ({device}).",
        f"Pair W, 120 target validation pictures, mIoU in percent over {len(classes)} classes, last step, single scale. Seeds {', '.join(map(str, seeds))};",
        "a seed changes pictures and training. ± is the sample standard deviation over seeds. A method's control has the same",
        "start, steps, rates, augmentation and batch-norm mode, and every loss on the target multiplied by 0. The oracle goes on",
        f"from the source-only weights for {rows.ORACLE_STEPS} steps with the target's labels.",
        "",
        "| run | mIoU | paired difference |",
        "| --- | --- | --- |",
    ]
    for name, scores in table.items():
        other = partner(name, table)
        lines.append(f"| {name} | {spread([100 * scores[s].miou for s in seeds])} | {difference(name, other, table, seeds) if other else ''} |")
    means = {name: mean_scores(list(scores.values())) for name, scores in table.items()}
    return "\n".join([*lines, "", "IoU of each class, mean over the seeds:", "", format_scores(means, classes, style="markdown"), ""])


def rounds_of(plugin: str, folder: Path, seeds: Sequence[int]) -> str:
    """How a method and its control stand after each round, and the paired difference."""
    after = {run: [miou_by_round(folder / f"seed-{seed}" / run) for seed in seeds] for run in (plugin, f"{plugin}-control")}
    lines = [f"{plugin}, after each round:", "", "| round | method | control | paired difference |", "| --- | --- | --- | --- |"]
    for name in after[plugin][0]:
        method, control = ([100 * each[name] for each in after[run]] for run in (plugin, f"{plugin}-control"))
        gain = spread([a - b for a, b in zip(method, control, strict=True)], "+")
        lines.append(f"| {name} | {spread(method)} | {spread(control)} | {gain} |")
    return "\n".join([*lines, ""])


def miou_by_round(run: Path) -> dict[str, float]:
    """The last score on the target of each round of a finished run."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {row["round"]: row["miou"] for row in found if row.get("set") == "target"}


def difference(row: str, other: str, table: Table, seeds: Sequence[int]) -> str:
    """Mean ± deviation of the paired difference, and each seed's."""
    each = [100 * (table[row][seed].miou - table[other][seed].miou) for seed in seeds]
    return f"{spread(each, '+')} ({', '.join(f'{value:+.1f}' for value in each)}) to {other}"


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean ± sample deviation."""
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else " (one seed)"
    return f"{statistics.mean(values):{sign}.1f}{deviation}"


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Scores whose IoUs are means over seeds."""
    iou = tuple(float(value) for value in np.nanmean([one.iou for one in scores], axis=0))
    return attrs.evolve(scores[0], iou=iou, miou=statistics.mean(one.miou for one in scores), subsets={})


def plain(table: Table, classes: Sequence[str]) -> dict[str, object]:
    """Every number, for other programs."""
    numbers = {row: {str(seed): {"miou": s.miou, "iou": dict(zip(classes, s.iou, strict=True))} for seed, s in seeds.items()} for row, seeds in table.items()}
    return {"date": datetime.date.today().isoformat(), "command": shlex.join(["benchmarks/streets.py", *sys.argv[1:]]), "rows": numbers}


if __name__ == "__main__":
    main()
