"""What is found before the first step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from udacore.config.schema import DataConfig
from udacore.data.sanity import spread
from udacore.data.tables import ImageTable, check_pairs, open_table
from udacore.errors import DataError
from udacore.labels import get_label_space
from udacore.testing.formats import write_cityscapes, write_gta5, write_synthia

SPACES = {"gta5": "cityscapes19", "synthia": "synthia16", "cityscapes": "cityscapes19", "folder": "synthia16"}


def _open(root: Path, dataset: str, labels: bool = True, **more: object) -> ImageTable:
    config = DataConfig(dataset=dataset, root=str(root), **more)  # type: ignore[arg-type]
    return open_table(config, get_label_space(SPACES[dataset]), domain="source", labels=labels)


def _replace(folder: Path, value: int) -> None:
    """Every label below `folder` becomes one 8-bit number."""
    for path in folder.rglob("*.png"):
        with Image.open(path) as picture:
            size = picture.size
        Image.new("L", size, value).save(path)


@pytest.mark.parametrize("dataset", ["gta5", "synthia", "cityscapes"])
def test_sound_data_passes(tmp_path: Path, dataset: str) -> None:
    {"gta5": write_gta5, "synthia": write_synthia, "cityscapes": write_cityscapes}[dataset](tmp_path)  # type: ignore[operator]
    check_pairs(_open(tmp_path, dataset))
    check_pairs(_open(tmp_path, dataset, labels=False))


@pytest.mark.parametrize("victim", ["images/00001.png", "labels/00003.png"])
def test_a_truncated_image_or_label_is_named(tmp_path: Path, victim: str) -> None:
    write_gta5(tmp_path, 3)
    path = tmp_path / victim
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=f"{victim} is broken"):
        check_pairs(_open(tmp_path, "gta5"))


def test_a_pair_of_different_size_is_found_anywhere_in_the_list(tmp_path: Path) -> None:
    write_gta5(tmp_path, 9)
    Image.new("RGB", (20, 10)).save(tmp_path / "images/00004.png")
    with pytest.raises(DataError, match=r"images/00004.png is 20 x 10, but its label .*labels/00004.png is 191 x 105"):
        check_pairs(_open(tmp_path, "gta5"))


def test_the_known_misaligned_pair_does_not_stop_a_run(tmp_path: Path) -> None:
    write_gta5(tmp_path, 1)
    for folder in ("images", "labels"):
        (tmp_path / folder / "00001.png").rename(tmp_path / folder / "17705.png")
    Image.new("RGB", (20, 10)).save(tmp_path / "images/17705.png")
    check_pairs(_open(tmp_path, "gta5"))


@pytest.mark.parametrize(
    ("dataset", "value", "message"),
    [
        ("gta5", 84, r"holds 84, ids go from 0 to 34; GTA5's labels are palette PNGs"),
        ("cityscapes", 34, r"holds 34, ids go from 0 to 33; the files wanted are `_gtFine_labelIds.png`"),
        ("synthia", 23, r"holds 23, ids go from 0 to 22; SYNTHIA's labels are 16-bit RGB or 8-bit"),
    ],
)
def test_ids_that_a_data_set_does_not_have_give_a_hint(tmp_path: Path, dataset: str, value: int, message: str) -> None:
    {"gta5": write_gta5, "synthia": write_synthia, "cityscapes": write_cityscapes}[dataset](tmp_path)  # type: ignore[operator]
    for folder in ("labels", "RAND_CITYSCAPES/GT", "gtFine"):
        _replace(tmp_path / folder, value)
    with pytest.raises(DataError, match=message):
        check_pairs(_open(tmp_path, dataset))


def test_labels_without_any_class_give_a_hint(tmp_path: Path) -> None:
    write_synthia(tmp_path, 3)
    _replace(tmp_path / "RAND_CITYSCAPES/GT", 0)  # what a decoder that keeps the high byte would give
    with pytest.raises(DataError, match=r"no pixel of a class of synthia16 in .* which hold 0; SYNTHIA's labels are 16-bit"):
        check_pairs(_open(tmp_path, "synthia"))


def test_a_label_map_that_fits_no_pixel_is_found(tmp_path: Path) -> None:
    for folder, content in (("images", np.zeros((4, 5, 3), np.uint8)), ("labels", np.full((4, 5), 7, np.uint8))):
        (tmp_path / folder).mkdir()
        Image.fromarray(content).save(tmp_path / folder / "1.png")
    check_pairs(_open(tmp_path, "folder", label_map={7: "road"}))
    with pytest.raises(DataError, match=r"which hold 7; .*`label_map`"):
        check_pairs(_open(tmp_path, "folder", label_map={8: "road"}))
    check_pairs(_open(tmp_path, "folder"))


def test_a_spread_holds_first_and_last() -> None:
    assert spread(1, 5) == [0]
    assert spread(4, 6) == [0, 1, 2, 3]
    assert spread(1000, 3) == [0, 500, 999]
