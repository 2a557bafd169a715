"""Checks of the data before the first step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from udacore.data.sources import LabelFiles, Labels, listed, unknown_ids
from udacore.data.tiles import TiledLabels
from udacore.errors import DataError
from udacore.labels import IGNORE, remap

if TYPE_CHECKING:
    from udacore.data.tables import ImageTable

_DECODED = 6  # pairs
_HEADERS = 500  # pairs; a header takes some 0.1 ms on a local disk


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0..count-1, evenly spread, the first and the last among them."""
    return sorted({int(each) for each in np.linspace(0, count - 1, min(count, most)).round()})


def check_pairs(table: ImageTable) -> None:
    """Decode a few images (and labels), compare the sizes of up to 500 pairs; cheap, and
    the same ones each time.

    DataError, naming the file: no images; an image or label that is broken; image and label of different size
    (overlays and the known pairs of `Dataset.misaligned` excepted); ids that the data set does not have; no
    pixel of any class in all labels looked at (pseudo labels may be all ignored), with a hint at what may be
    read wrongly.
    """
    if not len(table):
        raise DataError(f"{table.dataset} ({table.domain}) has no images")
    if table.labels is not None:
        for index in spread(len(table), _HEADERS):
            image, label = table.size(index), table.label_size(index)
            if image != label and not table.sizes_may_differ(index):
                raise table.size_error(index, image, label)
    found: set[int] = set()
    classes = 0
    for index in _sample(len(table)):
        table.read_image(index)
        for sidecar in table.extras.values():
            sidecar.read(index)
        if table.labels is None:
            continue
        raw = table.labels.raw(index)
        problem = id_problem(table.labels, index, raw)
        if problem:
            raise DataError(problem)
        found |= {int(each) for each in np.unique(raw)}
        classes += int((remap(raw, table.labels.table) != IGNORE).sum())
    may_be_empty = table.labels is None or (table.labels.overlay and isinstance(table.labels, LabelFiles) and table.labels.strict)
    if table.labels is not None and not classes and not may_be_empty:
        raise DataError(f"{table.dataset}: {no_class(table.labels, sorted(found), table.space.name)}")


def describe_orientations(table: ImageTable) -> str:
    """A line on images that are turned by their EXIF orientation, among up to 500;
    empty where there are none.

    Half a turn leaves the size as it is, so a label that was made for the image as
    stored cannot be told by it.
    """
    looked_at = spread(len(table), _HEADERS)
    turned = [index for index in looked_at if _orientation(table, index) != 1]
    if not turned:
        return ""
    labels = "; their labels must be upright too" if table.labels is not None else ""
    count = f"{len(turned)} of {len(looked_at)} images looked at are"
    return f"{table.dataset}: {count} turned by their EXIF orientation, first {table.where(turned[0])}{labels}"


def _orientation(table: ImageTable, index: int) -> int:
    try:
        return table.images.orientation(index)
    except DataError:  # named where the image is read
        return 1


def _sample(count: int) -> list[int]:
    """First, last and a few others, drawn by a generator of their own: evenly spread
    ones might all be alike."""
    if count <= _DECODED:
        return list(range(count))
    inner = np.random.default_rng(count).choice(np.arange(1, count - 1), _DECODED - 2, replace=False)
    return [0, *sorted(int(each) for each in inner), count - 1]


def id_problem(labels: Labels | TiledLabels, index: int, raw: NDArray[Any]) -> str | None:
    """One line if `raw`, the ids of label `index`, holds some that the data set does not have."""
    unknown = unknown_ids(raw, labels.known)
    if not unknown:
        return None
    highest = int(np.flatnonzero(labels.known[:IGNORE]).max(initial=0))
    return f"label {labels.where(index)} holds {listed(unknown)}, ids go from 0 to {highest}{_hint(labels)}"


def no_class(labels: Labels | TiledLabels, found: list[int], space: str) -> str:
    """One line for labels without a pixel of any class."""
    return f"no pixel of a class of {space} in the labels looked at, which hold {listed(found)}{_hint(labels)}"


def _hint(labels: Labels | TiledLabels) -> str:
    if isinstance(labels, LabelFiles) and not labels.overlay:
        return f"; {labels.hint}" if labels.hint else ""
    return ""
