"""Scores from label maps: confusion matrix, IoU, accuracies, and tables of them. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Absent = Literal["zero", "nan"]


def confusion_matrix(label: Tensor, prediction: Tensor, num_classes: int) -> Tensor:
    """Count pixels by label and prediction: K K int64 on the device of the label, rows = label.

    label, prediction  same shape, any integer dtype; a pixel whose label or prediction is no class (255) is left out
    """
    label, prediction = label.reshape(-1).long(), prediction.reshape(-1).long()
    counts = (label >= 0) & (label < num_classes) & (prediction >= 0) & (prediction < num_classes)
    # One more bin takes what does not count, so that nothing is selected and the device need not be waited for.
    place = (label * num_classes + prediction).where(counts, num_classes * num_classes)
    return place.bincount(minlength=num_classes * num_classes + 1)[:-1].reshape(num_classes, num_classes)


@attrs.frozen(kw_only=True)
class Scores:
    """Scores of one labelled set, as fractions; made by `score`.

    iou, accuracy   of each class: intersection over union, and share of its pixels that were found; NaN where the
                    absent rule is "nan" and there is nothing to divide by
    miou            mean of `iou` over the `counted` classes
    mean_accuracy   mean of `accuracy`, alike
    pixel_accuracy  share of all labelled pixels that are right
    counted         number of classes in `miou`: all for the rule "zero", those with a union for "nan"
    absent          the rule: a class in neither labels nor predictions counts as "zero", or is left out ("nan")
    subsets         mean IoU over subsets of the classes, by name
    """

    iou: tuple[float, ...]
    accuracy: tuple[float, ...]
    miou: float
    mean_accuracy: float
    pixel_accuracy: float
    counted: int
    absent: Absent
    subsets: Mapping[str, float] = attrs.field(factory=dict)


def score(confusion: Tensor | np.ndarray, *, absent: Absent = "nan", subsets: Mapping[str, Sequence[int]] | None = None) -> Scores:
    """Scores from a confusion matrix (K K, rows = label), in double precision.

    absent   see `Scores`; "zero" divides by the union + 1e-10, as FADA and ProCA do (algorithms/fada 9.2, algorithms/proca 9), "nan" leaves 0/0 out of means
    subsets  indices of the classes of further means, by name; the matrix stays whole, so pixels of a class outside
             that are taken for one inside still count as errors
    """
    counts = np.asarray(confusion.cpu() if hasattr(confusion, "cpu") else confusion, dtype=np.float64)
    hit, labelled = counts.diagonal(), counts.sum(1)
    union = labelled + counts.sum(0) - hit
    iou, accuracy = _ratio(hit, union, absent), _ratio(hit, labelled, absent)
    return Scores(
        iou=tuple(iou.tolist()),
        accuracy=tuple(accuracy.tolist()),
        miou=_mean(iou),
        mean_accuracy=_mean(accuracy),
        pixel_accuracy=float(_ratio(hit.sum(), labelled.sum(), absent)),
        counted=int(np.isfinite(iou).sum()),
        absent=absent,
        subsets={name: _mean(iou[list(indices)]) for name, indices in (subsets or {}).items()},
    )


def _ratio(part: Any, whole: Any, absent: Absent) -> Any:
    if absent == "zero":
        return part / (whole + 1e-10)
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    """Mean without the NaNs; NaN (and no warning) if nothing is left."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def format_scores(rows: Mapping[str, Scores], classes: Sequence[str], *, style: Literal["text", "markdown"] = "text") -> str:
    """A table of IoU in percent with one decimal; "-" for a class that is absent.

    rows     scores by the name of what was scored (a round, a run)
    classes  names of the K classes
    style    text: a line for each class and a column for each name, for terminals; markdown: a line for each name

    >>> print(format_scores({"adapt": score(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))}, ["road", "sky", "car"]))
          adapt
    road   75.0
    sky    80.0
    car       -
    mIoU   77.5
    """
    subsets = list(dict.fromkeys(name for scores in rows.values() for name in scores.subsets))
    heads = [*classes, "mIoU", *(f"mIoU {name}" for name in subsets)]
    columns = []
    for scores in rows.values():
        values = [*scores.iou, scores.miou, *(scores.subsets.get(name, float("nan")) for name in subsets)]
        columns.append(["-" if np.isnan(value) else f"{100 * value:.1f}" for value in values])
    if style == "markdown":
        lines = [["", *heads], ["---", *("---:" for _ in heads)], *([name, *column] for name, column in zip(rows, columns, strict=True))]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return align([["", *rows], *([head, *cells] for head, *cells in zip(heads, *columns, strict=True))])


def align(lines: Sequence[Sequence[str]], *, right: bool = True) -> str:
    """Columns two blanks apart, the first to the left, the others to the right, or with `right=False` to the left too."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for first, *others in lines:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) if right else cell.ljust(width) for cell, width in zip(others, widths[1:], strict=True))]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)
