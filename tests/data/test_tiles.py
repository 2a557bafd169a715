"""Large images as many samples: windows, what counts once, and a score that is
that of the image put together."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from udacore.cli import main
from udacore.config.schema import DataConfig, EvaluationConfig, TileConfig
from udacore.data import arrays, tiles
from udacore.data.prints import prints_of
from udacore.data.tables import ImageTable, open_table
from udacore.errors import ConfigError, DataError
from udacore.labels import IGNORE, get_label_space
from udacore.testing import formats

Capture = pytest.CaptureFixture[str]
HEIGHT, WIDTH = 45, 70


@pytest.fixture(params=[".png", ".npy"])
def own(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Two images of 70 x 45 and their labels, as PNG and as arrays."""
    generator = np.random.default_rng(0)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        for key in "ab":
            pixels = generator.integers(
                0,
                19 if name == "labels" else 256,
                (HEIGHT, WIDTH) if name == "labels" else (HEIGHT, WIDTH, 3),
            ).astype(np.uint8)
            if request.param == ".npy":
                np.save(tmp_path / name / f"{key}.npy", pixels)
            else:
                Image.fromarray(pixels).save(tmp_path / name / f"{key}.png")
    return tmp_path


def read(
    own: Path,
    size: tuple[int, int] | None,
    stride: tuple[int, int] | None = None,
    *,
    kind: Any = DataConfig,
    **settings: Any,
) -> ImageTable:
    config = kind(
        dataset="folder", root=str(own), split="train", tile=TileConfig(size=size, stride=stride), **settings
    )
    return open_table(config, get_label_space("cityscapes19"), domain="source", labels=True)


def place(name: str) -> tuple[slice, slice]:
    """Rows and columns that the name of a window states."""
    column, row, size = name.partition("@")[2].split("-")
    width, height = (int(each) for each in size.split("x"))
    return slice(int(row), int(row) + height), slice(int(column), int(column) + width)


@pytest.mark.parametrize("stride", [None, (16, 10), (7, 20)])
def test_windows_hold_what_the_image_holds_there_and_cover_it(
    stride: tuple[int, int] | None, own: Path
) -> None:
    whole, tiled = read(own, None), pickle.loads(pickle.dumps(read(own, (32, 20), stride)))
    seen = np.zeros((2, HEIGHT, WIDTH), np.int64)
    for index, name in enumerate(tiled.names):
        image = "ab".index(name[0])
        image_pixels, label = tiled.read_pair(index)
        assert np.array_equal(image_pixels, whole.read_image(image)[place(name)])
        assert np.array_equal(label, whole.read_label(image)[place(name)])
        assert tiled.size(index) == tiled.label_size(index) == label.shape == (20, 32)
        assert tiled.where(index) == whole.where(image)
        seen[image][place(name)] += 1
    assert seen.min() == 1
    assert len(set(tiled.names)) == len(tiled) == 2 * {None: 3 * 3, (16, 10): 4 * 4, (7, 20): 7 * 3}[stride]


@pytest.mark.parametrize("stride", [None, (16, 10), (7, 20)])
def test_each_pixel_of_a_set_that_is_scored_counts_once(stride: tuple[int, int] | None, own: Path) -> None:
    whole, tiled = read(own, None), read(own, (32, 20), stride, kind=EvaluationConfig)
    counted = np.zeros((2, HEIGHT, WIDTH), np.int64)
    for index, name in enumerate(tiled.names):
        image, label = "ab".index(name[0]), tiled.read_label(index)
        counted[image][place(name)] += label != IGNORE
        held = whole.read_label(image)[place(name)]
        assert np.array_equal(label[label != IGNORE], held[label != IGNORE])
    assert (counted == 1).all()


def test_an_image_of_a_windows_size_is_one_window(own: Path) -> None:
    tiled = read(own, (WIDTH, HEIGHT))
    assert tiled.names == ("a@0-0-70x45", "b@0-0-70x45")


def test_windows_of_arrays_are_read_without_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, shape in (("images", (HEIGHT, WIDTH, 3)), ("labels", (HEIGHT, WIDTH))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", np.zeros(shape, np.uint8))
    tiled, copied = read(tmp_path, (32, 20)), []
    array = np.array

    def watched(given: Any, *words: Any, **more: Any) -> Any:
        copied.append(np.shape(given))
        return array(given, *words, **more)

    monkeypatch.setattr(arrays.np, "array", watched)
    tiled.read_pair(4)
    assert set(copied) == {(20, 32, 3), (20, 32)}


def test_an_image_is_decoded_once_for_neighbouring_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats.write_folder(tmp_path, 2, size=(64, 32))
    config = DataConfig(dataset="folder", root=str(tmp_path), tile=TileConfig(size=(32, 16)))
    table = open_table(config, get_label_space("streets"), domain="source", labels=True)
    decoded = []
    monkeypatch.setattr(
        tiles.ImageFiles,
        "read",
        lambda files, index, read=tiles.ImageFiles.read: decoded.append(index) or read(files, index),
    )
    for index in range(len(table)):
        table.read_pair(index)[0][:] = 0  # a window is a copy
    assert decoded == [0, 1]
    assert table.read_image(7).any()


def test_prints_and_keys_of_caches_tell_windows_and_scored_sets_apart(own: Path) -> None:
    tables = [
        read(own, (32, 20)),
        read(own, (20, 32)),
        read(own, (32, 20), kind=EvaluationConfig),
        read(own, None),
    ]
    assert len({table.source_hash() for table in tables}) == 4
    first, other, *_ = (prints_of(table) for table in tables)
    assert first["count"] == 18
    assert first["prints"] != other["prints"]


@pytest.mark.parametrize(
    ("size", "stride", "error", "said"),
    [
        ((71, 20), None, DataError, r"tile\.size: 71 x 20 is larger than image .*a\.(png|npy) of 70 x 45"),
        ((32, 46), None, DataError, r"tile\.size: 32 x 46 is larger than image"),
        ((32, 20), (33, 20), ConfigError, r"tile\.stride: 33 x 20 leaves gaps between tiles of 32 x 20"),
    ],
)
def test_windows_that_do_not_fit_are_named(size: Any, stride: Any, error: type, said: str, own: Path) -> None:
    with pytest.raises(error, match=said):
        read(own, size, stride)


def test_a_label_of_another_size_than_its_image_is_named(tmp_path: Path) -> None:
    formats.write_folder(tmp_path, 1, size=(64, 32))
    Image.new("L", (60, 32)).save(tmp_path / "labels/00000.png")
    config = DataConfig(dataset="folder", root=str(tmp_path), tile=TileConfig(size=(32, 16)))
    table = open_table(config, get_label_space("streets"), domain="source", labels=True)
    assert table.label_size(0) == (32, 60)
    with pytest.raises(DataError, match=r"label .*00000\.png is 60 x 32, but its image 64 x 32"):
        table.read_label(0)


def test_the_check_counts_images_and_says_how_many_tiles_they_are(tmp_path: Path, capsys: Capture) -> None:
    formats.write_potsdam(tmp_path, {"train": 2})
    words = ["data", "check", "--dataset", "potsdam", "--root", str(tmp_path)]
    assert main([*words, "tile.size=[64,48]"]) == 0
    shown = capsys.readouterr().out
    assert "images  2, the complete set has 24" in shown
    assert "sizes   96 x 96: 2" in shown
    assert "note: 8 samples in tiles of 64 x 48" in shown
    assert main([*words, "tile.size=[64,97]"]) == 3
    assert "problem: tile.size: 64 x 97 is larger than image" in capsys.readouterr().out


def check_predictions(row: dict[str, Any], capsys: Capture) -> None:
    """What `uda predict` writes for the whole images, tiled as the set is, has the scores of the run."""
    table = open_table(EvaluationConfig(dataset="potsdam", root="potsdam", split="val"), get_label_space("isprs6"), domain="target", labels=True)
    assert main(["predict", "runs/tiles", *(table.where(index) for index in range(len(table))), "--out", "labels"]) == 0
    capsys.readouterr()
    counts = np.zeros((7, 7))
    for index in range(len(table)):
        truth = np.minimum(table.read_label(index), 6)
        found = np.asarray(Image.open(Path("labels", Path(table.where(index)).stem + ".png")))
        counts += np.bincount((truth * 7 + found).ravel(), minlength=49).reshape(7, 7)
    counts = counts[:6, :6]
    right, union = counts.diagonal(), counts.sum(0) + counts.sum(1) - counts.diagonal()
    iou = dict(zip(table.space.classes, right / np.maximum(union, 1), strict=True))
    assert {name: value for name, value in row["iou"].items() if value} == pytest.approx({name: value for name, value in iou.items() if value})
    assert any(iou.values())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_trains_on_tiles_and_is_scored_on_tiles_or_whole_images(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    formats.write_potsdam(tmp_path / "potsdam", {"train": 2, "val": 2})
    words = [
        f"{entry}.{word}"
        for entry in ("source", "target", "evaluate.target")
        for word in ("dataset=potsdam", "root=potsdam")
    ]
    words += [
        "source.tile.size=[48,32]",
        "source.tile.stride=[32,32]",
        "target.tile.size=[48,32]",
        "evaluate.target.split=val",
    ]
    words += [
        "evaluate.source=null",
        "label_space=isprs6",
        "rounds.source.steps=2",
        "batch=2",
        "tensorboard=false",
        "device=cpu",
    ]
    words += [
        "threads=1",
        f"workers={workers}",
        "evaluate.target.tile.size=[96,64]",
        "evaluate.target.tile.stride=[96,32]",
        "name=tiles",
    ]
    assert main(["run", "streets", *words]) == 0, capsys.readouterr().err
    row = json.loads((tmp_path / "runs/tiles/metrics.jsonl").read_text().splitlines()[-1])
    assert row["protocol"]["tile"] == [96, 64]
    assert row["protocol"]["tile_stride"] == [96, 32]
    assert row["protocol"]["images"] == 4
    read_from = json.loads((tmp_path / "runs/tiles/env.json").read_text())["data"]
    told = ["images and labels of potsdam, 18 as source", "images and labels of potsdam, 4 as target"]
    assert sorted(each.partition(", from")[0] for each in read_from) == told
    check_predictions(row, capsys)
    again = ["evaluate.target.tile.size=null", "evaluate.target.tile.stride=null", "--json"]
    assert main(["eval", "runs/tiles", *again]) == 0, capsys.readouterr().err
    whole = json.loads(capsys.readouterr().out)[0]
    assert "tile" not in whole["protocol"]
    assert set(whole["iou"]) == set(row["iou"])
