"""Tables with images, labels or further maps from elsewhere, or with other channels than RGB."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from udacore.config.schema import ExtraConfig
from udacore.data.bands import Bands
from udacore.data.layouts import IMAGE_SUFFIXES, LABEL_SUFFIXES, list_files
from udacore.data.sidecars import SUFFIXES, Margins, Sidecar, file_keys
from udacore.data.sources import ImageFiles, LabelFiles
from udacore.data.tables import ImageTable, known_ids
from udacore.data.tiles import TiledImages
from udacore.errors import ConfigError, DataError, list_names
from udacore.labels import lookup_table
from udacore.places import find_place


def with_bands(table: ImageTable, bands: Bands) -> ImageTable:
    """The table with images of other channels than RGB, or of 16 bits. ConfigError if it does not read them from files."""
    images = table.images
    files = images.images if isinstance(images, TiledImages) else images
    if bands.is_rgb:
        return table
    if not isinstance(files, ImageFiles):
        raise ConfigError(f"model.channels: {bands.channels}, pixels.bits: {bands.bits}: {table.dataset} has RGB images of 8 bits alone")
    files = attrs.evolve(files, bands=bands)
    return attrs.evolve(table, images=attrs.evolve(images, images=files) if isinstance(images, TiledImages) else files)


def with_images(table: ImageTable, folder: str | Path) -> ImageTable:
    """The table with its images replaced by those in `folder`, found by key or by base name in a flat folder;
    those of a named set lie in a folder of its name.

    DataError, with number and examples, where images are missing. Sizes may differ from the
    originals'; labels stay.
    """
    images = ImageFiles(_find_overlay(table.keys, Path(folder) / table.prefix, IMAGE_SUFFIXES, "image"), overlay=True)
    labels = None if table.labels is None else attrs.evolve(table.labels, overlay=True)
    return attrs.evolve(table, images=images, labels=labels)


def with_labels(table: ImageTable, folder: str | Path) -> ImageTable:
    """The table with labels (train ids, 255 = ignore) from `folder`, found by key or by
    base name in a flat folder; those of a named set lie in a folder of its name.

    A base name is the image's own, as `aachen_000000_000019_leftImg8bit`. DataError, with number and
    examples, where labels are missing; on reading, for ids that are neither classes nor 255. Sizes may differ
    from the images'.
    """
    paths = _find_overlay(table.keys, Path(folder) / table.prefix, LABEL_SUFFIXES, "label")
    known = known_ids(len(table.space) - 1)
    pseudo = LabelFiles(paths=paths, kind="ids", table=lookup_table(table.space, "pseudo"), known=known, strict=True, overlay=True)
    return attrs.evolve(table, labels=pseudo)


def with_extras(table: ImageTable, extras: Mapping[str, ExtraConfig], place: str = "") -> ImageTable:
    """The table with further maps of each image. DataError, which names the setting (below `place`,
    by default the domain), for a folder that is not there or lacks files."""
    windows = table.images.windows if isinstance(table.images, TiledImages) else ()
    names = [name.rpartition("@")[0] if windows else name for name in table.names]
    once = list(dict.fromkeys(names))  # of a large image there is one file for all windows
    found: dict[str, Sidecar | Margins] = {}
    for name, config in extras.items():
        if config.folder is None:  # margins, as the checks of a configuration see to
            found[name] = Margins(place=f"{place or table.domain}.extras.{name}", margins=config.margins, images=table.images)
            continue
        try:
            paths = _find_overlay(file_keys(once, config), find_place(config.folder), SUFFIXES[config.kind], f"{name} file", role="")
        except DataError as error:
            raise DataError(f"{place or table.domain}.extras.{name}: {error}") from error
        own = dict(zip(once, paths, strict=True))
        found[name] = Sidecar(
            name=name, paths=tuple(own[key] for key in names), kind=config.kind, factor=config.factor, windows=windows
        )
    return attrs.evolve(table, extras=found) if found else table


def _find_overlay(
    names: Sequence[str], folder: Path, suffixes: tuple[str, ...], what: str, role: str = "replacing "
) -> tuple[str, ...]:
    """A file in `folder` for each name."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder} of {role}{what}s")
    available = list_files(folder, suffixes)
    bases = [name.rpartition("/")[2] for name in names]
    unique = {base for base, count in Counter(bases).items() if count == 1}
    paths: list[str] = []
    missing: list[str] = []
    for name, base in zip(names, bases, strict=True):
        path = available.get(name) or (available.get(base) if base in unique else None)
        if path is None:
            missing.append(name)
        else:
            paths.append(path)
    if missing:
        raise DataError(f"{folder} lacks {len(missing)} of {len(names)} {what}s: {list_names(missing)}")
    return tuple(paths)
