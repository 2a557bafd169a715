"""Reading of metrics.jsonl; every line is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from udacore.engine.evaluation import Result
from udacore.engine.files.run_folder import RunFolder
from udacore.errors import DataError
from udacore.metrics import Scores, f1_of, mean_of


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run folder's metrics.jsonl. DataError, naming file and line, for one
    that no run has written."""
    path = RunFolder(folder).metrics
    if path.exists() and not path.is_file() and not path.is_dir():  # to read a pipe would wait for ever
        raise DataError(f"{path}: cannot be read (it is no ordinary file)")
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if lines[-1]:
        raise DataError(f"{path}, line {len(lines)}: cut off; {_ADVICE}")
    return [_read_row(path, number, line) for number, line in enumerate(lines[:-1], 1)]


_ADVICE = "score the run again with uda eval, or go on with uda run ... --resume"


def _read_row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number}: not JSON ({str(error)[:80]}); {_ADVICE}") from error
    problem = _find_problem(row)
    if problem:
        raise DataError(f"{path}, line {number}: {problem}; {_ADVICE}")
    result: dict[str, Any] = row
    return result


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not a number of JSON")


def _find_problem(row: object) -> str | None:
    """What is wrong with a line, in words. Lines with scores are checked whole, others for their round."""
    if not isinstance(row, dict):
        return f"must be a mapping, got {type(row).__name__}"
    if not isinstance(row.get("round"), str):
        return "names no round"
    if "miou" not in row:
        return None
    iou, protocol = row.get("iou"), row.get("protocol")
    if not isinstance(iou, dict) or not _are_numbers(iou.values()):
        return "iou must be a number for each class"
    if not isinstance(row.get("accuracy"), list) or not _are_numbers(row["accuracy"]) or len(row["accuracy"]) != len(iou):
        return f"accuracy must be {len(iou)} numbers, as many as classes"
    if not isinstance(row.get("subsets"), dict) or not _are_numbers(row["subsets"].values()):
        return "subsets must be numbers by name"
    if not _are_numbers(row.get(key) for key in ("miou", "mean_accuracy", "pixel_accuracy")):
        return "miou, mean_accuracy and pixel_accuracy must be numbers from 0 to 1"
    f1 = row.get("f1", iou)  # runs of 0.1.0 have none
    if not isinstance(f1, dict) or f1.keys() != iou.keys() or not _are_numbers([*f1.values(), row.get("mean_f1")]):
        return "f1 and mean_f1 must be numbers from 0 to 1, one for each class and their mean"
    if not isinstance(protocol, dict) or protocol.get("absent") not in ("zero", "nan"):
        return "states no protocol"
    if not isinstance(row.get("set"), str) or not _is_count(row.get("step")) or not _is_count(row.get("counted")):
        return "set, step or counted is missing or of another type"
    return None


def _are_numbers(values: Iterable[object]) -> bool:
    """Whether all are shares, or null for what does not count."""
    return all(value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1) for value in values)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_result(row: dict[str, Any]) -> Result:
    """A line that holds scores, as `Result.row` wrote it."""

    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    iou = tuple(number(value) for value in row["iou"].values())
    f1 = tuple(number(row["f1"][name]) for name in row["iou"]) if "f1" in row else f1_of(iou)
    scores = Scores(
        iou=iou,
        accuracy=tuple(number(value) for value in row["accuracy"]),
        miou=number(row["miou"]),
        mean_accuracy=number(row["mean_accuracy"]),
        pixel_accuracy=number(row["pixel_accuracy"]),
        counted=row["counted"],
        absent=row["protocol"]["absent"],
        subsets={key: number(value) for key, value in row["subsets"].items()},
        f1=f1,
        mean_f1=number(row["mean_f1"]) if "mean_f1" in row else mean_of(f1),
    )
    return Result(
        round=row["round"], step=row["step"], set=row["set"], scores=scores, classes=tuple(row["iou"]), protocol=row["protocol"]
    )  # fmt: skip


def check_length(folder: Path, written: int) -> None:
    """DataError if metrics.jsonl holds fewer bytes than the newest checkpoint says were
    written: some were lost."""
    path = RunFolder(folder).metrics
    found = path.stat().st_size if path.is_file() else None
    if found is None and written:
        raise DataError(f"{path} is gone, with the scores of all rounds so far; put it back, or begin again with --force")
    if found is not None and found < written:
        said = f"{path} has {found} bytes, the newest checkpoint knows of {written}"
        raise DataError(f"{said}: scores were lost; put the whole file back, or begin again with --force")
