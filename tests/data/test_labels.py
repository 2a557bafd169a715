"""Label spaces and lookup tables: numbers of algorithms/datasets 5."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from udacore.errors import ConfigError
from udacore.labels import (
    IGNORE,
    LABEL_SPACES,
    colorize,
    get_label_space,
    lookup_table,
    remap,
    subset_indices,
    synthia16_to_cityscapes19,
)


def test_cityscapes_ids_become_the_nineteen_classes() -> None:
    table = lookup_table(get_label_space("cityscapes19"), "cityscapes")
    raw = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert table.dtype == np.uint8
    assert table.shape == (256,)
    assert table[raw].tolist() == list(range(19))
    assert (np.delete(table, raw) == IGNORE).all()
    assert np.array_equal(table, lookup_table(get_label_space("cityscapes19"), "gta5"))


def test_synthia_ids_become_the_sixteen_classes() -> None:
    table = lookup_table(get_label_space("synthia16"), "synthia")
    raw = [3, 4, 2, 21, 5, 7, 15, 9, 6, 1, 10, 17, 8, 19, 12, 11]
    assert table[raw].tolist() == list(range(16))
    assert (np.delete(table, raw) == IGNORE).all()


def test_terrain_truck_and_train_are_ignored_with_sixteen_classes() -> None:
    table = lookup_table(get_label_space("synthia16"), "cityscapes")
    assert table[[22, 27, 31]].tolist() == [IGNORE] * 3
    assert table[[21, 23, 33]].tolist() == [8, 9, 15]


def test_synthia_trains_nineteen_outputs_too() -> None:
    table = lookup_table(get_label_space("cityscapes19"), "synthia")
    assert table[[16, 18, 20, 22]].tolist() == [9, 14, 16, IGNORE]


def test_sky_has_the_official_colour_and_names_are_short() -> None:
    space = get_label_space("cityscapes19")
    assert space.palette[10] == (70, 130, 180)
    assert space.classes[6:8] == ("light", "sign")
    assert len(space) == 19
    assert len(get_label_space("streets")) == 12


def test_pseudo_labels_keep_train_ids_and_ignore_the_rest() -> None:
    table = lookup_table(get_label_space("synthia16"), "pseudo")
    assert table[:16].tolist() == list(range(16))
    assert (table[16:] == IGNORE).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_remap_ignores_what_no_table_holds(dtype: type) -> None:
    raw: np.ndarray = np.array([[3, 0], [22, 255]], dtype)
    assert remap(raw, lookup_table(get_label_space("synthia16"), "synthia")).tolist() == [[0, IGNORE], [IGNORE, IGNORE]]


def test_remap_does_not_wrap_wide_ids_around() -> None:
    table = lookup_table(get_label_space("synthia16"), "synthia")
    assert remap(np.array([256 + 3, 65535, 3], np.uint16), table).tolist() == [IGNORE, IGNORE, 0]
    assert remap(np.array([-253, -1, 3], np.int64), table).tolist() == [IGNORE, IGNORE, 0]


def test_thirteen_of_sixteen_and_of_nineteen() -> None:
    assert subset_indices(get_label_space("synthia16"), "synthia13") == (0, 1, 2, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    assert subset_indices(get_label_space("cityscapes19"), "synthia13") == (0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18)
    assert LABEL_SPACES["synthia13"].parent == "synthia16"
    assert LABEL_SPACES["synthia13"].indices == subset_indices(get_label_space("synthia16"), "synthia13")
    with pytest.raises(ConfigError, match="cityscapes19 is no subset of synthia16: terrain, truck, train missing"):
        subset_indices(get_label_space("synthia16"), "cityscapes19")


def test_sixteen_ids_as_ids_of_the_nineteen() -> None:
    ids = np.array([*range(16), 16, 255])
    expected = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18, 255, 255]
    assert synthia16_to_cityscapes19(ids).tolist() == expected


def test_colorize_paints_classes_and_leaves_ignored_pixels_black() -> None:
    picture = colorize(np.array([[0, 10, 255]], np.uint8), get_label_space("cityscapes19"))
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[128, 64, 128], [70, 130, 180], [0, 0, 0]]]


def test_an_unknown_space_is_answered_with_near_matches() -> None:
    with pytest.raises(ConfigError, match="'cityscape19' is unknown; did you mean 'cityscapes19'"):
        get_label_space("cityscape19")


def test_a_space_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "farm.yaml"
    file.write_text("classes: [road, cow, barn]\ncolors: {cow: [1, 2, 3]}\nids:\n  folder: {10: cow, 11: barn, 12: 0}\n")
    space = get_label_space(file)
    assert (space.name, space.classes, len(space)) == ("farm", ("road", "cow", "barn"), 3)
    assert space.palette[:2] == ((128, 64, 128), (1, 2, 3))
    assert lookup_table(space, "folder")[[9, 10, 11, 12]].tolist() == [IGNORE, 1, 2, 0]
    assert lookup_table(space, "cityscapes")[7] == 0
    assert pickle.loads(pickle.dumps(space)) == space


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("klasses: [a]", "unknown key 'klasses'; did you mean 'classes'"),
        ("classes: [a, true]", "must be a list of names"),
        ("classes: [a]\nclasses: [b]", "line 2, column 1: the key 'classes' is given twice"),
        ("classes: [a, b]\nids: {folder: {1: a, 1: b}}", "line 2, column 22: the key 1 is given twice"),
        ("classes: [a, a]", "must be distinct"),
        ("classes: []", "must be a list of names"),
        ("classes: [a", "line 1, column 12: expected"),
        ("- a", "needs `classes`"),
        ("classes: [a]\ncolors: [[1, 2]]", r"color of 'a' must be \[red, green, blue\]"),
        ("classes: [a]\ncolors: [[1, 2, 300]]", "each 0 to 255"),
        ("classes: [a]\ncolors: {b: [1, 2, 3]}", "unknown class 'b'"),
        ("classes: [a]\nids: {folder: {1: b}}", "class 'b' is not in"),
        ("classes: [a]\nids: {folder: {1: 1}}", "class 1 is not in"),
        ("classes: [a]\nids: {folder: {300: a}}", "raw ids are numbers from 0 to 255, got 300"),
        ("classes: [a]\nids: {citiscapes: {1: a}}", "did you mean 'cityscapes'"),
    ],
)
def test_a_wrong_space_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "own.yml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        get_label_space(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_space_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        get_label_space(tmp_path / "none.yaml")


def test_a_space_without_classes_of_a_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("classes: [cow]")
    space = get_label_space(tmp_path / "own.yaml")
    with pytest.raises(ConfigError, match="shares no class with gta5"):
        lookup_table(space, "gta5")
    with pytest.raises(ConfigError, match="did you mean 'gta5'"):
        lookup_table(space, "gta")


def test_label_spaces_need_neither_torch_nor_opencv() -> None:
    code = "import sys, udacore.labels; sys.exit(any(name in sys.modules for name in ('torch', 'cv2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
