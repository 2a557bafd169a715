"""The miniatures are encoded as the real files are, and hold every class."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from udacore.config.schema import DataConfig
from udacore.data.tables import open_table
from udacore.labels import IGNORE, get_label_space
from udacore.testing.formats import write_cityscapes, write_gta5, write_synthia


def test_gta5_labels_are_palette_files_of_several_sizes(tmp_path: Path) -> None:
    assert write_gta5(tmp_path, 3) == ["00001", "00002", "00003"]
    sizes = set()
    for path in sorted((tmp_path / "labels").iterdir()):
        with Image.open(path) as label, Image.open(tmp_path / "images" / path.name) as image:
            assert (label.mode, image.mode) == ("P", "RGB")
            assert label.size == image.size
            assert np.array(label.getpalette()).reshape(-1, 3)[7].tolist() == [128, 64, 128]
            sizes.add(label.size)
    assert len(sizes) == 3


def test_synthia_labels_hold_class_and_instance_in_sixteen_bit(tmp_path: Path) -> None:
    assert write_synthia(tmp_path, 2) == ["0000000", "0000001"]
    files = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((tmp_path / "RAND_CITYSCAPES/GT/LABELS").iterdir())]
    labels = np.stack([each for each in files if each is not None])
    assert (labels.dtype, labels.shape[3]) == (np.uint16, 3)
    blue, instance, ids = np.moveaxis(labels, 3, 0)
    assert not blue.any()
    assert ids.max() <= 22
    assert instance.max() > 255
    assert not instance[ids == 3].any()


def test_parsed_synthia_labels_have_one_channel_of_eight_bit(tmp_path: Path) -> None:
    write_synthia(tmp_path, 2, parsed=True)
    with Image.open(tmp_path / "synthia_mapped_to_cityscapes/0000001.png") as label:
        assert label.mode == "L"
    assert not (tmp_path / "RAND_CITYSCAPES").exists()


def test_each_cityscapes_image_lies_in_a_city_of_its_own(tmp_path: Path) -> None:
    names = write_cityscapes(tmp_path, {"train": 3, "val": 4})
    assert len({name.split("/")[0] for name in names["train"]}) == 3
    assert len(set(names["val"])) == 4  # one more than there are cities
    assert (tmp_path / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png").is_file()
    write_cityscapes(tmp_path / "bare", {"train": 1}, labels=False)
    assert [each.name for each in (tmp_path / "bare").iterdir()] == ["leftImg8bit"]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize(("dataset", "space"), [("gta5", "cityscapes19"), ("synthia", "synthia16"), ("cityscapes", "cityscapes19")])
def test_all_classes_and_some_ignored_pixels_occur(tmp_path: Path, dataset: str, space: str, count: int) -> None:
    writers = {"gta5": write_gta5, "synthia": write_synthia, "cityscapes": lambda root, n: write_cityscapes(root, {"train": n})}
    writers[dataset](tmp_path, count)
    config = DataConfig(dataset=dataset, root=str(tmp_path))  # type: ignore[arg-type]
    table = open_table(config, get_label_space(space), domain="source", labels=True)
    ids = np.unique(np.concatenate([table.read_label(i).ravel() for i in range(count)]))
    assert ids.tolist() == [*range(len(table.space)), IGNORE]


def test_images_follow_from_the_seed_and_show_their_labels(tmp_path: Path) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_gta5(tmp_path / folder, 1, seed=seed)
    first, again, other = ((tmp_path / folder / "labels/00001.png").read_bytes() for folder in "abc")
    assert first == again
    assert first != other
    config = DataConfig(dataset="gta5", root=str(tmp_path / "a"))
    image, label = open_table(config, get_label_space("cityscapes19"), domain="source", labels=True).read_pair(0)
    for number, colour in enumerate(get_label_space("cityscapes19").palette):
        assert np.abs(image[label == number].mean(axis=0) - colour).max() < 40
