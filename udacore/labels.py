"""Label spaces: classes, colours, and the map from raw ids to train ids.

A label is a uint8 array H W of train ids 0..K-1, or 255 where nothing counts. Raw ids are mapped by one lookup in a
table of 256 entries. Numbers and colours are those of algorithms/datasets 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from udacore.config.files import parse_yaml, read_yaml_text
from udacore.datasets import get_dataset, list_datasets
from udacore.errors import ConfigError, list_names, near_matches
from udacore.places import find_place

IGNORE = 255
"""The label of pixels that count nowhere (`udacore.interface.IGNORE`, here without torch)."""

Colour = tuple[int, int, int]
Label = NDArray[np.uint8]

# class, Cityscapes and GTA5 id, SYNTHIA id, colour; the row number is the train id of cityscapes19
_CITYSCAPES: tuple[tuple[str, int, int, Colour], ...] = (
    ("road", 7, 3, (128, 64, 128)),
    ("sidewalk", 8, 4, (244, 35, 232)),
    ("building", 11, 2, (70, 70, 70)),
    ("wall", 12, 21, (102, 102, 156)),
    ("fence", 13, 5, (190, 153, 153)),
    ("pole", 17, 7, (153, 153, 153)),
    ("light", 19, 15, (250, 170, 30)),
    ("sign", 20, 9, (220, 220, 0)),
    ("vegetation", 21, 6, (107, 142, 35)),
    ("terrain", 22, 16, (152, 251, 152)),
    ("sky", 23, 1, (70, 130, 180)),
    ("person", 24, 10, (220, 20, 60)),
    ("rider", 25, 17, (255, 0, 0)),
    ("car", 26, 8, (0, 0, 142)),
    ("truck", 27, 18, (0, 0, 70)),
    ("bus", 28, 19, (0, 60, 100)),
    ("train", 31, 20, (0, 80, 100)),
    ("motorcycle", 32, 12, (0, 0, 230)),
    ("bicycle", 33, 11, (119, 11, 32)),
)
CLASSES19 = tuple(row[0] for row in _CITYSCAPES)
CLASSES16 = tuple(name for name in CLASSES19 if name not in ("terrain", "truck", "train"))
CLASSES13 = tuple(name for name in CLASSES16 if name not in ("wall", "fence", "pole"))
LOVEDA_COLOURS: dict[str, Colour] = {
    "background": (255, 255, 255), "building": (255, 0, 0), "road": (255, 255, 0), "water": (0, 0, 255),
    "barren": (159, 129, 183), "forest": (0, 255, 0), "agriculture": (255, 195, 128),
}  # fmt: skip
"""Classes of LoveDA and their colours, in the order of the ids 1 to 7."""
ISPRS_COLOURS: dict[str, Colour] = {
    "impervious": (255, 255, 255), "building": (0, 0, 255), "low vegetation": (0, 255, 255), "tree": (0, 255, 0),
    "car": (255, 255, 0), "clutter": (255, 0, 0),
}  # fmt: skip
"""Classes of ISPRS' Potsdam and Vaihingen, and the colours that stand for them in the labels."""
STREETS = ("road", "sidewalk", "building", "fence", "pole", "sign", "vegetation", "terrain", "sky", "person", "car", "bus")
"""Classes of the embedded domains; the place is the raw id that their generator draws."""

CITYSCAPES_IDS = {row[0]: row[1] for row in _CITYSCAPES}
"""Class name -> raw id of Cityscapes and GTA5."""
SYNTHIA_IDS = {row[0]: row[2] for row in _CITYSCAPES}
"""Class name -> raw id of SYNTHIA-RAND-CITYSCAPES."""
COLOURS: dict[str, Colour] = {row[0]: row[3] for row in _CITYSCAPES}
"""Class name -> official colour, RGB."""

SHORT_NAMES = {"traffic light": "light", "traffic sign": "sign", "pedestrian": "person", "motocycle": "motorcycle"}
"""Other spellings in use -> the name here."""


@attrs.frozen(kw_only=True)
class LabelSpace:
    """The classes of a task.

    name      `cityscapes19`, ..., or the name in the user's file
    classes   names, in the order of the train ids
    palette   a colour (RGB) for each class
    ids_from  data set -> {raw id: train id}, where the space's file states them; `raw_ids` is the map of any data set
    parent    for a subset that is only scored: the space it is part of
    indices   for a subset: its classes' train ids in the parent
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    ids_from: Mapping[str, Mapping[int, int]] = attrs.field(hash=False, factory=dict)
    parent: str | None = None
    indices: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.classes)


def class_index(space: LabelSpace, given: str | int, where: str) -> int:
    """Train id of a class given by name (other spellings too) or by number. ConfigError, naming `where`, if there is none."""
    if isinstance(given, int) and not isinstance(given, bool):
        if 0 <= given < len(space):
            return given
        raise ConfigError(f"{where}: class {given} is not in {space.name}, which has 0 to {len(space) - 1}")
    name = str(given)
    name = name if name in space.classes else SHORT_NAMES.get(name, name)
    if name not in space.classes:
        raise ConfigError(f"{where}: class {str(given)!r} is not in {space.name}{near_matches(str(given), space.classes)}")
    return space.classes.index(name)


def _built_in(name: str, classes: tuple[str, ...], parent: str | None = None, within: tuple[str, ...] = ()) -> LabelSpace:
    palette = tuple(COLOURS[each] for each in classes)
    indices = tuple(within.index(each) for each in classes) if parent else ()
    return LabelSpace(name=name, classes=classes, palette=palette, parent=parent, indices=indices)


LABEL_SPACES = {
    "cityscapes19": _built_in("cityscapes19", CLASSES19),
    "synthia16": _built_in("synthia16", CLASSES16),
    "synthia13": _built_in("synthia13", CLASSES13, "synthia16", CLASSES16),
    "streets": _built_in("streets", STREETS),
    "loveda7": LabelSpace(name="loveda7", classes=tuple(LOVEDA_COLOURS), palette=tuple(LOVEDA_COLOURS.values())),
    "isprs6": LabelSpace(name="isprs6", classes=tuple(ISPRS_COLOURS), palette=tuple(ISPRS_COLOURS.values())),
}
"""The built-in spaces by name. `synthia13` is a subset for scoring: nobody trains 13 outputs."""


def get_label_space(name: str | Path) -> LabelSpace:
    """A built-in label space by name, or one's own from a YAML file.

    The file holds `classes`, a list of names, and may hold `name`, `colors` (class -> [r, g, b], or a list in the order
    of the classes) and `ids` (data set -> {raw id: class}; `folder` is used by data sets of that kind). Without `ids`,
    classes named as in Cityscapes are found in the known data sets. ConfigError if there is no such space or file, or
    the file is wrong.
    """
    text = str(name)
    if text in LABEL_SPACES:
        return LABEL_SPACES[text]
    if Path(text).suffix in (".yaml", ".yml"):
        return _read_space(find_place(text))
    raise ConfigError(f"label space {text!r} is unknown{near_matches(text, LABEL_SPACES)} (or a .yaml file with `classes`)")


def _read_space(path: Path) -> LabelSpace:
    """A label space from a user's file."""
    where = f"label space {path}"
    content = parse_yaml(read_yaml_text(path, where), where)
    if not isinstance(content, dict):
        raise ConfigError(f"label space {path}: needs `classes`, a list of names")
    allowed = ("name", "classes", "colors", "ids")
    for key in content:
        if key not in allowed:
            raise ConfigError(f"label space {path}: unknown key {str(key)!r}{near_matches(str(key), allowed)}")
    classes = content.get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(each, str) for each in classes):
        raise ConfigError(f"label space {path}: `classes` must be a list of names (quote words such as \"true\")")
    if len(set(classes)) < len(classes) or len(classes) > IGNORE:
        raise ConfigError(f"label space {path}: `classes` must be distinct, and at most {IGNORE}")
    space = LabelSpace(
        name=str(content.get("name", path.stem)),
        classes=tuple(classes),
        palette=_read_colours(path, classes, content.get("colors") or {}),
    )
    return attrs.evolve(space, ids_from=_read_ids(path, space, content.get("ids") or {}))


def _read_colours(path: Path, classes: list[str], given: Any) -> tuple[Colour, ...]:
    """The file's colours; for a class without one Cityscapes' colour of that name, else one spread over the hues."""
    if isinstance(given, list):
        if len(given) != len(classes):
            raise ConfigError(f"label space {path}: {len(given)} colors for {len(classes)} classes")
        given = dict(zip(classes, given, strict=True))
    if not isinstance(given, dict):
        raise ConfigError(f"label space {path}: `colors` must be a list, or class -> [red, green, blue]")
    for name, colour in given.items():
        if name not in classes:
            raise ConfigError(f"label space {path}: color of unknown class {str(name)!r}{near_matches(str(name), classes)}")
        is_colour = isinstance(colour, list) and len(colour) == 3 and all(type(part) is int and 0 <= part <= 255 for part in colour)
        if not is_colour:
            raise ConfigError(f"label space {path}: color of {name!r} must be [red, green, blue], each 0 to 255, got {colour!r}")
    palette: list[Colour] = []
    for number, name in enumerate(classes):
        if name in given:
            red, green, blue = given[name]
            palette.append((red, green, blue))
        else:
            palette.append(COLOURS.get(SHORT_NAMES.get(name, name), _spread(number)))
    return tuple(palette)


def _spread(number: int) -> Colour:
    """A colour for class `number`: golden-ratio steps around the hues, so that neighbours differ."""
    hue = (number * 0.618034) % 1.0 * 6
    red, green, blue = (int(60 + 180 * min(1.0, max(0.0, abs((hue - shift) % 6 - 3) - 1))) for shift in (0, 2, 4))
    return red, green, blue


def _read_ids(path: Path, space: LabelSpace, given: Any) -> dict[str, Mapping[int, int]]:
    """The file's own raw ids."""
    datasets = list_datasets()
    where = f"label space {path}: ids"
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: must be data set -> {{raw id: class}}")
    ids: dict[str, Mapping[int, int]] = {}
    for dataset, pairs in given.items():
        if dataset not in datasets or not isinstance(pairs, dict):
            raise ConfigError(f"{where}: must be data set -> {{raw id: class}}, got {str(dataset)!r}{near_matches(str(dataset), datasets)}")
        ids[dataset] = raw_map(space, pairs, f"{where}.{dataset}")
    return ids


def raw_map(space: LabelSpace, pairs: Mapping[Any, str | int], where: str) -> dict[int, int]:
    """`{raw id: class name or train id}` as {raw id: train id}; train id 255 may be written for "ignore". ConfigError if wrong."""
    result: dict[int, int] = {}
    for raw, given in pairs.items():
        if type(raw) is not int or not 0 <= raw <= 255:
            raise ConfigError(f"{where}: raw ids are numbers from 0 to 255, got {raw!r}")
        if given != IGNORE:
            result[raw] = class_index(space, given, where)
    return result


def table_of(ids: Mapping[int, int]) -> Label:
    """uint8[256] from {raw id: train id}; what is not listed is 255."""
    table = np.full(256, IGNORE, np.uint8)
    for raw, train in ids.items():
        table[raw] = train
    return table


def lookup_table(space: LabelSpace, dataset: str) -> Label:
    """uint8[256]: raw id -> train id for an installed data set or `pseudo`; 255 = ignore.

    `pseudo` (pseudo labels), and a data set without ids of its own such as `folder`: 0..K-1 stay, all else is 255. ConfigError for another
    data set, or where the space shares no class with the data set.
    """
    ids = None if dataset == "pseudo" else raw_ids(space, dataset)
    if ids is None:
        return table_of({number: number for number in range(len(space))})
    if not ids:
        raise ConfigError(f"label space {space.name} shares no class with {dataset}; give `ids` in its file")
    return table_of(ids)


def raw_ids(space: LabelSpace, dataset: str) -> Mapping[int, int] | None:
    """{raw id: train id} of an installed data set: as the space's file states, else for classes named as the data set's own.

    What is not listed is ignored. None for a data set whose labels hold train ids, such as `folder`. ConfigError for another name.
    """
    if dataset in space.ids_from:
        return space.ids_from[dataset]
    if dataset not in list_datasets():
        raise ConfigError(f"no raw ids of data set {dataset!r}{near_matches(dataset, (*list_datasets(), 'pseudo'))}")
    record = get_dataset(dataset)
    if record.ids is None:
        return None
    places = {SHORT_NAMES.get(name, name): number for number, name in enumerate(space.classes)}
    return {raw: places[name] for raw, name in record.classes_by_id.items() if name in places}


def remap(raw: NDArray[Any], table: Label) -> Label:
    """Train ids (uint8, same shape) of raw ids of any integer type by one index; negative ones and those above 255 become 255."""
    if raw.dtype == np.uint8:
        direct: Label = table[raw]
        return direct
    longer = np.append(table, np.uint8(IGNORE))
    index = np.minimum(raw, 256)
    mapped: Label = longer[index if raw.dtype.kind == "u" else np.where(index < 0, 256, index)]
    return mapped


def synthia16_to_cityscapes19(label: NDArray[Any]) -> Label:
    """Train ids of the 16 classes as ids of the 19 (uint8, same shape), for images and comparisons; others become 255."""
    return remap(label, table_of({number: CLASSES19.index(name) for number, name in enumerate(CLASSES16)}))


def subset_indices(space: LabelSpace, subset: str) -> tuple[int, ...]:
    """Train ids in `space` of the classes of label space `subset`, such as the 13 of 16. ConfigError where one is missing."""
    smaller = get_label_space(subset)
    missing = [name for name in smaller.classes if name not in space.classes]
    if missing:
        raise ConfigError(f"{subset} is no subset of {space.name}: {list_names(missing)} missing")
    return tuple(space.classes.index(name) for name in smaller.classes)


def colorize(label: NDArray[Any], space: LabelSpace) -> NDArray[np.uint8]:
    """An image H W 3 (RGB uint8) of a label H W; ignored pixels are black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(space)] = space.palette
    picture: NDArray[np.uint8] = colours[label]
    return picture
