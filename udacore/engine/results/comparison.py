"""Comparison of finished runs: means over seeds, and paired differences to matched controls."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np

from udacore.config.files import read_mapping
from udacore.engine.files.metrics_file import read_result, read_rows
from udacore.engine.files.run_folder import CONFIG, RunFolder, round_label
from udacore.errors import ConfigError, DataError, UdaError, near_matches
from udacore.metrics import Scores, align, format_scores

Style = Literal["text", "markdown"]
CONTROL = "-control"
OWN = ("data_seed", "checkpoint")
"""What of a protocol may differ between runs that are compared: the seed of the
images, and the checkpoint's file."""


@attrs.frozen(kw_only=True)
class FinishedRun:
    """What a run folder says: `name` is the folder's, `after` the mIoU after each
    round; fractions throughout."""

    folder: Path
    name: str
    seed: int
    classes: tuple[str, ...]
    scores: Scores
    protocol: Mapping[str, Any]
    after: Mapping[str, float]


@attrs.frozen(kw_only=True)
class Row:
    """Runs of one name over their seeds; `partner` is the row that the difference is taken to, or None."""

    name: str
    runs: Mapping[int, FinishedRun]
    partner: Row | None = None

    def miou(self) -> list[float]:
        """In percent, a number a seed."""
        return [100 * run.scores.miou for run in self.runs.values()]

    def differences(self) -> dict[int, float]:
        """Paired differences in mIoU, in points, over the seeds that both rows have."""
        other = {} if self.partner is None else self.partner.runs
        return {seed: 100 * (run.scores.miou - other[seed].scores.miou) for seed, run in self.runs.items() if seed in other}


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """Run folders among `paths`; a folder that is none stands for those in it, sorted.
    DataError where there is none."""
    found = []
    for path in paths:
        inside = [path] if RunFolder(path).config.is_file() else sorted(file.parent for file in path.glob(f"*/{CONFIG}"))
        if not inside:
            raise DataError(f"{path}: no run folder, and holds none (config.yaml is missing)")
        found += inside
    return found


def read_run_folder(folder: Path, data: str = "target") -> FinishedRun:
    """The last scores of a finished run on its evaluation set `data`.

    UdaError if it is not finished or was not scored on the set; DataError if its files are none of a run;
    ConfigError if config.yaml is broken.
    """
    config = read_mapping(RunFolder(folder).config)
    rounds = list(config["rounds"]) if isinstance(config.get("rounds"), dict) else []
    if not rounds or not isinstance(config.get("seed"), int):
        raise DataError(f"{folder}: no run folder: its config.yaml is not one that a run has written")
    if not (RunFolder(folder).checkpoints / f"{round_label(len(rounds) - 1, rounds[-1])}.pt").is_file():
        raise UdaError(f"{folder}: round {rounds[-1]!r} is not finished; go on with uda run ... --resume")
    lines = read_rows(folder)
    scored = [line for line in lines if "miou" in line]
    on_set = [line for line in scored if line["set"] == data]
    if not on_set:
        raise UdaError(f"{folder}: was not scored on {data!r}{near_matches(data, dict.fromkeys(line['set'] for line in scored))}")
    result = read_result(on_set[-1])
    after = {line["round"]: read_result(line).scores.miou for line in on_set}
    return FinishedRun(
        folder=folder, name=folder.resolve().name, seed=int(config["seed"]), classes=result.classes, scores=result.scores,
        protocol=result.protocol, after=after,
    )  # fmt: skip


def group(runs: Sequence[FinishedRun], to: str | None = None) -> list[Row]:
    """Rows in the order in which their names first appear; a run's partner is
    `<name>-control`, else the row `to`.

    ConfigError where two runs share name and seed, where classes differ, or where there is no row `to`.
    """
    by_name: dict[str, dict[int, FinishedRun]] = {}
    for run in runs:
        seeds = by_name.setdefault(run.name, {})
        if run.seed in seeds:
            raise ConfigError(f"{run.folder} and {seeds[run.seed].folder} have the same name and seed {run.seed}")
        if run.classes != runs[0].classes:
            raise ConfigError(f"{run.folder} and {runs[0].folder} score different classes; compare runs of one label space")
        seeds[run.seed] = run
    if to is not None and to not in by_name:
        raise ConfigError(f"--to: there is no run {to!r}{near_matches(to, by_name)}")
    plain = {name: Row(name=name, runs=dict(sorted(seeds.items()))) for name, seeds in by_name.items()}
    return [attrs.evolve(row, partner=_partner(row.name, plain, to)) for row in plain.values()]


def _partner(name: str, rows: Mapping[str, Row], to: str | None) -> Row | None:
    return rows.get(f"{name}{CONTROL}") or (rows[to] if to is not None and name != to else None)


def differing_protocols(rows: Sequence[Row]) -> list[str]:
    """A line for each run whose protocol is not that of the first; a comparison should have none."""
    runs = [run for row in rows for run in row.runs.values()]
    first, lines = runs[0].protocol, []
    for run in runs[1:]:
        keys = [key for key in {**first, **run.protocol} if key not in OWN and first.get(key) != run.protocol.get(key)]
        if keys:
            lines.append(f"{run.folder}: scored with " + ", ".join(f"{key} {run.protocol.get(key)} (not {first.get(key)})" for key in keys))
    return lines


def format_comparison(rows: Sequence[Row], style: Style = "text") -> str:
    """A line for each row: mean ± sample deviation over the seeds, and the paired
    difference, in percent and points."""
    table = [("run", "mIoU", "paired difference"), *((row.name, spread(row.miou()), format_difference(row)) for row in rows)]
    if style == "markdown":
        table.insert(1, ("---", "---", "---"))
        return "\n".join("| " + " | ".join(cells) + " |" for cells in table)
    return align(table, right=False)


def format_difference(row: Row) -> str:
    """Mean ± deviation of the paired difference, each seed's, and to what; empty without a
    partner or a common seed."""
    each = list(row.differences().values())
    if not each or row.partner is None:
        return ""
    listed = f" ({', '.join(f'{value:+.1f}' if np.isfinite(value) else '-' for value in each)})" if len(each) > 1 else ""
    return f"{spread(each, '+')}{listed} to {row.partner.name}"


def format_classes(rows: Sequence[Row], style: Style = "text") -> str:
    """IoU and F1 of each class, mean over the seeds."""
    classes = next(iter(rows[0].runs.values())).classes
    return format_scores({row.name: _mean_scores([run.scores for run in row.runs.values()]) for row in rows}, classes, style=style)


def format_rounds(row: Row) -> str:
    """In Markdown, how a method and its control stand after each round, and the paired
    difference; it must have a control."""
    assert row.partner is not None
    lines = [("round", "method", "control", "paired difference"), ("---", "---", "---", "---")]
    seeds = [seed for seed in row.runs if seed in row.partner.runs]
    for name in row.runs[seeds[0]].after:
        method, control = ([100 * each.runs[seed].after[name] for seed in seeds] for each in (row, row.partner))
        gain = spread([a - b for a, b in zip(method, control, strict=True)], "+")
        lines.append((name, spread(method), spread(control), gain))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean ± sample deviation, with one decimal; of a single value it says that there
    is one seed, "-" for NaN."""
    if not np.isfinite(values).all():
        return "-"
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else " (one seed)"
    return f"{statistics.mean(values):{sign}.1f}{deviation}"


def _mean_scores(scores: Sequence[Scores]) -> Scores:
    """Scores whose IoUs and F1 are means over the seeds in which the class counts."""
    iou, f1 = _mean_of_seeds([one.iou for one in scores]), _mean_of_seeds([one.f1 for one in scores])
    subsets = {name: statistics.mean(one.subsets[name] for one in scores) for name in scores[0].subsets}
    means = {name: statistics.mean(getattr(one, name) for one in scores) for name in ("miou", "mean_f1")}
    return attrs.evolve(scores[0], iou=iou, f1=f1, subsets=subsets, **means)


def _mean_of_seeds(seeds: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The mean of each class over the seeds in which it counts."""
    values = np.array(seeds)
    counts = (~np.isnan(values)).sum(0)
    means = np.divide(np.nansum(values, 0), counts, out=np.full(values.shape[1], np.nan), where=counts > 0)
    return tuple(means.tolist())


def _by_class(classes: Sequence[str], values: Sequence[float]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in zip(classes, values, strict=True)}


def plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every number, for other programs; fractions, None for what does not count."""
    return [
        {
            "run": row.name,
            "partner": row.partner.name if row.partner else None,
            "seeds": {
                str(seed): {
                    "miou": run.scores.miou,
                    "iou": _by_class(run.classes, run.scores.iou),
                    "mean_f1": run.scores.mean_f1,
                    "f1": _by_class(run.classes, run.scores.f1),
                }
                for seed, run in row.runs.items()
            },
            "difference": {str(seed): value / 100 for seed, value in row.differences().items()},
        }
        for row in rows
    ]
