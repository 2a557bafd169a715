"""Scores from label maps: confusion matrix, IoU, F1, accuracies, and tables of
them. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Absent = Literal["zero", "nan"]

ALONE, SUM = ":alone", ":sum"
"""Behind the name of a subset: its pixels alone are scored, or all IoUs are summed and divided by its number of classes."""


def subset_space(name: str) -> str:
    """The label space of a subset's name, which may end with a rule.

    >>> subset_space("synthia16:alone"), subset_space("synthia13")
    ('synthia16', 'synthia13')
    """
    return name.removesuffix(ALONE).removesuffix(SUM)


def confusion_matrix(label: Tensor, prediction: Tensor, num_classes: int) -> Tensor:
    """Count pixels by label and prediction: K K int64 on the device of the label, rows = label.

    label, prediction  same shape, any integer dtype; a pixel whose label or prediction is
                       no class (255) is left out
    """
    label, prediction = label.reshape(-1).long(), prediction.reshape(-1).long()
    counts = (label >= 0) & (label < num_classes) & (prediction >= 0) & (prediction < num_classes)
    # One more bin takes what does not count, so that nothing is selected and the device
    # need not be waited for.
    place = (label * num_classes + prediction).where(counts, num_classes * num_classes)
    return place.bincount(minlength=num_classes * num_classes + 1)[:-1].reshape(num_classes, num_classes)


@attrs.frozen(kw_only=True)
class Scores:
    """Scores of one labelled set, as fractions; made by `score`.

    iou, accuracy   of each class: intersection over union, and share of its pixels that were found; NaN where
                    the absent rule is "nan" and there is nothing to divide by
    miou            mean of `iou` over the `counted` classes
    mean_accuracy   mean of `accuracy`, alike
    pixel_accuracy  share of all labelled pixels that are right
    counted         number of classes in `miou`: all for the rule "zero", those with a union for "nan"
    absent          the rule: a class in neither labels nor predictions counts as
                    "zero", or is left out ("nan")
    subsets         mean IoU over subsets of the classes, by name; the rules of `score`
    f1              of each class: twice the hits by the labelled and the predicted
                    pixels, also called Dice; alike
    mean_f1         mean of `f1` over the `counted` classes
    """

    iou: tuple[float, ...]
    accuracy: tuple[float, ...]
    miou: float
    mean_accuracy: float
    pixel_accuracy: float
    counted: int
    absent: Absent
    subsets: Mapping[str, float] = attrs.field(factory=dict)
    f1: tuple[float, ...] = ()
    mean_f1: float = float("nan")


def score(confusion: Tensor | np.ndarray, *, absent: Absent = "nan", subsets: Mapping[str, Sequence[int]] | None = None) -> Scores:
    """Scores from a confusion matrix (K K, rows = label), in double precision.

    absent   see `Scores`; "zero" divides by the union + 1e-10, as FADA and ProCA do (algorithms/fada 9.2,
             algorithms/proca 9), "nan" leaves 0/0 out of means
    subsets  indices of the classes of further means, by name; the matrix stays whole, so pixels of a class
             outside that are taken for one inside still count as errors. With ":alone" behind its name
             such pixels are ignored, as if the set's labels had no other classes. With ":sum" it is
             miou * K / classes of the subset: the sum of all IoUs by the smaller number, which some
             programs publish for a network with further outputs
    """
    counts = np.asarray(confusion.cpu() if hasattr(confusion, "cpu") else confusion, dtype=np.float64)
    hit, labelled = counts.diagonal(), counts.sum(1)
    both = labelled + counts.sum(0)
    iou, accuracy, f1 = _ratio(hit, both - hit, absent), _ratio(hit, labelled, absent), _ratio(2 * hit, both, absent)
    return Scores(
        iou=tuple(iou.tolist()),
        accuracy=tuple(accuracy.tolist()),
        miou=mean_of(iou),
        mean_accuracy=mean_of(accuracy),
        pixel_accuracy=float(_ratio(hit.sum(), labelled.sum(), absent)),
        counted=int(np.isfinite(iou).sum()),
        absent=absent,
        subsets={name: _subset_mean(name, counts, iou, list(indices), absent) for name, indices in (subsets or {}).items()},
        f1=tuple(f1.tolist()),
        mean_f1=mean_of(f1),
    )


def _subset_mean(name: str, counts: np.ndarray, iou: Any, indices: list[int], absent: Absent) -> float:
    if name.endswith(SUM):
        return mean_of(iou) * len(iou) / len(indices)
    if name.endswith(ALONE):
        rows = counts[indices]
        hit = counts.diagonal()[indices]
        iou = _ratio(hit, rows.sum(1) + rows.sum(0)[indices] - hit, absent)
        return mean_of(iou)
    return mean_of(iou[indices])


def f1_of(iou: Sequence[float]) -> tuple[float, ...]:
    """F1 of each class from its IoU, for scores that were kept without: 2 IoU / (1 + IoU)."""
    return tuple(2 * value / (1 + value) for value in iou)


def _ratio(part: Any, whole: Any, absent: Absent) -> Any:
    if absent == "zero":
        return part / (whole + 1e-10)
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def mean_of(values: Sequence[float] | np.ndarray) -> float:
    """Mean without the NaNs; NaN (and no warning) if nothing is left."""
    given = np.asarray(values, np.float64)
    given = given[~np.isnan(given)]
    return float(given.mean()) if given.size else float("nan")


def format_scores(rows: Mapping[str, Scores], classes: Sequence[str], *, style: Literal["text", "markdown"] = "text") -> str:
    """A table of IoU and F1 in percent with one decimal; "-" for a class that is absent.

    rows     scores by the name of what was scored (a round, a run)
    classes  names of the K classes
    style    text: a line for each class and two columns for each name, for terminals; markdown: two lines for each name.
             In the line or column mIoU the mean of F1 stands beside it; subsets have none

    >>> print(format_scores({"adapt": score(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))}, ["road", "sky", "car"]))
          adapt    F1
    road   75.0  85.7
    sky    80.0  88.9
    car       -     -
    mIoU   77.5  87.3
    """
    subsets = list(dict.fromkeys(name for scores in rows.values() for name in scores.subsets))
    heads = [*classes, "mIoU", *(f"mIoU {name}" for name in subsets)]
    columns: list[list[str]] = []
    for name, scores in rows.items():
        columns.append([name, *_percent([*scores.iou, scores.miou, *(scores.subsets.get(each, float("nan")) for each in subsets)])])
        title = f"{name} F1" if style == "markdown" else "F1"
        columns.append([title, *_percent([*(scores.f1 or f1_of(scores.iou)), scores.mean_f1]), *("" for _ in subsets)])
    if style == "markdown":
        lines = [["", *heads], ["---", *("---:" for _ in heads)], *columns]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return align([[head, *cells] for head, *cells in zip(("", *heads), *columns, strict=True)])


def _percent(values: Sequence[float]) -> list[str]:
    return ["-" if np.isnan(value) else f"{100 * value:.1f}" for value in values]


def align(lines: Sequence[Sequence[str]], *, right: bool = True) -> str:
    """Columns two blanks apart, the first to the left, the others to the right, or with
    `right=False` to the left too."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for first, *others in lines:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) if right else cell.ljust(width) for cell, width in zip(others, widths[1:], strict=True))]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)
