"""The report on a data set: everything wrong at once, by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from udacore.config.schema import DataConfig
from udacore.data.check import DataReport, check_data
from udacore.datasets import get_dataset
from udacore.labels import get_label_space
from udacore.testing.formats import write_cityscapes, write_gta5, write_synthia


def _check(root: Path, dataset: str, space: str = "cityscapes19", labels: bool = True, **more: object) -> DataReport:
    config = DataConfig(dataset=dataset, root=str(root), **more)  # type: ignore[arg-type]
    return check_data(config, get_label_space(space), domain="source", labels=labels)


def test_a_sound_set_is_counted(tmp_path: Path) -> None:
    write_gta5(tmp_path, 3)
    report = _check(tmp_path, "gta5")
    assert report.is_sound
    assert (report.images, report.labels, report.decoded, report.expected) == (3, 3, 3, 24966)
    assert report.encodings == {"P": 3}
    assert report.sizes == {"191 x 105": 1, "191 x 104": 1, "190 x 105": 1}
    assert sum(report.pixels) == 191 * 105 + 191 * 104 + 190 * 105
    assert all(report.holding)
    text = report.render()
    assert "images  3, the complete set has 24966" in text
    assert "3 images of 24966: is a part of the archives missing?" in text
    assert text.endswith("no problems")
    assert json.loads(json.dumps(report.as_dict()))["images"] == 3


def test_the_complete_sets_have_the_published_counts() -> None:
    published = {("gta5", ""): 24966, ("synthia", ""): 9400, ("cityscapes", "train"): 2975, ("cityscapes", "val"): 500}
    assert published == {(name, split): get_dataset(name).expected(split or "train") for name, split in published}


def test_all_that_is_wrong_is_reported_at_once(tmp_path: Path) -> None:
    write_gta5(tmp_path, 6)
    for folder in ("images", "labels"):
        (tmp_path / folder / "00006.png").rename(tmp_path / folder / "15188.png")
    Image.new("RGB", (20, 10)).save(tmp_path / "images/15188.png")
    Image.new("RGB", (20, 10)).save(tmp_path / "images/00002.png")
    (tmp_path / "images/00003.png").write_bytes(b"no image")
    (tmp_path / "labels/00004.png").write_bytes((tmp_path / "labels/00004.png").read_bytes()[:-100])
    Image.new("L", (191, 104), 84).save(tmp_path / "labels/00005.png")
    Image.new("RGB", (191, 104)).save(tmp_path / "images/00005.png")
    report = _check(tmp_path, "gta5")
    problems = "\n".join(report.problems)
    assert "images/00002.png is 20 x 10, but its label" in problems
    assert "images/00003.png is broken" in problems
    assert "labels/00004.png is broken" in problems
    assert "labels/00005.png holds 84" in problems
    assert len(report.problems) == 4
    notes = "\n".join(report.notes)
    assert "images/15188.png is 20 x 10, but its label" in notes
    assert "1 labels are grey" in notes
    assert "no problems" not in report.render()


def test_missing_labels_are_a_problem_and_images_are_still_checked(tmp_path: Path) -> None:
    write_gta5(tmp_path, 3)
    (tmp_path / "labels/00002.png").unlink()
    (tmp_path / "images/00003.png").write_bytes(b"")
    report = _check(tmp_path, "gta5")
    assert report.labels is None
    assert len(report.problems) == 2
    assert "has no label" in report.problems[0]
    assert "images/00003.png is broken" in report.problems[1]


def test_a_missing_root_is_a_report_too(tmp_path: Path) -> None:
    report = _check(tmp_path / "none", "gta5")
    assert not report.is_sound
    assert "problem: gta5: no folder" in report.render()


@pytest.mark.parametrize(("parsed", "encoding"), [(False, "16-bit"), (True, "8-bit")])
def test_the_type_of_synthia_labels_is_told(tmp_path: Path, parsed: bool, encoding: str) -> None:
    write_synthia(tmp_path, 2, parsed=parsed)
    report = _check(tmp_path, "synthia", "synthia16")
    assert report.is_sound
    assert report.encodings == {encoding: 2}


def test_without_labels_none_is_opened(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, {"train": 2})
    for path in (tmp_path / "gtFine").rglob("*.png"):
        path.write_bytes(b"unreadable")
    report = _check(tmp_path, "cityscapes", labels=False)
    assert report.is_sound
    assert (report.images, report.labels, report.pixels) == (2, None, [])
    assert not _check(tmp_path, "cityscapes").is_sound


def test_twenty_labels_are_decoded_or_all(tmp_path: Path) -> None:
    config = DataConfig(count=23, image_size=(32, 16))
    space = get_label_space("streets")
    seen: list[tuple[int, int]] = []
    report = check_data(config, space, domain="source", labels=True, progress=lambda done, todo: seen.append((done, todo)))
    assert report.decoded == 20
    assert seen[-1] == (43, 43)
    assert [done for done, _ in seen] == list(range(1, 44))
    report = check_data(config, space, domain="source", labels=True, full=True)
    assert report.decoded == 23
    assert sum(report.pixels) == 23 * 32 * 16


def test_absent_classes_are_noted(tmp_path: Path) -> None:
    write_synthia(tmp_path, 2)
    report = _check(tmp_path, "synthia", "cityscapes19")
    assert report.is_sound
    assert [note for note in report.notes if "occurs in no label" in note] == [
        f"class {name} occurs in no label" for name in ("terrain", "truck", "train")
    ]


def test_turned_images_and_other_formats_are_noted(tmp_path: Path) -> None:
    write_gta5(tmp_path / "gta5")
    exif = Image.Exif()
    exif[0x0112] = 3
    path = tmp_path / "gta5" / "images" / "00001.png"
    with Image.open(path) as picture:
        picture.save(path, exif=exif)
    (tmp_path / "gta5" / "images" / "movie.gif").touch()
    config = DataConfig(dataset="gta5", root=str(tmp_path / "gta5"))
    notes = check_data(config, get_label_space("cityscapes19"), domain="source", labels=True).notes
    assert f"gta5: 1 of 3 images looked at are turned by their EXIF orientation, first {path}; their labels must be upright too" in notes
    assert any("images: passed over: 1 .gif (read are .png" in note for note in notes)
