"""`ImageTable`, the images and labels of a data set, and overlays that replace either."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import attrs
import numpy as np
from numpy.typing import NDArray

from udacore.config.schema import DataConfig, EvaluationConfig
from udacore.data.colours import ChannelLabels, ColourLabels, given_ids
from udacore.data.layouts import find_layout
from udacore.data.lists import choose_entries, find_labels
from udacore.data.sanity import check_pairs as check_pairs
from udacore.data.sanity import spread
from udacore.data.sidecars import Margins, Sidecar
from udacore.data.sources import Image, ImageFiles, Images, LabelFiles, Labels
from udacore.data.splits import from_train_ids, holds_train_ids
from udacore.data.tiles import TiledImages, TiledLabels, find_windows
from udacore.datasets import Dataset, Domain, get_dataset
from udacore.errors import ConfigError, DataError, PluginError, list_names
from udacore.labels import CITYSCAPES_IDS, IGNORE, SHORT_NAMES, Label, LabelSpace, get_label_space, lookup_table, raw_map, table_of

_FINGERPRINTS = 16


@attrs.frozen(eq=False, kw_only=True)
class ImageTable:
    """Images, and labels if it was opened with them. Can be pickled; reads files only when asked.

    dataset  which data set
    domain   source or target
    space    the label space of `read_label`
    names    keys: path below the folder of images without suffix, as `00001` or
             `aachen/aachen_000000_000019_leftImg8bit`
    images   where images come from
    labels   where labels come from, or None
    extras   further maps of each image by name
    prefix   what the names begin with that is no part of a key: the name of a set and a slash
    """

    dataset: str
    domain: Domain
    space: LabelSpace
    names: tuple[str, ...]
    images: Images | TiledImages
    labels: Labels | TiledLabels | None = None
    extras: Mapping[str, Sidecar | Margins] = attrs.field(factory=dict)
    prefix: str = ""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def has_labels(self) -> bool:
        """Whether `read_label` may be called."""
        return self.labels is not None

    @property
    def keys(self) -> tuple[str, ...]:
        """The names without `prefix`."""
        return tuple(name.removeprefix(self.prefix) for name in self.names)

    def read_image(self, index: int) -> Image:
        """The image as RGB uint8 H W 3, or float32 H W C on 0..255 (`with_bands`). DataError, naming the file, if it is missing or broken."""
        return self.images.read(index)

    def read_label(self, index: int) -> Label:
        """Train ids of the label space, uint8 H W, 255 = ignore. DataError if there are no labels, or the
        file is missing or broken."""
        return self._labels().read(index)

    def read_pair(self, index: int) -> tuple[Image, Label]:
        """Image and label. DataError, naming both, if they differ in size and are neither overlays nor
        known (`Dataset.misaligned`)."""
        image, label = self.read_image(index), self.read_label(index)
        if not self.sizes_may_differ(index) and image.shape[:2] != label.shape:
            raise self.size_error(index, image.shape[:2], label.shape)
        return image, label

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of the image, from the file's header."""
        return self.images.size(index)

    def label_size(self, index: int) -> tuple[int, int]:
        """(height, width) of the label, from the file's header."""
        return self._labels().size(index)

    def where(self, index: int) -> str:
        """The image's file, for messages."""
        return self.images.where(index)

    def sizes_may_differ(self, index: int) -> bool:
        """Whether image and label are allowed to differ in size."""
        key = self.names[index].removeprefix(self.prefix)
        return self._labels().overlay or key in get_dataset(self.dataset).misaligned

    def size_error(self, index: int, image: tuple[int, ...], label: tuple[int, ...]) -> DataError:
        """The error for a pair of (height, width) that differ; sizes are written width x height."""
        where = self._labels().where(index)
        said = f"image {self.where(index)} is {image[1]} x {image[0]}, but its label {where} is {label[1]} x {label[0]}"
        turn = self.images.orientation(index)
        return DataError(said if turn == 1 else f"{said}; the image is turned by its EXIF orientation ({turn}), the label is not")

    def source_hash(self) -> str:
        """Key for caches: SHA-256 of names, classes, label map, and the bytes of up to 16
        labels spread over the list."""
        digest = hashlib.sha256("\n".join((self.dataset, *self.space.classes, "", *self.keys)).encode())
        if self.labels is not None:
            digest.update(self.labels.table.tobytes())
            kind = getattr(self.labels, "kind", None)
            if isinstance(kind, ColourLabels | ChannelLabels):
                digest.update(repr(kind).encode())
            for index in spread(len(self), _FINGERPRINTS):
                digest.update(self.labels.fingerprint(index))
        return digest.hexdigest()

    def _labels(self) -> Labels | TiledLabels:
        if self.labels is None:
            raise DataError(f"{self.dataset} ({self.domain}) was opened without labels")
        return self.labels


def open_table(config: DataConfig, space: LabelSpace, *, domain: Domain, labels: bool) -> ImageTable:
    """The table of a data set. With `labels=False` no folder of labels is looked at: a
    folder of images is enough.

    DataError if root, folder or files are missing, the folder is empty, or an image lacks its label;
    ConfigError if the label space does not fit the data set, or that of the entry has no
    class of `space`.
    """
    if config.label_space is not None and labels:
        own = get_label_space(config.label_space)
        return translate(open_table(attrs.evolve(config, label_space=None), own, domain=domain, labels=True), space)
    record = get_dataset(config.dataset)
    if record.open is not None:
        return _in_tiles(_check_table(record.open(config, space, domain, labels), config.dataset), config)
    layout = find_layout(config)
    entries = choose_entries(config, layout)
    annotations = None
    if labels:
        paths = find_labels(entries, layout)
        table, known, strict = _label_map(config, record, space, holds_train_ids(paths, layout.kind))
        if config.label_colours is not None and isinstance(layout.kind, ColourLabels):
            for raw, train in given_ids(config.label_colours, space).items():
                table[raw], known[raw] = train, True
        annotations = LabelFiles(
            paths=paths, kind=layout.kind, table=table, known=known, strict=strict,
            hint=layout.on_void or record.hint, measure=layout.label_size,
        )  # fmt: skip
    found = ImageTable(
        dataset=config.dataset,
        domain=domain,
        space=space,
        names=tuple(entry.key for entry in entries),
        images=ImageFiles(tuple(entry.image for entry in entries)),
        labels=annotations,
    )
    return _in_tiles(found, config)


def _in_tiles(table: ImageTable, config: DataConfig) -> ImageTable:
    """The table with a sample for each window of its images, if the entry asks for windows."""
    if config.tile.size is None:
        return table
    images, labels = table.images, table.labels
    if isinstance(images, TiledImages) or isinstance(labels, TiledLabels):
        raise PluginError(f"data set {config.dataset!r}: open must give whole images")
    windows = [find_windows(index, table.size(index), config.tile, table.where(index)) for index in range(len(table))]
    chosen = tuple(window for each in windows for window in each)
    once = isinstance(config, EvaluationConfig)
    return attrs.evolve(
        table,
        names=tuple(f"{table.names[window.index]}{window.name}" for window in chosen),
        images=TiledImages(images, chosen),
        labels=None if labels is None else TiledLabels(labels=labels, windows=chosen, once=once),
    )


def translate(table: ImageTable, space: LabelSpace) -> ImageTable:
    """The table with the classes of another space, by their names; classes that it has not are ignored.

    ConfigError where the two spaces have no name in common.
    """
    own, labels = table.space, table.labels
    places = {SHORT_NAMES.get(name, name): number for number, name in enumerate(space.classes)}
    names = [SHORT_NAMES.get(name, name) for name in own.classes]
    numbers = {number: places[name] for number, name in enumerate(names) if name in places}
    if not numbers:
        raise ConfigError(
            f"label space {own.name} has no class of {space.name}, which has {list_names(space.classes)}"
        )
    if isinstance(labels, TiledLabels):
        labels = attrs.evolve(labels, labels=attrs.evolve(labels.labels, table=table_of(numbers)[labels.table]))
    elif labels is not None:
        labels = attrs.evolve(labels, table=table_of(numbers)[labels.table])
    return attrs.evolve(table, space=space, labels=labels)


def known_ids(highest: int) -> NDArray[np.bool_]:
    """bool[256]: ids 0..highest and 255."""
    known = np.zeros(256, np.bool_)
    known[: highest + 1] = known[IGNORE] = True
    return known


def _label_map(
    config: DataConfig, record: Dataset, space: LabelSpace, train_ids: bool
) -> tuple[Label, NDArray[np.bool_], bool]:
    """Lookup table, known raw ids, and whether others are refused on reading."""
    if config.label_map is not None and config.dataset == "folder":
        return table_of(raw_map(space, config.label_map, "label_map")), np.ones(256, np.bool_), False
    if config.label_colours is not None and config.dataset == "folder":
        return table_of({}), np.ones(256, np.bool_), False
    table = lookup_table(space, record.ids_like or config.dataset)
    if train_ids:
        return from_train_ids(table), known_ids(len(CITYSCAPES_IDS) - 1), False
    if record.highest_id is None:
        given = config.dataset in space.ids_from  # a map of one's own ignores what it does not list; plain train ids must be right
        return table, np.ones(256, np.bool_) if given else known_ids(len(space) - 1), not given
    return table, known_ids(record.highest_id), False


def _check_table(table: object, dataset: str) -> ImageTable:
    """What the record of a data set opened. PluginError if it is no table."""
    if not isinstance(table, ImageTable):
        raise PluginError(f"data set {dataset!r}: open must give an ImageTable, got {type(table).__name__}")
    return table
