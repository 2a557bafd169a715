"""Foggy Cityscapes, test splits, and data sets of one part: what is asked for is read, or the
words say what there is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from udacore.config.schema import DataConfig, EvaluationConfig
from udacore.data.check import check_data
from udacore.data.replacements import with_labels
from udacore.data.tables import ImageTable, check_pairs, open_table
from udacore.errors import DataError
from udacore.labels import CITYSCAPES_IDS, CLASSES19, get_label_space
from udacore.testing.formats import write_cityscapes, write_foggy_cityscapes, write_gta5, write_streets, write_synthia

AACHEN = "aachen/aachen_000000_000019_leftImg8bit"


def _open(root: Path, dataset: str = "foggy_cityscapes", space: str = "cityscapes19", labels: bool = True, **more: object) -> ImageTable:
    config = DataConfig(dataset=dataset, root=str(root), **more)  # type: ignore[arg-type]
    return open_table(config, get_label_space(space), domain="target", labels=labels)


def test_beta_picks_the_images_and_all_have_the_labels_of_cityscapes(tmp_path: Path) -> None:
    write_foggy_cityscapes(tmp_path / "fog")
    write_cityscapes(tmp_path / "clear")
    clear = _open(tmp_path / "clear", "cityscapes")
    contrast = [clear.read_image(0).std()]
    for beta in (0.005, 0.01, 0.02):
        foggy = _open(tmp_path / "fog", beta=beta)
        assert foggy.names == tuple(f"{name}_foggy_beta_{beta}" for name in clear.names)
        assert all(np.array_equal(foggy.read_label(i), clear.read_label(i)) for i in range(3))
        check_pairs(foggy)
        contrast.append(foggy.read_image(0).std())
    assert contrast == sorted(contrast, reverse=True)
    assert _open(tmp_path / "fog").names == foggy.names  # 0.02 is the default


def test_fog_in_the_folder_of_cityscapes_changes_nothing_there(tmp_path: Path) -> None:
    write_cityscapes(tmp_path)
    write_foggy_cityscapes(tmp_path, labels=False)
    assert (len(_open(tmp_path, "cityscapes")), len(_open(tmp_path))) == (3, 3)


def test_pseudo_labels_of_foggy_images_are_found_by_their_whole_names(tmp_path: Path) -> None:
    write_foggy_cityscapes(tmp_path / "fog", labels=False)
    table = _open(tmp_path / "fog", labels=False)
    for number, name in enumerate(table.names):
        path = tmp_path / "labels" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((64, 128), number, np.uint8)).save(path)
    assert [int(with_labels(table, tmp_path / "labels").read_label(i).max()) for i in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    "line", [f"{AACHEN}.png", f"leftImg8bit/train/{AACHEN}.png", "train/aachen/aachen_000000_000019", f"{AACHEN}_foggy_beta_0.01.png"]
)
def test_lists_of_cityscapes_hold_for_its_foggy_images(line: str, tmp_path: Path) -> None:
    write_foggy_cityscapes(tmp_path / "fog")
    (tmp_path / "list.txt").write_text(f"{line}\n")
    assert _open(tmp_path / "fog", beta=0.01, list_=str(tmp_path / "list.txt")).names == (f"{AACHEN}_foggy_beta_0.01",)


def _move(root: Path, old: str, new: str) -> None:
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    (root / old).rename(root / new)


@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        (None, {"beta": 0.03}, r"no image \*_foggy_beta_0.03.png in .*, which holds 9 other images, the first .*; beta there: 0.005, 0.01, 0.02$"),
        (None, {"split": "vall"}, r"foggy_cityscapes: no split 'vall' in .*leftImg8bit_foggy; did you mean 'val'"),
        (("leftImg8bit_foggy", "leftImg8bit_foggyDBF"), {}, r"no folder of images .*leftImg8bit_foggy/train; .* holds leftImg8bit_foggyDBF"),
        (("gtFine", "gtfine"), {}, r"no folder of labels .*gtFine/train; .* holds gtfine.*; its labels are those of Cityscapes: .*/gtFine$"),
        ((f"leftImg8bit_foggy/train/{AACHEN}_foggy_beta_0.02.png", "x.png"), {}, None),
    ],
)
def test_what_is_missing_of_the_fog_is_said_with_what_is_there(
    change: tuple[str, str] | None, settings: dict[str, object], said: str | None, tmp_path: Path
) -> None:
    write_foggy_cityscapes(tmp_path / "fog")
    if change:
        _move(tmp_path / "fog", *change)
    if said is None:
        assert len(_open(tmp_path / "fog", **settings)) == 2
        return
    with pytest.raises(DataError, match=said.replace("*_foggy", "*_leftImg8bit_foggy")):
        _open(tmp_path / "fog", **settings)


def test_images_by_other_names_are_no_empty_folder(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, {"train": 1})
    _move(tmp_path, f"leftImg8bit/train/{AACHEN}.png", "leftImg8bit/train/aachen/one.png")
    with pytest.raises(DataError, match=r"no image \*_leftImg8bit.png in .*, which holds 1 other images, the first aachen/one$"):
        _open(tmp_path, "cityscapes")


def test_a_missing_root_names_folders_with_names_like_it(tmp_path: Path) -> None:
    for name in ("cityscapes_foggy", "gta5"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=f"no folder {tmp_path}/foggy_cityscapes; {tmp_path} holds cityscapes_foggy$"):
        _open(tmp_path / "foggy_cityscapes")


def _to_train_ids(root: Path) -> None:
    """Rename each labelIds file to labelTrainIds and write its train ids into it, as
    Cityscapes' scripts would."""
    table = np.full(256, 255, np.uint8)
    table[[CITYSCAPES_IDS[name] for name in CLASSES19]] = range(19)
    for path in list(root.rglob("*_labelIds.png")):
        Image.fromarray(table[np.array(Image.open(path))]).save(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
        path.unlink()


@pytest.mark.parametrize("space", ["cityscapes19", "synthia16"])
@pytest.mark.parametrize("dataset", ["cityscapes", "foggy_cityscapes"])
def test_train_ids_are_read_where_there_are_no_raw_ids(dataset: str, space: str, tmp_path: Path) -> None:
    write = write_cityscapes if dataset == "cityscapes" else write_foggy_cityscapes
    write(tmp_path)
    raw = [_open(tmp_path, dataset, space).read_label(i) for i in range(3)]
    _to_train_ids(tmp_path)
    table = _open(tmp_path, dataset, space)
    check_pairs(table)
    assert all(np.array_equal(table.read_label(i), raw[i]) for i in range(3))


def test_raw_ids_and_train_ids_are_not_mixed(tmp_path: Path) -> None:
    write_cityscapes(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    _to_train_ids(tmp_path / "two")
    (next((tmp_path / "one").rglob("*aachen*_labelIds.png"))).unlink()
    shutil.copytree(tmp_path / "two/gtFine/train/aachen", tmp_path / "one/gtFine/train/aachen", dirs_exist_ok=True)
    with pytest.raises(DataError, match=r"two encodings: .*aachen.*_labelTrainIds.png holds train ids, .*_labelIds.png raw ids"):
        _open(tmp_path / "one", "cityscapes")


@pytest.mark.parametrize("dataset", ["cityscapes", "foggy_cityscapes"])
@pytest.mark.parametrize("state", ["void", "missing", "no folder"])
def test_the_test_split_has_images_and_its_labels_are_not_published(dataset: str, state: str, tmp_path: Path) -> None:
    write = write_cityscapes if dataset == "cityscapes" else write_foggy_cityscapes
    write(tmp_path, {"test": 2, "val": 1})
    labels = sorted((tmp_path / "gtFine/test").rglob("*.png"))
    for path in labels:
        Image.new("L", (128, 64), 3).save(path) if state == "void" else path.unlink()
    if state == "no folder":
        shutil.rmtree(tmp_path / "gtFine/test")
    assert len(labels) == 2
    target = _open(tmp_path, dataset, labels=False, split="test")
    check_pairs(target)
    assert target.read_image(1).shape == (64, 128, 3)
    said = "the labels of Cityscapes' test split are not published, .*; use split val$"
    with pytest.raises(DataError, match=said):
        check_pairs(_open(tmp_path, dataset, split="test"))
    report = check_data(
        DataConfig(dataset=dataset, root=str(tmp_path), split="test"),  # type: ignore[arg-type]
        get_label_space("cityscapes19"), domain="target", labels=True,
    )  # fmt: skip
    assert [problem.endswith("use split val") for problem in report.problems] == [True]


@pytest.mark.parametrize("dataset", ["gta5", "synthia", "folder"])
def test_a_data_set_of_one_part_is_not_asked_for_another(dataset: str, tmp_path: Path) -> None:
    {"gta5": write_gta5, "synthia": write_synthia, "folder": lambda root: write_streets(root, "source")}[dataset](tmp_path)  # type: ignore[operator]
    space = {"gta5": "cityscapes19", "synthia": "synthia16", "folder": "streets"}[dataset]
    assert len(_open(tmp_path, dataset, space)) >= 3
    for split in ("val", "test", "anything"):
        with pytest.raises(DataError, match=f"{dataset}: no split '{split}': .* one part, split train; choose among them by list"):
            _open(tmp_path, dataset, space, split=split)
    scored = EvaluationConfig(dataset=dataset, root=str(tmp_path))  # type: ignore[arg-type]
    assert scored.split == "val"  # a default, and what presets name: no wish of the user's
    assert open_table(scored, get_label_space(space), domain="target", labels=True).has_labels


@pytest.mark.parametrize(("split", "example"), [("val", "images/val"), ("test", "images/train")])
def test_folders_by_the_names_of_splits_are_named_where_one_is_asked_for(split: str, example: str, tmp_path: Path) -> None:
    write_streets(tmp_path / "flat", "source")
    for part in ("train", "val"):
        for kind in ("images", "labels"):
            shutil.copytree(tmp_path / "flat" / kind, tmp_path / "own" / kind / part)
    said = f"no split '{split}': .*; it holds folders train, val: name one by image_folder, such as {example}, and label_folder$"
    for kind in (DataConfig, EvaluationConfig):
        with pytest.raises(DataError, match=said):
            open_table(kind(dataset="folder", root=str(tmp_path / "own"), split=split), get_label_space("streets"), domain="target", labels=True)
    parted = EvaluationConfig(dataset="folder", root=str(tmp_path / "own"), image_folder="images/val", label_folder="labels/val")
    assert len(open_table(parted, get_label_space("streets"), domain="target", labels=True)) == 4
