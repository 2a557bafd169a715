"""Lists in the forms that are in circulation: plain names, prefixes, tab-separated pairs,
files in packages, exceptions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from udacore.config.schema import DataConfig
from udacore.data.tables import ImageTable, open_table
from udacore.errors import DataError
from udacore.labels import get_label_space
from udacore.testing.formats import write_cityscapes, write_gta5, write_synthia

SPACES = {"gta5": "cityscapes19", "synthia": "synthia16", "cityscapes": "cityscapes19"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three data sets; nobody writes into it."""
    root = tmp_path_factory.mktemp("data")
    write_gta5(root / "gta5", 4)
    write_synthia(root / "synthia", 3)
    write_synthia(root / "parsed", 3, parsed=True)
    write_cityscapes(root / "cityscapes", {"train": 3, "val": 2})
    return root


def _open(root: Path, dataset: str, lines: str | None, tmp_path: Path, labels: bool = True, **more: object) -> ImageTable:
    if lines is not None:
        (tmp_path / "list.txt").write_text(lines)
        more["list_"] = str(tmp_path / "list.txt")
    config = DataConfig(dataset=dataset, root=str(root), **more)  # type: ignore[arg-type]
    return open_table(config, get_label_space(SPACES[dataset]), domain="source", labels=labels)


@pytest.mark.parametrize(
    "lines",
    [
        "00003.png\n00001.png\n",
        "00003\n00001",
        "\ufeff00003.png\r\n\r\n# a comment\r\n  00001.png  \r\n",
        "train/00003.png\ntrain/00001.png",
        "images/00003.png\timages/../labels/00003.png\nimages/00001.png\tlabels/00001.png",
    ],
    ids=["names", "keys", "windows", "prefix", "pairs"],
)
def test_the_list_gives_the_order_in_every_form(data: Path, tmp_path: Path, lines: str) -> None:
    table = _open(data / "gta5", "gta5", lines, tmp_path)
    assert table.names == ("00003", "00001")
    plain = _open(data / "gta5", "gta5", None, tmp_path)
    assert (table.read_label(0) == plain.read_label(2)).all()
    assert (table.read_image(1) == plain.read_image(0)).all()


@pytest.mark.parametrize("root", ["synthia", "parsed"])
@pytest.mark.parametrize("lines", ["0000002.png", "RGB/0000002.png", "RAND_CITYSCAPES/RGB/0000002.png"])
def test_synthia_lists_may_name_the_folder(data: Path, tmp_path: Path, root: str, lines: str) -> None:
    table = _open(data / root, "synthia", lines, tmp_path)
    assert table.names == ("0000002",)
    assert table.has_labels


def test_synthia_pairs_are_relative_to_the_root_with_or_without_its_upper_folder(data: Path, tmp_path: Path) -> None:
    table = _open(data / "synthia", "synthia", "RGB/0000001.png\tGT/LABELS/0000001.png", tmp_path)
    assert table.names == ("0000001",)
    assert table.read_label(0).shape == table.size(0)


def test_cityscapes_lists_with_and_without_folders_and_labels(data: Path, tmp_path: Path) -> None:
    stem = "bremen/bremen_000000_000019"
    for line in (f"{stem}_leftImg8bit.png", f"leftImg8bit/train/{stem}_leftImg8bit.png\tgtFine/train/{stem}_gtFine_labelIds.png"):
        table = _open(data / "cityscapes", "cityscapes", line, tmp_path)
        assert table.names == (f"{stem}_leftImg8bit",)
        assert table.read_label(0).shape == (64, 128)


def test_a_list_of_pairs_may_reach_beyond_the_split(data: Path, tmp_path: Path) -> None:
    stem = "lindau/lindau_000000_000019"
    lines = f"leftImg8bit/val/{stem}_leftImg8bit.png\tgtFine/val/{stem}_gtFine_labelIds.png"
    table = _open(data / "cityscapes", "cityscapes", lines, tmp_path)
    assert table.names == (f"leftImg8bit/val/{stem}_leftImg8bit",)
    assert table.read_pair(0)[1].shape == (64, 128)


def test_the_label_column_of_a_target_list_is_not_looked_at(data: Path, tmp_path: Path) -> None:
    stem = "bremen/bremen_000000_000019"
    lines = f"leftImg8bit/train/{stem}_leftImg8bit.png\tgtFine/nowhere.png"
    assert len(_open(data / "cityscapes", "cityscapes", lines, tmp_path, labels=False)) == 1
    with pytest.raises(DataError, match=r"has no label .*gtFine/nowhere\.png"):
        _open(data / "cityscapes", "cityscapes", lines, tmp_path)


def test_a_list_may_lie_in_a_package(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "listpackage"
    (package / "lists").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "lists/two.txt").write_text("00002.png\n00004.png\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    table = _open(data / "gta5", "gta5", None, tmp_path, list_="listpackage:lists/two.txt")
    assert table.names == ("00002", "00004")
    with pytest.raises(DataError, match=r"list listpackage:lists/none.txt: cannot be read"):
        _open(data / "gta5", "gta5", None, tmp_path, list_="listpackage:lists/none.txt")
    with pytest.raises(DataError, match="no package 'nowhere' can be imported"):
        _open(data / "gta5", "gta5", None, tmp_path, list_="nowhere:two.txt")


def test_exceptions_are_left_out_and_count_takes_the_first(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("train/00002.png\n99999.png\n")
    table = _open(data / "gta5", "gta5", None, tmp_path, except_=str(tmp_path / "out.txt"))
    assert table.names == ("00001", "00003", "00004")
    table = _open(data / "gta5", "gta5", None, tmp_path, except_=str(tmp_path / "out.txt"), count=2)
    assert table.names == ("00001", "00003")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("00001.png\n77.png\n78.png", r"no image 77.png in .*images \(1 more missing\)"),
        ("other/00001.png", "no image other/00001.png"),
        ("00001.png\nimages/00001.png", "images/00001.png is listed twice"),
        ("# nothing\n\n", "names no image"),
    ],
)
def test_a_wrong_list_is_one_line(data: Path, tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        _open(data / "gta5", "gta5", lines, tmp_path)
    assert "list.txt" in str(caught.value)


def test_missing_binary_and_useless_lists_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.txt: cannot be read \(No such file"):
        _open(data / "gta5", "gta5", None, tmp_path, list_=str(tmp_path / "none.txt"))
    shutil.copy(data / "gta5/images/00001.png", tmp_path / "picture.txt")
    with pytest.raises(DataError, match=r"picture.txt: not a text file"):
        _open(data / "gta5", "gta5", None, tmp_path, list_=str(tmp_path / "picture.txt"))
    (tmp_path / "out.txt").write_text("a.png\nb.png")
    with pytest.raises(DataError, match=r"out.txt: none of its 2 names is among the images, the first is a.png"):
        _open(data / "gta5", "gta5", None, tmp_path, except_=str(tmp_path / "out.txt"))
    (tmp_path / "all.txt").write_text("00001\n00002\n00003\n00004\n")
    with pytest.raises(DataError, match=r"all.txt leaves no image"):
        _open(data / "gta5", "gta5", None, tmp_path, except_=str(tmp_path / "all.txt"))


def test_a_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = data / "gta5" / "labels"
    scan = os.scandir

    def refuse(place: str | Path) -> object:  # the superuser, who may run tests too, is refused nothing
        if Path(place) == closed:
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"gta5/labels cannot be read \(Permission denied\)"):
        _open(data / "gta5", "gta5", None, tmp_path)


@pytest.mark.parametrize(
    ("rename", "dataset", "split", "said"),
    [
        (("leftImg8bit", "leftImg8bit_foggy"), "cityscapes", "train", "cityscapes holds leftImg8bit_foggy"),
        (("gtFine", "gtCoarse"), "cityscapes", "train", "cityscapes holds gtCoarse, leftImg8bit"),
        (("images", "imgs"), "gta5", "train", "gta5 holds imgs"),
        (("labels", "label"), "gta5", "train", "gta5 holds label"),
        (("RAND_CITYSCAPES", "RAND_CITYSCAPE"), "synthia", "train", "synthia holds RAND_CITYSCAPE"),
    ],
)
def test_what_was_looked_for_and_what_lies_there_is_said(
    rename: tuple[str, str], dataset: str, split: str, said: str, data: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(data / dataset, tmp_path / dataset)
    (root / rename[0]).rename(root / rename[1])
    with pytest.raises(DataError, match=f"no folder of .*; .*{said}"):
        _open(root, dataset, None, tmp_path, split=split)


def test_parsed_labels_of_synthia_go_by_both_names(data: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data / "parsed", tmp_path / "synthia")
    first = _open(root, "synthia", None, tmp_path).read_label(0)
    (root / "synthia_mapped_to_cityscapes").rename(root / "parsed_LABELS")
    assert (_open(root, "synthia", None, tmp_path).read_label(0) == first).all()
