"""Data sets of streets beyond those of the presets: miniatures in their formats are read by the
records, label for label."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from udacore.cli import main
from udacore.config.schema import DataConfig
from udacore.data.sets import mapillary
from udacore.data.tables import ImageTable, open_table
from udacore.datasets import get_dataset, list_datasets
from udacore.errors import DataError
from udacore.labels import CITYSCAPES_IDS, CLASSES19, IGNORE, get_label_space
from udacore.testing import formats

Capture = pytest.CaptureFixture[str]
TRAIN_IDS = {number: number for number in range(19)}
RAW_IDS = {raw: CLASSES19.index(name) for name, raw in CITYSCAPES_IDS.items()}

# data set, what writes it, split, and where the label of an image lies
SETS: dict[str, tuple[Callable[..., Any], str, Callable[[str], str], dict[int, int]]] = {
    "acdc": (formats.write_acdc, "val", lambda key: f"gt/{key.replace('_rgb_anon', '_gt_labelIds')}.png", RAW_IDS),
    "acdc-ref": (formats.write_acdc, "val_ref", lambda key: f"gt/{key.replace('_rgb_ref_anon', '_gt_ref_labelIds')}.png", RAW_IDS),
    "dark_zurich": (formats.write_dark_zurich, "val", lambda key: f"gt/{key.replace('_rgb_anon', '_gt_labelIds')}.png", RAW_IDS),
    "bdd100k": (formats.write_bdd100k, "val", lambda key: f"labels/sem_seg/masks/val/{key}.png", TRAIN_IDS),
    "urbansyn": (formats.write_urbansyn, "train", lambda key: f"ss/{key.replace('rgb', 'ss')}.png", TRAIN_IDS),
    "synscapes": (formats.write_synscapes, "train", lambda key: f"img/class/{key}.png", RAW_IDS),
}


def read(dataset: str, root: Path, *, labels: bool = True, **settings: Any) -> ImageTable:
    config = DataConfig(dataset=dataset, root=str(root), **settings)
    space = get_dataset(dataset).label_space or "streets"
    return open_table(config, get_label_space(space), domain="target", labels=labels)


@pytest.mark.parametrize("name", SETS)
def test_labels_are_those_of_the_files(name: str, tmp_path: Path) -> None:
    write, split, place, ids = SETS[name]
    written = write(tmp_path)
    keys = written[split] if isinstance(written, dict) else written
    table = read(name.partition("-")[0], tmp_path, split=split)
    assert list(table.names) == keys
    found: set[int] = set()
    for index, key in enumerate(keys):
        image, label = table.read_pair(index)
        assert image.shape == (*label.shape, 3)
        raw = np.array(Image.open(tmp_path / place(key)))
        assert label.tolist() == [[ids.get(int(each), IGNORE) for each in row] for row in raw]
        found |= set(np.unique(label).tolist())
    assert found == {*range(19), IGNORE}


def test_every_built_in_data_set_of_files_can_be_imitated() -> None:
    of_files = [name for name in list_datasets() if get_dataset(name).find_files is not None]
    assert len(of_files) > 12
    for name in of_files:
        assert name in get_dataset(name).miniatures


def test_conditions_of_acdc_are_chosen_and_belong_to_what_is_expected(tmp_path: Path, capsys: Capture) -> None:
    formats.write_acdc(tmp_path, {"train": 6, "val": 4})
    every = read("acdc", tmp_path).names
    fog = read("acdc", tmp_path, condition="fog").names
    assert len(every) == 6
    assert [name for name in every if name.startswith("fog/")] == list(fog)
    assert all(name.startswith("fog/train/GOPR") for name in fog)
    night = read("acdc", tmp_path, condition="night", split="val_ref").names
    assert [name.rpartition("_frame_")[2] for name in night] == ["000042_rgb_ref_anon"]
    assert main(["data", "check", "--dataset", "acdc", "--root", str(tmp_path), "condition=night", "split=val"]) == 0
    assert "images  1, the complete set has 106" in capsys.readouterr().out


def test_lists_name_images_with_or_without_the_folder_above(tmp_path: Path) -> None:
    keys = formats.write_acdc(tmp_path / "acdc")["train"]
    (tmp_path / "few.txt").write_text(f"rgb_anon/{keys[1]}.png\n{keys[0]}\n")
    assert read("acdc", tmp_path / "acdc", list_=str(tmp_path / "few.txt")).names == (keys[1], keys[0])


@pytest.mark.parametrize(
    ("dataset", "settings", "said"),
    [
        ("acdc", {"condition": "foggy"}, "acdc: no condition 'foggy'; did you mean 'fog'"),
        ("acdc", {"split": "val_reff"}, "acdc: no split 'val_reff'; did you mean 'val_ref'"),
        ("acdc", {"split": "test"}, r"acdc: no image fog/test/\*_rgb_anon in .*rgb_anon, which holds 10 other images"),
        ("dark_zurich", {"condition": "dusk"}, "dark_zurich: no condition 'dusk'; possible: all, night, twilight, day"),
        ("dark_zurich", {}, r"no label .*_gt_labelIds\.png .*of Dark Zurich's images only those of split val have labels"),
        ("mapillary", {"split": "training"}, "mapillary: no split 'training'; did you mean 'train'"),
        ("bdd100k", {"split": "vall"}, "bdd100k: no split 'vall' in .*10k; did you mean 'val'"),
        ("idd", {"split": "test"}, "idd: no split 'test' in .*leftImg8bit; possible: train, val"),
    ],
)
def test_words_that_a_data_set_does_not_know_are_named(
    dataset: str, settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    getattr(formats, f"write_{dataset}")(tmp_path)
    with pytest.raises(DataError, match=said):
        read(dataset, tmp_path, **settings)


def write_train_ids(folder: Path, *, keep: bool = False) -> None:
    """Labels of train ids as programs write them, beside those of raw ids or in their place."""
    for path in folder.rglob("*_labelIds.png"):
        raw = np.array(Image.open(path))
        train = np.array([RAW_IDS.get(each, IGNORE) for each in range(256)], np.uint8)[raw]
        Image.fromarray(train).save(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
        if not keep:
            path.unlink()


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", ["acdc", "dark_zurich"])
def test_train_ids_are_read_where_there_are_no_others(name: str, keep: bool, tmp_path: Path) -> None:
    SETS[name][0](tmp_path)
    before = [read(name, tmp_path, split="val").read_label(index) for index in range(2)]
    write_train_ids(tmp_path / "gt", keep=keep)
    after = [read(name, tmp_path, split="val").read_label(index) for index in range(2)]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def merge_conditions(root: Path, *, copy: bool = False) -> None:
    """`<condition>/<split>/<sequence>` as `<split>/<sequence>`, in which sequences of one name are joined."""
    for top in ("rgb_anon", "gt"):
        for path in sorted(root.glob(f"{top}/*/*/*/*.png")):
            split, sequence = path.parts[-3:-1]
            place = root / top / split / sequence / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copyfile if copy else shutil.move)(path, place)
        if not copy:
            for condition in ("fog", "night", "rain", "snow"):
                shutil.rmtree(root / top / condition)


def test_merged_conditions_of_acdc_are_read(tmp_path: Path, capsys: Capture) -> None:
    formats.write_acdc(tmp_path, {"train": 6, "val": 4})
    apart = read("acdc", tmp_path)
    labels = {name.rpartition("/")[2]: apart.read_label(index) for index, name in enumerate(apart.names)}
    merge_conditions(tmp_path)
    write_train_ids(tmp_path / "gt")
    merged = read("acdc", tmp_path)
    assert len(merged) == 6
    assert all(name.startswith("train/GOPR") for name in merged.names)
    for index, name in enumerate(merged.names):
        assert np.array_equal(merged.read_label(index), labels[name.rpartition("/")[2]])
    assert len(read("acdc", tmp_path, split="val_ref", labels=False)) == 4
    assert main(["data", "check", "--dataset", "acdc", "--root", str(tmp_path), "split=val"]) == 0
    assert "images  4, the complete set has 406" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"acdc: no condition 'fog': .*rgb_anon/train holds those of all, merged; possible: all"):
        read("acdc", tmp_path, condition="fog")


def test_a_merged_copy_beside_the_conditions_does_not_count_twice(tmp_path: Path) -> None:
    formats.write_acdc(tmp_path, {"train": 6, "val": 4})
    before = read("acdc", tmp_path).names
    merge_conditions(tmp_path, copy=True)
    assert read("acdc", tmp_path).names == before
    assert len(read("acdc", tmp_path, condition="snow")) == 1


def test_dark_zurich_is_a_target_without_labels_and_is_scored_on_val(tmp_path: Path, capsys: Capture) -> None:
    formats.write_dark_zurich(tmp_path, {"train": 4, "val": 2})
    night = read("dark_zurich", tmp_path, labels=False, condition="night").names
    assert [name.split("/")[1] for name in night] == ["night", "night"]
    assert all(name.startswith("val_ref/day/") for name in read("dark_zurich", tmp_path, labels=False, split="val_ref").names)
    words = ["data", "check", "--dataset", "dark_zurich", "--root", str(tmp_path)]
    assert main([*words, "condition=night"]) == 0
    assert "images  2, the complete set has 2416" in capsys.readouterr().out
    assert main([*words, "split=val"]) == 0
    assert "labels  2" in capsys.readouterr().out


@pytest.mark.parametrize(("dataset", "folder"), [("mapillary", "labels"), ("mapillary", "v1.2/labels"), ("mapillary_v2", "v2.0/labels")])
def test_several_ids_of_mapillary_are_one_class(dataset: str, folder: str, tmp_path: Path) -> None:
    keys = getattr(formats, f"write_{dataset}")(tmp_path)["train"]
    if folder == "v1.2/labels":
        (tmp_path / "training/v1.2").mkdir()
        (tmp_path / "training/labels").rename(tmp_path / "training/v1.2/labels")
    ids = mapillary.IDS_2 if dataset == "mapillary_v2" else mapillary.IDS
    expected = {raw: CLASSES19.index(name) for name, each in ids.items() for raw in np.atleast_1d(each).tolist()}
    table = read(dataset, tmp_path)
    raws: set[int] = set()
    for index, key in enumerate(keys):
        raw = np.array(Image.open(tmp_path / "training" / folder / f"{key}.png"))
        label = table.read_label(index)
        assert label.tolist() == [[expected.get(int(each), IGNORE) for each in row] for row in raw]
        raws |= set(np.unique(raw).tolist())
    assert len(raws & expected.keys()) > 19


def test_the_two_tables_of_mapillary_name_each_id_once_and_each_class() -> None:
    for ids, highest in ((mapillary.IDS, 65), (mapillary.IDS_2, 123)):
        assert set(ids) == set(CLASSES19)
        flat = [raw for each in ids.values() for raw in np.atleast_1d(each).tolist()]
        assert len(flat) == len(set(flat))
        assert max(flat) < highest


def test_polygons_of_idd_are_drawn_in_their_order(tmp_path: Path) -> None:
    image = tmp_path / "leftImg8bit/val/7/1_leftImg8bit.png"
    label = tmp_path / "gtFine/val/7/1_gtFine_polygons.json"
    for path in (image, label):
        path.parent.mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(image)
    boxes = [("road", 0, 0, 0, 7, 5), ("sky", 1, 0, 0, 7, 5), ("cargroup", 0, 1, 1, 3, 3), ("animal", 0, 3, 3, 5, 4), ("curb", 0, 9, 9, 9, 9)]
    boxes.append(("non-drivable fallback", 0, 6, 0, 7, 1))
    things = [
        {"label": name, "deleted": deleted, "polygon": [[left, top], [right, top], [right, bottom], [left, bottom]]}
        for name, deleted, left, top, right, bottom in boxes
    ]
    things.append({"label": "bus", "polygon": [[0, 0]]})
    label.write_text(json.dumps({"imgHeight": 6, "imgWidth": 8, "objects": things}))
    expected = np.zeros((6, 8), np.uint8)
    expected[1:4, 1:4] = CLASSES19.index("car")
    expected[3:5, 3:6] = IGNORE
    expected[0:2, 6:8] = CLASSES19.index("terrain")
    table = read("idd", tmp_path, split="val")
    assert table.label_size(0) == (6, 8)
    assert table.read_label(0).tolist() == expected.tolist()
    mask = label.with_name("1_gtFine_labelcsTrainIds.png")
    Image.fromarray(np.full((6, 8), 3, np.uint8)).save(mask)
    table = read("idd", tmp_path, split="val")
    assert table.label_size(0) == (6, 8)
    assert (table.read_label(0) == 3).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "polygons.json is broken or no image"),
        ("[]", "polygons of IDD have imgWidth, imgHeight and objects"),
        ('{"imgWidth": 4, "imgHeight": 4, "objects": [{"label": "car"}]}', "each with label and polygon"),
        ('{"imgWidth": 4, "imgHeight": -4, "objects": []}', "polygons of IDD have imgWidth"),
        ('{"imgWidth": 4, "imgHeight": 4, "objects": [{"label": "ufo", "polygon": [[0, 0], [1, 1], [0, 1]]}]}', "no label of IDD is named 'ufo'"),
        ('{"imgWidth": 4, "imgHeight": 4, "objects": [{"label": "car", "polygon": [[0], [1, 1]]}]}', "is broken or no image"),
    ],
)
def test_polygons_that_are_none_are_named_with_their_file(text: str, said: str, tmp_path: Path) -> None:
    formats.write_idd(tmp_path)
    path = sorted((tmp_path / "gtFine/train").rglob("*.json"))[0]
    path.write_text(text)
    with pytest.raises(DataError, match=said) as raised:
        read("idd", tmp_path).read_label(0)
    assert path.name in str(raised.value)


def test_urban_and_rural_images_are_two_domains_of_loveda(tmp_path: Path, capsys: Capture) -> None:
    written = formats.write_loveda(tmp_path, {"train": 4, "val": 2})
    urban, rural = (read("loveda", tmp_path, scene=scene) for scene in ("urban", "rural"))
    assert sorted((*urban.names, *rural.names)) == written["train"] == list(read("loveda", tmp_path).names)
    assert {name.split("/")[0] for name in urban.names} == {"Urban"}
    for table in (urban, rural):
        for index, name in enumerate(table.names):
            raw = np.array(Image.open(tmp_path / "Train" / f"{name.replace('images_png', 'masks_png')}.png"))
            assert np.array_equal(table.read_label(index), raw - np.uint8(1))  # 0, no data, becomes 255
    assert main(["data", "check", "--dataset", "loveda", "--root", str(tmp_path), "split=val", "scene=rural"]) == 0
    assert "images  1, the complete set has 992" in capsys.readouterr().out
    with pytest.raises(DataError, match="loveda: no scene 'city'; possible: all, urban, rural"):
        read("loveda", tmp_path, scene="city")


def test_a_run_adapts_from_the_city_to_the_country(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    formats.write_loveda(tmp_path / "loveda", 4, size=(64, 64))
    words = [f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("dataset=loveda", "root=loveda")]
    words += ["source.scene=urban", "target.scene=rural", "evaluate.target.split=val", "evaluate.source=null", "label_space=loveda7"]
    words += ["rounds.source.steps=1", "batch=2", "tensorboard=false", "device=cpu", "threads=1", "workers=0", "name=land"]
    assert main(["run", "streets", *words]) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "agriculture" in shown
    assert "dataset loveda, domain target, split val, scene all, images 1" in shown
