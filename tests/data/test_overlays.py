"""Overlays: other images or labels for the same names. And the embedded domains as a table."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from udacore.config.schema import DataConfig
from udacore.data.reading import write_image, write_label
from udacore.data.replacements import with_images, with_labels
from udacore.data.tables import ImageTable, check_pairs, open_table
from udacore.errors import DataError
from udacore.labels import IGNORE, get_label_space
from udacore.testing.formats import write_cityscapes, write_gta5


@pytest.fixture
def target(tmp_path: Path) -> ImageTable:
    """Three target images without labels."""
    write_cityscapes(tmp_path / "data", {"train": 3}, labels=False)
    config = DataConfig(dataset="cityscapes", root=str(tmp_path / "data"))
    return open_table(config, get_label_space("cityscapes19"), domain="target", labels=False)


def _labels_for(table: ImageTable, folder: Path, flat: bool, value: int = 3) -> None:
    for number, name in enumerate(table.names):
        label = np.full((32, 64), value, np.uint8)
        label[0] = IGNORE
        label[1] = number
        write_label(folder / f"{name.rpartition('/')[2] if flat else name}.png", label, table.space.palette)


@pytest.mark.parametrize("flat", [True, False])
def test_pseudo_labels_are_found_by_key_or_base_name_in_their_own_size(target: ImageTable, tmp_path: Path, flat: bool) -> None:
    _labels_for(target, tmp_path / "pseudo", flat)
    table = pickle.loads(pickle.dumps(with_labels(target, tmp_path / "pseudo")))
    assert table.names == target.names
    for number in range(3):
        image, label = table.read_pair(number)
        assert image.shape[:2] == (64, 128)
        assert label.shape == table.label_size(number) == (32, 64)
        assert label[:3, 0].tolist() == [IGNORE, number, 3]
    check_pairs(table)
    assert not target.has_labels


def test_pseudo_labels_outside_the_classes_are_refused(target: ImageTable, tmp_path: Path) -> None:
    _labels_for(target, tmp_path / "pseudo", True, value=19)
    table = with_labels(target, tmp_path / "pseudo")
    with pytest.raises(DataError, match=r"leftImg8bit.png holds 19, expected train ids 0 to 18 or 255"):
        table.read_label(0)
    with pytest.raises(DataError, match="ids go from 0 to 18"):
        check_pairs(table)


def test_pseudo_labels_that_ignore_everything_are_accepted(target: ImageTable, tmp_path: Path) -> None:
    for name in target.names:
        write_label(tmp_path / "pseudo" / f"{name}.png", np.full((32, 64), IGNORE, np.uint8), target.space.palette)
    table = with_labels(target, tmp_path / "pseudo")
    check_pairs(table)
    assert np.unique(table.read_label(0)).tolist() == [IGNORE]


def test_missing_overlays_are_counted_with_examples(target: ImageTable, tmp_path: Path) -> None:
    _labels_for(target, tmp_path / "pseudo", True)
    for path in sorted((tmp_path / "pseudo").iterdir())[:2]:
        path.unlink()
    with pytest.raises(DataError, match=r"pseudo lacks 2 of 3 labels: aachen/aachen_\S*, bochum/bochum_\S*$"):
        with_labels(target, tmp_path / "pseudo")
    with pytest.raises(DataError, match=r"pseudo lacks 3 of 3 images"):
        with_images(target, _empty(tmp_path / "other/pseudo"))
    with pytest.raises(DataError, match=r"no folder .*nowhere of replacing images"):
        with_images(target, tmp_path / "nowhere")


def _empty(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_a_base_name_that_stands_for_two_images_is_not_used(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_image(tmp_path / f"data/images/{folder}/1.png", np.zeros((4, 4, 3), np.uint8))
    config = DataConfig(dataset="folder", root=str(tmp_path / "data"))
    table = open_table(config, get_label_space("streets"), domain="target", labels=False)
    write_image(tmp_path / "flat/1.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="flat lacks 2 of 2 images: a/1, b/1"):
        with_images(table, tmp_path / "flat")


def test_replaced_images_keep_their_labels_in_another_size(tmp_path: Path) -> None:
    write_gta5(tmp_path / "data", 2)
    config = DataConfig(dataset="gta5", root=str(tmp_path / "data"))
    table = open_table(config, get_label_space("cityscapes19"), domain="source", labels=True)
    for number, name in enumerate(table.names):
        write_image(tmp_path / "moved" / f"{name}.png", np.full((20, 30, 3), number, np.uint8))
    other = with_images(table, tmp_path / "moved")
    assert other.read_image(1).tolist() == np.full((20, 30, 3), 1).tolist()
    assert np.array_equal(other.read_pair(1)[1], table.read_label(1))
    check_pairs(other)
    assert table.size(0) == (105, 191)


@pytest.mark.parametrize(("split", "domain", "count"), [("train", "source", 400), ("val", "target", 120), ("val", "source", 60)])
def test_the_embedded_domains_have_their_counts(split: str, domain: str, count: int) -> None:
    table = open_table(DataConfig(split=split), get_label_space("streets"), domain=domain, labels=False)  # type: ignore[arg-type]
    assert len(table) == count
    assert table.names[12] == f"{split}/00012"


def test_the_embedded_domains_are_drawn_alike_everywhere() -> None:
    config = DataConfig(split="val", count=3, image_size=(96, 48))
    table = open_table(config, get_label_space("streets"), domain="target", labels=True)
    image, label = table.read_pair(1)
    assert (image.shape, table.size(1), label.shape) == ((48, 96, 3), (48, 96), (48, 96))
    assert set(np.unique(label)) <= {*range(12), IGNORE}
    image[:] = 0  # the caller's own copy
    again = pickle.loads(pickle.dumps(table))
    assert again.read_image(1).any()
    assert again.source_hash() == table.source_hash()
    check_pairs(table)


def test_the_domain_of_the_entry_or_the_given_one_is_drawn() -> None:
    def first(entry: str, **more: object) -> np.ndarray:
        config = DataConfig(count=1, image_size=(32, 16), **more)  # type: ignore[arg-type]
        return open_table(config, get_label_space("streets"), domain=entry, labels=False).read_image(0)  # type: ignore[arg-type]

    assert np.array_equal(first("source"), first("target", domain="source"))
    assert not np.array_equal(first("source"), first("target"))
    assert not np.array_equal(first("source"), first("source", data_seed=1))


def test_the_embedded_domains_serve_nineteen_classes_too() -> None:
    config = DataConfig(count=1)
    streets = open_table(config, get_label_space("streets"), domain="source", labels=True).read_label(0)
    nineteen = open_table(config, get_label_space("cityscapes19"), domain="source", labels=True).read_label(0)
    ids = np.array([0, 1, 2, 4, 5, 7, 8, 9, 10, 11, 13, 15])
    assert np.array_equal(nineteen[streets < 12], ids[streets[streets < 12]])
    with pytest.raises(DataError, match="streets: no split 'vall'; did you mean 'val'"):
        open_table(DataConfig(split="vall"), get_label_space("streets"), domain="source", labels=False)
