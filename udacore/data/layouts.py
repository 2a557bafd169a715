"""Folders and files of data sets, and messages about missing ones."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from udacore.config.schema import DataConfig
from udacore.data.splits import check_one_part
from udacore.datasets import Layout, get_dataset
from udacore.errors import DataError, list_names
from udacore.places import expand, find_place

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
LABEL_SUFFIXES = (".png",)


def find_root(config: DataConfig) -> Path:
    """The folder of the data set: `root`, else $UDACORE_DATA/<dataset>, else datasets/<dataset>.
    DataError if it is not there."""
    data = os.environ.get("UDACORE_DATA")
    if config.root is not None:
        root, hint = find_place(config.root), ""
    elif data:
        root, hint = expand(data) / config.dataset, " (from $UDACORE_DATA; or set `root`)"
    else:
        root, hint = Path("datasets") / config.dataset, " (set `root`, or $UDACORE_DATA to the folder that holds the data sets)"
    if not is_folder(root):
        raise DataError(f"{config.dataset}: no folder {root}{hint}{_describe_near(root)}")
    return root


def find_layout(config: DataConfig) -> Layout:
    """The folders for a data set on disk. DataError if the root, or the folder of
    images below it, is missing."""
    record = get_dataset(config.dataset)
    if record.find_files is None:
        raise ValueError(f"data set {config.dataset!r} has no files")
    layout = record.find_files(config, find_root(config))
    if not record.splits:
        check_one_part(config, layout.images)
    return layout


def existing(dataset: str, candidates: tuple[Path, ...]) -> Path:
    """The first folder that is there. DataError, with what lies in its place, if none is."""
    for candidate in candidates:
        if is_folder(candidate):
            return candidate
    raise DataError(f"{dataset}: no folder of images {' or '.join(str(each) for each in candidates)}{describe_place(candidates[-1])}")


def _describe_near(root: Path) -> str:
    """Words on folders beside a missing one that have a name like its own; empty where there are none."""
    near = difflib.get_close_matches(root.name, _names_in(root.parent), n=3, cutoff=0.5)
    return f"; {root.parent} holds {list_names(near)}" if near else ""


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
    except OSError:
        return []


def describe_place(path: Path) -> str:
    """Words on what lies where a missing folder was looked for, from the nearest
    folder above it that exists."""
    above = next((each for each in path.parents if is_folder(each)), None)
    if above is None:
        return ""
    held = _names_in(above)
    missing = path.relative_to(above).parts[0]
    near = difflib.get_close_matches(missing, held, n=3, cutoff=0.5) or held
    return f"; {above} holds {list_names(near, 5)}" if near else f"; {above} is empty"


def prefixes_of(*folders: str) -> frozenset[str]:
    """Leading folders that a list may name before a key: the parts of `folders`, and the names of splits."""
    parts = {part for folder in folders for part in Path(folder).parts}
    return frozenset(parts | {"train", "val", "test"})


def list_files(folder: Path, suffixes: tuple[str, ...], *, after: tuple[str, ...] = ()) -> dict[str, str]:
    """Key (path below `folder` without suffix, `/` between) -> path of each file with one of the
    suffixes, sorted by key.

    Files with the suffixes `after` count where there is no other by their name. Hidden files are left out.
    DataError where two files have one key, a name is not UTF-8, or the folder may not be read.
    """
    found: dict[str, str] = {}
    later: dict[str, str] = {}
    for key, path in _walk(folder):
        stem, suffix = os.path.splitext(key)
        if suffix.lower() not in (*suffixes, *after):
            continue
        held = found if suffix.lower() in suffixes else later
        if stem in held:
            raise DataError(f"two files for one name: {held[stem]} and {path}")
        held[stem] = path
    found = later | found
    return dict(sorted(found.items()))


def count_passed_over(folder: Path, suffixes: tuple[str, ...]) -> dict[str, int]:
    """How many files below a folder have other suffixes, by suffix ("" for none), the most frequent first."""
    others = Counter(suffix for key, _ in _walk(folder) if (suffix := os.path.splitext(key)[1].lower()) not in suffixes)
    return dict(others.most_common())


def describe_passed_over(folder: Path, suffixes: tuple[str, ...]) -> str:
    """Words on the files that are not read, to append to a message; empty where there are none."""
    counts = count_passed_over(folder, suffixes) if folder.is_dir() else {}
    parts = [f"{count} {suffix or 'without a suffix'}" for suffix, count in counts.items()]
    return f"; passed over: {list_names(parts)} (read are {', '.join(suffixes)})" if parts else ""


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """(path below `folder`, full path) of each file that is not hidden; links are
    followed, no folder is seen twice.

    Folders come before links to folders, so that a link to a folder above, or beside, adds nothing.
    """
    seen: set[tuple[int, int]] = set()
    left, links = [(str(folder), "")], list[tuple[str, str]]()
    while left or links:
        place, below = left.pop() if left else links.pop()
        try:
            state = os.stat(place)
            with os.scandir(place) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            if below:  # one inside it, such as lost+found, is passed over
                continue
            raise DataError(f"{folder} cannot be read ({error.strerror})") from error
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            key = f"{below}{entry.name}"
            if _is_folder(entry):
                (links if entry.is_symlink() else left).append((entry.path, f"{key}/"))
            else:
                yield _named(key, entry.path), entry.path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _named(key: str, path: str) -> str:
    """The key, if it is text: names go into files of a run, which are UTF-8."""
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{path!a}: the name of this file is not UTF-8; rename it") from error
    return key


def is_folder(path: Path) -> bool:
    """Whether there is a folder at `path`. DataError where that cannot be found out."""
    try:
        return path.is_dir()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
