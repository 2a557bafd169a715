"""One table for all data sets: layouts as users have them, keys, labels, errors by name."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from udacore.config.schema import DataConfig
from udacore.data.tables import ImageTable, open_table
from udacore.errors import ConfigError, DataError
from udacore.labels import IGNORE, get_label_space
from udacore.testing.formats import write_cityscapes, write_gta5, write_synthia


def _open(root: Path | None, dataset: str, space: str = "cityscapes19", labels: bool = True, **more: object) -> ImageTable:
    config = DataConfig(dataset=dataset, root=None if root is None else str(root), **more)  # type: ignore[arg-type]
    return open_table(config, get_label_space(space), domain="source" if labels else "target", labels=labels)


def test_gta5_pairs_have_their_own_sizes(tmp_path: Path) -> None:
    names = write_gta5(tmp_path, 3)
    table = _open(tmp_path, "gta5")
    assert table.names == tuple(names)
    assert [table.size(i) for i in range(len(table))] == [(105, 191), (104, 191), (105, 190)]
    for i in range(3):
        image, label = table.read_pair(i)
        assert image.shape == (*table.size(i), 3)
        assert (label.dtype, label.shape) == (np.uint8, table.label_size(i))
        with Image.open(tmp_path / "labels" / f"{names[i]}.png") as stored:
            assert ((np.array(stored) == 7) == (label == 0)).all()


@pytest.mark.parametrize(
    "layout", ["whole", "without RAND_CITYSCAPES", "root is RAND_CITYSCAPES", "parsed", "parsed beside", "8 bit in place"]
)
def test_synthia_is_found_in_every_layout(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "s"
    write_synthia(root, 2, parsed=layout == "parsed")
    reference = tmp_path / "reference"
    write_synthia(reference, 2)
    if layout == "without RAND_CITYSCAPES":
        (root / "RAND_CITYSCAPES").rename(tmp_path / "moved")
        root = tmp_path / "moved"
    elif layout == "root is RAND_CITYSCAPES":
        root = root / "RAND_CITYSCAPES"
    elif layout in ("parsed beside", "8 bit in place"):
        write_synthia(tmp_path / "p", 2, parsed=True)
        shutil.rmtree(root / "RAND_CITYSCAPES/GT")
        place = "synthia_mapped_to_cityscapes" if layout == "parsed beside" else "RAND_CITYSCAPES/GT/LABELS"
        (root / place).parent.mkdir(exist_ok=True)
        (tmp_path / "p/synthia_mapped_to_cityscapes").rename(root / place)
    table, expected = _open(root, "synthia", "synthia16"), _open(reference, "synthia", "synthia16")
    assert table.names == expected.names == ("0000000", "0000001")
    assert all(np.array_equal(table.read_label(i), expected.read_label(i)) for i in range(2))


def test_cityscapes_keys_name_city_and_file(tmp_path: Path) -> None:
    write_cityscapes(tmp_path)
    table = _open(tmp_path, "cityscapes", split="val")
    assert table.names == ("frankfurt/frankfurt_000000_000019_leftImg8bit", "lindau/lindau_000000_000019_leftImg8bit")
    with Image.open(tmp_path / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png") as stored:
        assert ((np.array(stored) == 26) == (table.read_label(1) == 13)).all()


def test_coarse_labels_of_train_extra_are_found(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, {"train": 1})
    (tmp_path / "leftImg8bit/train").rename(tmp_path / "leftImg8bit/train_extra")
    fine = tmp_path / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    coarse = tmp_path / "gtCoarse/train_extra/aachen/aachen_000000_000019_gtCoarse_labelIds.png"
    coarse.parent.mkdir(parents=True)
    fine.rename(coarse)
    assert _open(tmp_path, "cityscapes", split="train_extra").has_labels


@pytest.mark.parametrize("damage", ["none", "no gtFine", "garbage"])
def test_target_labels_are_never_needed(tmp_path: Path, damage: str) -> None:
    write_cityscapes(tmp_path, {"train": 2})
    if damage == "no gtFine":
        shutil.rmtree(tmp_path / "gtFine")
    elif damage == "garbage":
        for path in (tmp_path / "gtFine").rglob("*.png"):
            path.write_bytes(b"unreadable")
    table = _open(tmp_path, "cityscapes", labels=False)
    assert not table.has_labels
    assert [table.read_image(i).shape for i in range(len(table))] == [(64, 128, 3)] * 2
    for read in (table.read_label, table.label_size, table.read_pair):
        with pytest.raises(DataError, match=r"cityscapes \(target\) was opened without labels"):
            read(0)


def test_a_table_travels_to_workers(tmp_path: Path) -> None:
    write_gta5(tmp_path, 1)
    table = _open(tmp_path, "gta5")
    copy = pickle.loads(pickle.dumps(table))
    assert np.array_equal(copy.read_label(0), table.read_label(0))
    assert copy.source_hash() == table.source_hash()
    assert copy.space == table.space


def test_the_cache_key_changes_with_names_classes_and_contents(tmp_path: Path) -> None:
    write_synthia(tmp_path / "a", 2)
    write_synthia(tmp_path / "b", 2)
    write_synthia(tmp_path / "c", 2, seed=1)
    first = _open(tmp_path / "a", "synthia", "synthia16")
    assert first.source_hash() == _open(tmp_path / "b", "synthia", "synthia16").source_hash()
    others = [
        _open(tmp_path / "c", "synthia", "synthia16"),
        _open(tmp_path / "a", "synthia", "cityscapes19"),
        _open(tmp_path / "a", "synthia", "synthia16", count=1),
        _open(tmp_path / "a", "synthia", "synthia16", labels=False),
    ]
    assert len({each.source_hash() for each in (first, *others)}) == 5


def test_a_folder_of_ones_own_with_a_label_map(tmp_path: Path) -> None:
    (tmp_path / "pics/day").mkdir(parents=True)
    (tmp_path / "masks/day").mkdir(parents=True)
    Image.new("RGB", (4, 3)).save(tmp_path / "pics/day/a.b.jpg")
    Image.fromarray(np.array([[0, 1, 2, 200]] * 3, np.uint8)).save(tmp_path / "masks/day/a.b_mask.png")
    names = {"image_folder": "pics", "label_folder": "masks", "label_suffix": "_mask"}
    table = _open(tmp_path, "folder", label_map={1: "traffic light", 2: 13, 200: 255}, **names)
    assert table.names == ("day/a.b",)
    assert table.read_label(0).tolist() == [[IGNORE, 6, 13, IGNORE]] * 3
    with pytest.raises(ConfigError, match="label_map: class 'rode' is not in cityscapes19; did you mean 'road'"):
        _open(tmp_path, "folder", label_map={1: "rode"}, **names)
    with pytest.raises(DataError, match=r"a\.b_mask\.png holds 200, expected train ids 0 to 18 or 255"):
        _open(tmp_path, "folder", **names).read_label(0)


def test_the_root_comes_from_the_settings_the_environment_or_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gta5(tmp_path / "datasets/gta5", 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UDACORE_DATA", raising=False)
    assert len(_open(None, "gta5")) == 1
    write_gta5(tmp_path / "data/gta5", 2)
    monkeypatch.setenv("UDACORE_DATA", str(tmp_path / "data"))
    assert len(_open(None, "gta5")) == 2
    assert len(_open(tmp_path / "datasets/gta5", "gta5")) == 1


def test_a_missing_root_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=f"gta5: no folder {tmp_path}/none$"):
        _open(tmp_path / "none", "gta5")
    monkeypatch.delenv("UDACORE_DATA", raising=False)
    with pytest.raises(DataError, match=r"no folder datasets/gta5 \(set `root`, or \$UDACORE_DATA"):
        _open(None, "gta5")
    monkeypatch.setenv("UDACORE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"gta5 \(from \$UDACORE_DATA; or set `root`\)"):
        _open(None, "gta5")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("gta5", "gta5: no folder of images .*images"),
        ("synthia", "RAND_CITYSCAPES/RGB or .*RGB"),
        ("cityscapes", "cityscapes: no folder of images .*leftImg8bit/train"),
        ("folder", "folder: no folder of images .*images"),
    ],
)
def test_a_root_without_images_names_the_folder(tmp_path: Path, dataset: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _open(tmp_path, dataset)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/.hidden.png").touch()
    with pytest.raises(DataError, match=r"gta5: no image in .*images"):
        _open(tmp_path, "gta5")


def test_an_unknown_split_is_answered_with_those_there(tmp_path: Path) -> None:
    write_cityscapes(tmp_path)
    with pytest.raises(DataError, match=r"no split 'vall' in .*; did you mean 'val'"):
        _open(tmp_path, "cityscapes", split="vall")


def test_missing_labels_are_counted_and_the_first_pair_named(tmp_path: Path) -> None:
    write_gta5(tmp_path, 4)
    for name in ("00002", "00004"):
        (tmp_path / "labels" / f"{name}.png").unlink()
    with pytest.raises(DataError, match=r"image .*images/00002.png has no label .*labels/00002.png \(1 more missing\)"):
        _open(tmp_path, "gta5")
    shutil.rmtree(tmp_path / "labels")
    with pytest.raises(DataError, match=r"no folder of labels .*labels"):
        _open(tmp_path, "gta5")


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    write_gta5(tmp_path, 1)
    shutil.copy(tmp_path / "images/00001.png", tmp_path / "images/00001.jpg")
    with pytest.raises(DataError, match=r"two files for one name: .*00001.* and .*00001"):
        _open(tmp_path, "gta5")


def test_a_pair_of_different_size_is_named_with_both_sizes(tmp_path: Path) -> None:
    write_gta5(tmp_path, 2)
    Image.new("RGB", (20, 10)).save(tmp_path / "images/00002.png")
    table = _open(tmp_path, "gta5")
    table.read_pair(0)
    with pytest.raises(DataError, match=r"images/00002.png is 20 x 10, but its label .*labels/00002.png is 191 x 104"):
        table.read_pair(1)


def test_the_known_misaligned_pair_of_gta5_is_read(tmp_path: Path) -> None:
    write_gta5(tmp_path, 1)
    for folder in ("images", "labels"):
        (tmp_path / folder / "00001.png").rename(tmp_path / folder / "15188.png")
    Image.new("RGB", (20, 10)).save(tmp_path / "images/15188.png")
    image, label = _open(tmp_path, "gta5").read_pair(0)
    assert image.shape[:2] != label.shape


def test_the_images_may_lie_in_the_root_itself(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    table = _open(tmp_path, "folder", labels=False, image_folder=".")
    assert table.names == ("a",)
    assert table.size(0) == (3, 4)
