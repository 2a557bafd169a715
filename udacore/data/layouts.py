"""Where the files of each data set lie, as users have them after unpacking (spec datasets, sections 1 to 4)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import attrs

from udacore.config.schema import DataConfig
from udacore.data.reading import LabelKind
from udacore.errors import DataError, near_matches

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
LABEL_SUFFIXES = (".png",)


@attrs.frozen(kw_only=True)
class Layout:
    """Folders of one data set.

    root       what the user names
    images     folder below which the pictures lie; a picture's key is its path below it without suffix
    labels     folders in which the labels may lie, in order of preference
    kind       how labels are encoded
    label_key  image key -> label's path below the folder of labels, without suffix
    is_image   which keys are pictures of the data set
    prefixes   leading folders that lists may name and that are cut off
    """

    root: Path
    images: Path
    labels: tuple[Path, ...]
    kind: LabelKind
    label_key: Callable[[str], str] = lambda key: key
    is_image: Callable[[str], bool] = lambda key: True
    prefixes: frozenset[str]


def find_root(config: DataConfig) -> Path:
    """The folder of the data set: `root`, else $UDACORE_DATA/<dataset>, else datasets/<dataset>. DataError if it is not there."""
    data = os.environ.get("UDACORE_DATA")
    if config.root is not None:
        root, hint = Path(config.root).expanduser(), ""
    elif data:
        root, hint = Path(data).expanduser() / config.dataset, " (from $UDACORE_DATA; or set `root`)"
    else:
        root, hint = Path("datasets") / config.dataset, " (set `root`, or $UDACORE_DATA to the folder that holds the data sets)"
    if not root.is_dir():
        raise DataError(f"{config.dataset}: no folder {root}{hint}")
    return root


def find_layout(config: DataConfig) -> Layout:
    """The folders for a data set on disk. DataError if the root, or the folder of pictures below it, is missing."""
    return {"gta5": _gta5, "synthia": _synthia, "cityscapes": _cityscapes, "folder": _folder}[config.dataset](config, find_root(config))


def _existing(dataset: str, candidates: tuple[Path, ...]) -> Path:
    """The first folder that is there."""
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise DataError(f"{dataset}: no folder of images {' or '.join(str(each) for each in candidates)}")


def _prefixes(*folders: str) -> frozenset[str]:
    parts = {part for folder in folders for part in Path(folder).parts}
    return frozenset(parts | {"train", "val", "test"})


def _gta5(config: DataConfig, root: Path) -> Layout:
    images = _existing("gta5", (root / "images",))
    return Layout(root=root, images=images, labels=(root / "labels",), kind="palette", prefixes=_prefixes("images"))


def _synthia(config: DataConfig, root: Path) -> Layout:
    inner = root / "RAND_CITYSCAPES"
    images = _existing("synthia", (inner / "RGB", root / "RGB"))
    bases = (images.parent, root) if images.parent != root else (root,)
    labels = tuple(base / name for base in bases for name in ("GT/LABELS", "synthia_mapped_to_cityscapes"))
    return Layout(root=root, images=images, labels=labels, kind="synthia", prefixes=_prefixes("RAND_CITYSCAPES/RGB"))


def _cityscapes(config: DataConfig, root: Path) -> Layout:
    split = config.split
    pictures = root / "leftImg8bit"
    if pictures.is_dir() and not (pictures / split).is_dir():
        there = sorted(each.name for each in pictures.iterdir() if each.is_dir())
        raise DataError(f"cityscapes: no split {split!r} in {pictures}{near_matches(split, there)}")
    images = _existing("cityscapes", (pictures / split,))
    fine = "gtCoarse" if split == "train_extra" else "gtFine"
    suffix = "_leftImg8bit"
    return Layout(
        root=root,
        images=images,
        labels=(root / fine / split,),
        kind="cityscapes",
        label_key=lambda key: f"{key.removesuffix(suffix)}_{fine}_labelIds",
        is_image=lambda key: key.endswith(suffix),
        prefixes=_prefixes(f"leftImg8bit/{split}"),
    )


def _folder(config: DataConfig, root: Path) -> Layout:
    images = _existing("folder", (root / config.image_folder,))
    return Layout(
        root=root,
        images=images,
        labels=(root / config.label_folder,),
        kind="ids",
        label_key=lambda key: key + config.label_suffix,
        prefixes=_prefixes(config.image_folder),
    )


def list_files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Key (path below `folder` without suffix, `/` between) -> path of each file with one of the suffixes, sorted by key.

    Hidden files are left out. DataError where two files have one key, or the folder may not be read.
    """

    def refuse(error: OSError) -> None:
        if error.filename == str(folder):  # one inside it, such as lost+found, is passed over
            raise DataError(f"{folder} cannot be read ({error.strerror})") from error

    found: dict[str, str] = {}
    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        folders[:] = [each for each in folders if not each.startswith(".")]
        below = Path(place).relative_to(folder).as_posix()
        for name in files:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in suffixes or name.startswith("."):
                continue
            key = stem if below == "." else f"{below}/{stem}"
            path = os.path.join(place, name)
            if key in found:
                raise DataError(f"two files for one name: {found[key]} and {path}")
            found[key] = path
    return dict(sorted(found.items()))
