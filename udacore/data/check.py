"""The report of `uda data check`: contents and problems of a data set on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from udacore.config.schema import DataConfig, TileConfig
from udacore.data.bands import RGB, Bands
from udacore.data.colours import ChannelLabels, ColourLabels
from udacore.data.findings import RawIds, group_alike
from udacore.data.layouts import IMAGE_SUFFIXES, describe_passed_over, find_layout, find_root
from udacore.data.reading import label_mode
from udacore.data.replacements import with_bands
from udacore.data.sanity import describe_orientations, id_problem, no_class, spread
from udacore.data.sources import LabelFiles
from udacore.data.tables import ImageTable, open_table
from udacore.datasets import Domain, get_dataset
from udacore.errors import DataError
from udacore.labels import IGNORE, LabelSpace, remap

_DECODED = 20
_SHOWN = 10


@attrs.define(kw_only=True)
class DataReport:
    """What was found.

    where      the folder, or what stands for it
    images     number of images; `expected` that of the complete set, if it is one
    sizes      'width x height' -> images
    encodings  how labels are stored -> labels: Pillow's mode (P palette, L grey), for SYNTHIA
               the type of the ids decoded
    decoded    labels (or images) that were decoded
    pixels     pixels of each class in the decoded labels; the last entry counts the ignored ones
    holding    decoded labels that hold the class
    notes      worth knowing; nothing stops
    problems   files that are missing, broken or do not fit
    """

    dataset: str
    domain: Domain
    where: str
    classes: tuple[str, ...]
    images: int = 0
    expected: int | None = None
    labels: int | None = None
    sizes: Counter[str] = attrs.field(factory=Counter)
    encodings: Counter[str] = attrs.field(factory=Counter)
    decoded: int = 0
    pixels: list[int] = attrs.field(factory=list)
    holding: list[int] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    problems: list[str] = attrs.field(factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return attrs.asdict(self)

    def render(self) -> str:
        """The report as text, one finding a line."""
        expected = "" if self.expected in (None, self.images) else f", the complete set has {self.expected}"
        lines = [f"{self.dataset} ({self.domain}) {self.where}", f"  images  {self.images}{expected}"]
        if self.sizes:
            lines.append("  sizes   " + _counts(self.sizes))
        if self.labels is not None:
            lines.append(f"  labels  {self.labels}" + (f" ({_counts(self.encodings)})" if self.encodings else ""))
        if self.pixels:
            lines.append(f"  classes in {self.decoded} labels: share of the pixels, labels that hold it")
            total = max(sum(self.pixels), 1)
            width = max(len(name) for name in (*self.classes, "ignored"))
            for name, pixels, holding in zip((*self.classes, "ignored"), self.pixels, self.holding, strict=True):
                lines.append(f"    {name:<{width}}  {100 * pixels / total:6.2f} %  {holding:5d}")
        lines += _shown("note", self.notes) + _shown("problem", self.problems)
        return "\n".join(lines if self.problems else [*lines, "  no problems"])


def _counts(counter: Counter[str]) -> str:
    """The most frequent first."""
    parts = [f"{name}: {count}" for name, count in counter.most_common(_SHOWN)]
    return ", ".join(parts) + (f", {len(counter) - _SHOWN} more" if len(counter) > _SHOWN else "")


def _shown(word: str, lines: list[str]) -> list[str]:
    lines = group_alike(lines)
    rest = [f"  and {len(lines) - _SHOWN} more {word}s"] if len(lines) > _SHOWN else []
    return [f"  {word}: {line}" for line in lines[:_SHOWN]] + rest


def check_data(
    config: DataConfig,
    space: LabelSpace,
    *,
    domain: Domain,
    labels: bool,
    full: bool = False,
    bands: Bands = RGB,
    progress: Callable[[int, int], None] | None = None,
) -> DataReport:
    """Look at a data set: counts, pairs, the size of every image and label, encodings, and the classes of
    20 labels (all if `full`).

    labels    False looks at images only, and opens no label
    bands     channels and bits that the images are to have
    progress  called with (files done, files to do)

    Never raises for what is wrong with files: that is what the report is for. ConfigError if the
    label space does not fit.
    """
    report = DataReport(dataset=config.dataset, domain=domain, where=_where(config), classes=space.classes)
    config, tiled = attrs.evolve(config, tile=TileConfig()), config
    try:
        table = with_bands(open_table(config, space, domain=domain, labels=False), bands)
    except DataError as error:
        report.problems.append(str(error))
        return report
    _note_count(table, config, report)
    if labels:
        try:
            table = with_bands(open_table(config, space, domain=domain, labels=True), bands)
            report.labels = len(table)
        except DataError as error:
            report.problems.append(str(error))
    chosen = list(range(len(table))) if full else spread(len(table), _DECODED)
    todo = len(table) + len(chosen)
    sound = set()
    for index in range(len(table)):
        if _check_headers(table, index, report):
            sound.add(index)
        if progress is not None:
            progress(index + 1, todo)
    _note_files(table, config, report)
    if tiled.tile.size is not None:
        _check_tiles(tiled, space, domain, report)
    _decode(table, [index for index in chosen if index in sound], report, lambda done: progress and progress(len(table) + done, todo))
    return report


def _note_count(table: ImageTable, config: DataConfig, report: DataReport) -> None:
    """How many images there are, and how many the data set has, if the whole of it is meant."""
    report.images = len(table)
    if config.list_ is None and config.except_ is None and config.count is None:
        report.expected = _expected(config)
        if report.expected not in (None, len(table)):
            report.notes.append(f"{len(table)} images of {report.expected}: is a part of the archives missing?")


def _note_files(table: ImageTable, config: DataConfig, report: DataReport) -> None:
    """What the headers and the folders say that is no fault: grey copies, turned images, files passed over."""
    if table.dataset == "gta5" and report.encodings["L"]:
        grey = f"{report.encodings['L']} labels are grey; GTA5 ships palette PNGs, so these are copies"
        report.notes.append(f"{grey}: do they hold ids?")
    report.notes += [note for note in (describe_orientations(table), _passed_over(config)) if note]


def _check_tiles(config: DataConfig, space: LabelSpace, domain: Domain, report: DataReport) -> None:
    """Note how many samples the windows of the images are, or what is wrong with them."""
    try:
        count = len(open_table(config, space, domain=domain, labels=False))
    except DataError as error:
        report.problems.append(str(error))
        return
    width, height = config.tile.size or (0, 0)
    report.notes.append(f"{count} samples in tiles of {width} x {height}")


def _expected(config: DataConfig) -> int | None:
    """Number of images of the complete set, if it is known."""
    record = get_dataset(config.dataset)
    own = find_layout(config).complete if record.find_files is not None else None
    return record.expected(config.split) if own is None else own


def _passed_over(config: DataConfig) -> str:
    """A note on files in the folder of images that are not read; empty where there are none."""
    if get_dataset(config.dataset).find_files is None:
        return ""
    layout = find_layout(config)
    words = describe_passed_over(layout.images, (*IMAGE_SUFFIXES, *layout.more_images))
    return f"{layout.images}{words.replace('; passed over:', ': passed over:')}" if words else ""


def _where(config: DataConfig) -> str:
    """The root, even if it is missing."""
    record = get_dataset(config.dataset)
    if record.find_files is None:
        return ", ".join([config.split, *(f"{name} {getattr(config, name)}" for name in record.settings)])
    try:
        return str(find_root(config))
    except DataError:
        return config.root or ""


def _check_headers(table: ImageTable, index: int, report: DataReport) -> bool:
    """Note size and encoding of a pair; False if a file cannot be opened."""
    try:
        size = table.size(index)
        report.sizes[f"{size[1]} x {size[0]}"] += 1
        if table.labels is None:
            return True
        label = table.label_size(index)
        if label != size:
            known = table.names[index] in get_dataset(table.dataset).misaligned
            (report.notes if known else report.problems).append(str(table.size_error(index, size, label)))
        if isinstance(table.labels, LabelFiles) and _has_mode(table.labels.kind):
            report.encodings[label_mode(table.labels.paths[index])] += 1
    except DataError as error:
        report.problems.append(str(error))
        return False
    return True


def _has_mode(kind: object) -> bool:
    """Whether the encoding of such labels is told by the mode of the image."""
    return kind in ("palette", "cityscapes", "ids") or isinstance(kind, ColourLabels | ChannelLabels)


def _decode(table: ImageTable, chosen: list[int], report: DataReport, progress: Callable[[int], object]) -> None:
    """Decode pairs, count classes, name ids that the data set does not have, or the map leaves out."""
    raw_ids = None if table.labels is None else RawIds(table.labels.table)
    counts = np.zeros(256, np.int64)
    holding = np.zeros(256, np.int64)
    found: set[int] = set()
    for number, index in enumerate(chosen):
        progress(number + 1)
        try:
            table.read_image(index)
            if table.labels is None:
                report.decoded += 1
                continue
            raw = table.labels.raw(index)
            assert raw_ids is not None
            raw_ids.add(raw, table.labels.where(index))
        except DataError as error:
            report.problems.append(str(error))
            continue
        report.decoded += 1
        if isinstance(table.labels, LabelFiles) and table.labels.kind == "synthia":
            report.encodings["16-bit" if raw.dtype == np.uint16 else "8-bit"] += 1
        problem = id_problem(table.labels, index, raw)
        if problem:
            report.problems.append(problem)
        found |= {int(each) for each in np.unique(raw)}
        pixels = np.bincount(remap(raw, table.labels.table).ravel(), minlength=256)
        counts += pixels
        holding += pixels > 0
    if table.labels is None or not report.decoded:
        return
    by_number = isinstance(table.labels, LabelFiles) and not isinstance(table.labels.kind, ColourLabels)
    if table.dataset == "folder" and by_number and raw_ids is not None:
        report.notes += raw_ids.left_out()
        if hint := raw_ids.mask_hint(table.space.classes):
            report.problems.append(hint)
    order = [*range(len(table.space)), IGNORE]
    report.pixels = [int(counts[each]) for each in order]
    report.holding = [int(holding[each]) for each in order]
    if not sum(report.pixels[:-1]):
        report.problems.append(no_class(table.labels, sorted(found), table.space.name))
    elif report.decoded == len(table):
        absent = [name for name, each in zip(table.space.classes, report.holding, strict=False) if not each]
        report.notes += [f"class {name} occurs in no label" for name in absent]
