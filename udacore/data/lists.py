"""The images and labels of a data set that are used: lists, exceptions, pairs."""

from __future__ import annotations

import glob
from fnmatch import fnmatchcase
from pathlib import Path

import attrs

from udacore.config.schema import DataConfig
from udacore.data.arrays import SUFFIX as ARRAY
from udacore.data.layouts import IMAGE_SUFFIXES, describe_passed_over, describe_place, list_files
from udacore.data.splits import CLEAR, describe_other_names
from udacore.datasets import Layout
from udacore.errors import ConfigError, DataError, list_names
from udacore.places import find_place


@attrs.frozen
class Entry:
    """An image: its key, its file, and its label's file where a list names one."""

    key: str
    image: str
    label: str | None = None


def read_list(where: str) -> list[tuple[str, str | None]]:
    """(image, label or None) for each line of a list file: `image` or `image<TAB>label`; empty lines
    and `#` lines are skipped.

    `where` is a path, or `package:path` for a file in an importable package. DataError if there
    is none, or it is empty.
    """
    try:
        place = find_place(where)
    except ConfigError as error:
        raise DataError(f"list {error}") from error
    try:
        text = place.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"list {where}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"list {where}: not a text file ({error})") from error
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.partition("\t") for line in lines if line and not line.startswith("#")]
    if not pairs:
        raise DataError(f"list {where} names no image")
    return [(image.strip(), label.strip() or None) for image, _, label in pairs]


def _stem(name: str) -> str:
    """The name without the suffix of an image; other dots stay."""
    path = name.replace("\\", "/").removeprefix("./")
    suffix = Path(path).suffix
    return path[: -len(suffix)] if suffix.lower() in (*IMAGE_SUFFIXES, ARRAY) else path


def _find_key(name: str, available: dict[str, str], layout: Layout) -> str | None:
    """The key that a list's name means: as it stands, or without leading folders such as
    `RGB/`, `images/`, `train/`.

    Lists of Cityscapes, which name its own images or only city and frame, hold for its foggy images too.
    """
    parts = _stem(name).split("/")
    while parts:
        key = "/".join(parts)
        for each in (key, f"{key.removesuffix(CLEAR)}{layout.ending}"):
            if each in available:
                return each
        if parts[0] not in layout.prefixes:
            return None
        parts = parts[1:]
    return None


def _is_own(key: str, layout: Layout) -> bool:
    """Whether the image is one of the data set's, by its name."""
    named = not layout.patterns or any(fnmatchcase(key, pattern) for pattern in layout.patterns)
    return named and key.endswith(layout.ending)


def choose_entries(config: DataConfig, layout: Layout) -> list[Entry]:
    """The images that `list`, `except` and `count` leave, in the list's order; without a list all, sorted.

    DataError if the folder is empty, a listed image is missing or listed twice, or
    `except` names none of them.
    """
    pictures = list_files(layout.images, IMAGE_SUFFIXES, after=layout.more_images)
    available = {key: path for key, path in pictures.items() if _is_own(key, layout)}
    if config.list_ is None:
        if pictures and not available:
            others = describe_other_names(pictures, layout.ending)
            wanted = f"{layout.patterns[0]}{layout.ending}" if layout.patterns else f"*{layout.ending}.png"
            raise DataError(f"{config.dataset}: no image {wanted} in {layout.images}, which holds {others}")
        if not available:
            passed_over = describe_passed_over(layout.images, (*IMAGE_SUFFIXES, *layout.more_images))
            raise DataError(f"{config.dataset}: no image in {layout.images}{passed_over}")
        entries = [Entry(key, path) for key, path in available.items()]
    else:
        entries = _listed(config.list_, available, layout)
    if config.except_ is not None:
        entries = _without(entries, config.except_, available, layout)
    return entries[: config.count]


def _listed(where: str, available: dict[str, str], layout: Layout) -> list[Entry]:
    entries: dict[str, Entry] = {}
    missing = []
    for image, label in read_list(where):
        key = _find_key(image, available, layout)
        path = layout.root / image  # a list may reach beyond the split, as train + val lists do
        if key is None and path.is_file():
            key, file = _stem(image), str(path)
        elif key is None:
            missing.append(image)
            continue
        else:
            file = available[key]
        if key in entries:
            raise DataError(f"list {where}: {image} is listed twice")
        entries[key] = Entry(key, file, label)
    if missing:
        raise DataError(f"list {where}: no image {missing[0]} in {layout.images}{_more(len(missing))}")
    return list(entries.values())


def _without(entries: list[Entry], where: str, available: dict[str, str], layout: Layout) -> list[Entry]:
    names = [name for name, _ in read_list(where)]
    out = {_find_key(name, available, layout) or _stem(name) for name in names}
    left = [entry for entry in entries if entry.key not in out]
    if len(left) == len(entries):
        raise DataError(f"except {where}: none of its {len(names)} names is among the images, the first is {names[0]}")
    if not left:
        raise DataError(f"except {where} leaves no image")
    return left


def _beside(wanted: str, suffixes: tuple[str, ...]) -> str:
    """Files of the wanted name in another format, which are not read as labels."""
    path, formats = Path(wanted), "PNG only" if suffixes == (".png",) else list_names(suffixes, 9)
    found = sorted(each.name for each in path.parent.glob(f"{glob.escape(path.stem)}.*")) if path.parent.is_dir() else []
    return f"; beside it lies {list_names(found)}: labels are read from {formats}" if found else ""


def _more(count: int) -> str:
    """How many beside the one that is named."""
    return f" ({count - 1} more missing)" if count > 1 else ""


def _hint(layout: Layout) -> str:
    return f"; {layout.on_missing}" if layout.on_missing else ""


def find_labels(entries: list[Entry], layout: Layout) -> tuple[str, ...]:
    """The label's file for each entry. DataError, naming the first pair and the number,
    where labels are missing."""
    folder = next((each for each in layout.labels if each.is_dir()), None)
    if folder is None and any(entry.label is None for entry in entries):
        said = f"no folder of labels {' or '.join(str(each) for each in layout.labels)}"
        raise DataError(f"{said}{describe_place(layout.labels[0])}{_hint(layout)}")
    first, *others = layout.label_suffixes
    available = list_files(folder, (first,), after=tuple(others)) if folder else {}
    paths: list[str] = []
    missing: list[tuple[str, str]] = []
    for entry in entries:
        if entry.label is not None:
            bases = dict.fromkeys((layout.root, layout.images.parent, *layout.labels))
            path = next((str(base / entry.label) for base in bases if (base / entry.label).is_file()), None)
            wanted = str(layout.root / entry.label)
        else:
            keys = (entry.key,) if layout.label_keys is None else layout.label_keys(entry.key)
            path = next((available[key] for key in keys if key in available), None)
            wanted = f"{folder}/{keys[0]}{layout.label_suffixes[0]}"
        if path is None:
            missing.append((entry.image, wanted))
        else:
            paths.append(path)
    if missing:
        image, wanted = missing[0]
        raise DataError(f"image {image} has no label {wanted}{_more(len(missing))}{_beside(wanted, layout.label_suffixes)}{_hint(layout)}")
    return tuple(paths)
