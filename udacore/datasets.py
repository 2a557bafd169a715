"""Data sets as records: how files are found, how labels are read, and what is known of the complete set.

Records are found through the entry-point group `udacore.datasets`, the built-in ones like anybody's:

    [project.entry-points."udacore.datasets"]
    rainy_town = "rainy_town:DATASET"

Listing names reads metadata and imports nothing; only the record that is asked for is imported.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import attrs

from udacore.errors import ConfigError, PluginError, near_matches

if TYPE_CHECKING:
    from udacore.config.schema import DataConfig

__all__ = ["GROUP", "Dataset", "Domain", "LabelKind", "Layout", "get_dataset", "list_datasets"]

GROUP = "udacore.datasets"

Domain = Literal["source", "target"]
LabelKind = Literal["palette", "cityscapes", "synthia", "ids"]
"""How a label file stores its ids; see `udacore.data.reading.read_label`."""


@attrs.frozen(kw_only=True)
class Layout:
    """The folders of a data set on disk.

    root        what the user names
    images      folder below which the images lie; an image's key is its path below it without suffix
    labels      folders in which the labels may lie, in order of preference
    kind        how labels are encoded, or a function that reads a label file: path -> raw ids, integers H W.
                It must be importable by its name, since processes that load data import it, and may raise
                OSError or ValueError
    label_suffixes  suffixes of label files; others are passed over, and beside one with
                    the first suffix the rest
    more_images  further suffixes of its images, of files beside which no image by that name
                 lies; `.npy` is possible
    label_keys  image key -> label's path below the folder of labels, without suffix, in order of
                preference; None: the key
    ending      what the keys of its images end with; other files of the folder are passed over
    patterns    patterns of the keys of its images, as `fog/train/*`, where `*`
                stands for anything; empty for all
    complete    number of images of the complete set, where a setting chooses among them;
                None: that of the record
    label_size  label's path -> (height, width) without decoding it, for a `kind` that is a
                function; None: it is decoded
    prefixes    leading folders that lists may name and that are cut off
    on_missing  words for a message on missing labels; empty for none
    on_void     words for a message on labels that hold no class; empty for the record's `hint`
    """

    root: Path
    images: Path
    labels: tuple[Path, ...]
    kind: LabelKind | Callable[[Path], Any]
    label_suffixes: tuple[str, ...] = (".png",)
    more_images: tuple[str, ...] = ()
    label_keys: Callable[[str], tuple[str, ...]] | None = None
    ending: str = ""
    patterns: tuple[str, ...] = ()
    complete: int | None = None
    label_size: Callable[[Path], tuple[int, int]] | None = None
    prefixes: frozenset[str] = frozenset()
    on_missing: str = ""
    on_void: str = ""


@attrs.frozen(kw_only=True)
class Dataset:
    """What is known of a data set.

    find_files   (settings of the entry, root) -> `Layout`; raises DataError. None
                 for a data set that is drawn
    open         for a data set that is not files: (settings, label space, domain,
                 with labels) -> `ImageTable`
    ids          class name -> raw id in its labels, or several, names as in `udacore.labels`. None where a
                 label space's file or `label_map` gives them, and without either the labels hold train ids
    ids_like     the data set whose entry under `ids` of a label space's file counts for it too
    highest      the highest raw id that occurs; default: the highest of `ids`. 255 may occur in any
    label_space  the classes that `uda data check --dataset` takes; None: they must be given
    domain       the domain that it usually is
    splits       split -> number of images of the complete set; 0 where it is not known.
                 Empty: one part, `train`
    complete     number of images of a complete set of one part; None where there is no such number
    unlabelled   splits whose labels are not published: `uda data check` looks at their images
    misaligned   keys of pairs whose image and label are known to differ in size
    hint         words for labels that hold no class: what may have been read wrongly
    settings     names of the settings of an entry that choose among its images, such as `beta`; they are part
                 of a score's protocol. With `image_size` among them, its images have that size
    miniatures   name for `uda data make --like` -> `module:function`, which writes a few small images in the
                 format of the data set: (root, count, *, size, seed), `count` images to train on, size
                 (width, height)
    """

    find_files: Callable[[DataConfig, Path], Layout] | None = None
    open: Callable[..., Any] | None = None
    ids: Mapping[str, int | tuple[int, ...]] | None = None
    ids_like: str | None = None
    highest: int | None = None
    label_space: str | None = None
    domain: Domain = "source"
    splits: Mapping[str, int] = MappingProxyType({})
    complete: int | None = None
    unlabelled: frozenset[str] = frozenset()
    misaligned: frozenset[str] = frozenset()
    hint: str = ""
    settings: tuple[str, ...] = ()
    miniatures: Mapping[str, str] = MappingProxyType({})

    def __attrs_post_init__(self) -> None:
        """Check that there is one way to its images."""
        if (self.find_files is None) == (self.open is None):
            raise ValueError("a data set has either find_files or open")

    def expected(self, split: str) -> int | None:
        """Number of images of a complete split, if it is known."""
        return (self.splits.get(split) if self.splits else self.complete) or None

    @property
    def has_own_size(self) -> bool:
        """Whether an entry's `image_size` is the size of its images."""
        return "image_size" in self.settings

    @property
    def classes_by_id(self) -> Mapping[int, str]:
        """Raw id -> class name; empty if ids are not known."""
        several = ((name, ids if isinstance(ids, tuple) else (ids,)) for name, ids in (self.ids or {}).items())
        return {each: name for name, ids in several for each in ids}

    @property
    def highest_id(self) -> int | None:
        """The highest raw id, if ids are known."""
        return self.highest if self.highest is not None else max(self.classes_by_id, default=None)


def list_datasets() -> tuple[str, ...]:
    """The names of all installed data sets, sorted; nothing is imported."""
    return tuple(_find_entries(tuple(sys.path)))


def get_dataset(name: str) -> Dataset:
    """The record of a data set. ConfigError for an unknown name, PluginError for a
    record that cannot be loaded."""
    entries = _find_entries(tuple(sys.path))
    if name not in entries:
        raise ConfigError(f"there is no data set {name!r}{near_matches(name, list(entries))}")
    found = entries[name]
    try:
        record = found.load()
    except Exception as error:  # the code of another package
        said = " ".join(str(error).split()) or type(error).__name__
        raise PluginError(f"data set {name!r} ({found.value}) cannot be loaded: {said}") from error
    if not isinstance(record, Dataset):
        raise PluginError(f"data set {name!r} ({found.value}): must be a udacore.datasets.Dataset, got {type(record).__name__}")
    return record


@functools.lru_cache(maxsize=4)  # a configuration has many entries, and a scan takes milliseconds
def _find_entries(path: tuple[str, ...]) -> dict[str, metadata.EntryPoint]:
    """Name -> entry point; of one name that is claimed twice the first on the path counts."""
    found: dict[str, metadata.EntryPoint] = {}
    for entry in metadata.entry_points(group=GROUP):
        found.setdefault(entry.name, entry)
    return dict(sorted(found.items()))
