"""Labels as colours and in one channel, arrays and TIFFs as images and labels,
and the data sets made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from udacore.cli import main
from udacore.config.schema import DataConfig
from udacore.data.colours import ColourLabels, parse_colour
from udacore.data.sets.isprs import POTSDAM, VAIHINGEN
from udacore.data.tables import ImageTable, open_table
from udacore.datasets import get_dataset
from udacore.errors import ConfigError, DataError
from udacore.labels import IGNORE, ISPRS_COLOURS, get_label_space
from udacore.testing import formats

Capture = pytest.CaptureFixture[str]
MAP = {"255 0 0": "water", "0, 0, 255": "grass", "#000000": 255}
PATTERN = np.array([[0, 1, 2], [2, 1, 0]])
COLOURS = np.array([(255, 0, 0), (0, 0, 255), (0, 0, 0)], np.uint8)
EXPECTED = [[0, 1, IGNORE], [IGNORE, 1, 0]]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of two classes with one image; the label is written by the test."""
    (tmp_path / "own.yaml").write_text("classes: [water, grass]\n")
    for name in ("images", "labels"):
        (tmp_path / "own" / name).mkdir(parents=True)
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "own/images/a.png")
    return tmp_path / "own"


def read(own: Path, **settings: Any) -> ImageTable:
    config = DataConfig(dataset="folder", root=str(own), **settings)
    return open_table(config, get_label_space(own.parent / "own.yaml"), domain="source", labels=True)


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".png", "RGB"), (".png", "RGBA"), (".png", "P"), (".tif", "RGB"), (".tif", "RGBA"), (".bmp", "RGB")]
)
def test_colours_are_classes(suffix: str, mode: str, own: Path) -> None:
    picture = Image.fromarray(COLOURS[PATTERN])
    if mode == "RGBA":
        picture.putalpha(Image.fromarray(np.full((2, 3), 7, np.uint8)))  # does not mix into the colours
    picture = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=3) if mode == "P" else picture
    picture.save(own / f"labels/a{suffix}")
    with Image.open(own / f"labels/a{suffix}") as written:
        assert written.mode == mode
    table = read(own, label_colours=MAP)
    assert table.read_label(0).tolist() == EXPECTED
    assert table.label_size(0) == (2, 3)


def test_a_large_label_is_read_in_parts(own: Path) -> None:
    pattern = np.random.default_rng(0).integers(0, 3, (1300, 2))
    Image.fromarray(COLOURS[pattern]).save(own / "labels/a.png")
    assert np.array_equal(read(own, label_colours=MAP).read_label(0), np.array([0, 1, IGNORE])[pattern])


@pytest.mark.parametrize("channel", ["red", "green", "blue", "alpha"])
def test_numbers_may_lie_in_one_channel(channel: str, own: Path) -> None:
    pixels = np.full((2, 3, 4), 9, np.uint8)
    pixels[..., ("red", "green", "blue", "alpha").index(channel)] = PATTERN
    Image.fromarray(pixels).save(own / "labels/a.png")
    table = read(own, label_channel=channel, label_map={0: "grass", 2: "water"})
    assert table.read_label(0).tolist() == [[1, IGNORE, 0], [0, IGNORE, 1]]


def test_numbers_are_read_from_arrays_and_tiffs(own: Path) -> None:
    np.save(own / "labels/a.npy", PATTERN.astype(np.int64) - 1)
    assert read(own, label_map={0: "water", 1: "grass"}).read_label(0).tolist() == [[IGNORE, 0, 1], [1, 0, IGNORE]]
    (own / "labels/a.npy").unlink()
    Image.fromarray((PATTERN % 2).astype(np.uint8)).save(own / "labels/a.tif")
    table = read(own)
    assert table.label_size(0) == (2, 3)
    assert table.read_label(0).tolist() == [[0, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 1), (np.uint16, 257)])
@pytest.mark.parametrize("grey", [False, True])
def test_images_are_read_from_arrays(dtype: type, scale: int, grey: bool, own: Path) -> None:
    (own / "images/a.png").unlink()
    pixels = np.random.default_rng(1).integers(0, 256, (4, 5) if grey else (4, 5, 3)).astype(np.uint8)
    np.save(own / "images/b.npy", (pixels.astype(np.int64) * scale).astype(dtype))
    Image.new("L", (5, 4)).save(own / "labels/b.png")
    table = read(own)
    assert table.names == ("b",)
    assert table.size(0) == (4, 5)
    image, _ = table.read_pair(0)
    assert image.dtype == np.uint8
    assert np.array_equal(image, np.repeat(pixels[..., None], 3, 2) if grey else pixels)


def test_an_array_beside_an_image_of_its_name_is_passed_over(own: Path) -> None:
    np.save(own / "images/a.npy", np.zeros((9, 9)))
    Image.new("L", (3, 2)).save(own / "labels/a.png")
    assert read(own).read_image(0).shape == (2, 3, 3)


def test_a_list_may_name_an_array(own: Path) -> None:
    np.save(own / "images/b.npy", np.zeros((2, 3, 3), np.uint8))
    (own.parent / "few.txt").write_text("b.npy\n")
    for name in "ab":
        Image.new("L", (3, 2)).save(own / f"labels/{name}.png")
    assert read(own, list_=str(own.parent / "few.txt")).names == ("b",)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 3, 3)), r"image .*b\.npy is an array of float64 \(2, 3, 3\), expected 8 or 16 bits, H W or H W 3"),
        (np.zeros((2, 3, 4), np.uint8), r"image .*b\.npy is an array of uint8 \(2, 3, 4\)"),
        (np.array([{}, {}]), r"image .*b\.npy is broken or no array \(.*Python objects"),
        (np.zeros(4, np.uint8), r"image .*b\.npy is an array of uint8 \(4"),
    ],
)
def test_arrays_that_are_no_images_are_named(array: Any, said: str, own: Path) -> None:
    (own / "images/a.png").unlink()
    np.save(own / "images/b.npy", array)
    Image.new("L", (3, 2)).save(own / "labels/b.png")
    with pytest.raises(DataError, match=said):
        read(own).read_image(0)


def test_a_broken_array_is_named(own: Path) -> None:
    np.save(own / "labels/a.npy", np.zeros((2, 3), np.uint8))
    path = own / "labels/a.npy"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"label .*a\.npy is broken or no array"):
        read(own).read_label(0)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"label .*a\.npy is broken or no array"):
        read(own).label_size(0)


def test_a_colour_outside_the_map_is_named_with_its_pixels_and_file(own: Path, capsys: Capture) -> None:
    pixels = COLOURS[PATTERN]
    pixels[0, 0] = pixels[1, 1] = (1, 2, 3)
    Image.fromarray(pixels).save(own / "labels/a.png")
    words = ["data", "check", "--dataset", "folder", "--root", str(own), f"label_space={own.parent / 'own.yaml'}"]
    colours = "label_colours={255 0 0: water, 0 0 255: grass, 0 0 0: 255}"
    assert main([*words, colours]) == 3
    said = "a.png holds the colour 1 2 3 (2 pixels), which stands for nothing; list it in label_colours, with 255 to ignore it"
    assert said in capsys.readouterr().out
    pixels[0, 1] = (7, 7, 7)
    Image.fromarray(pixels).save(own / "labels/a.png")
    assert main([*words, colours]) == 3
    assert "a.png holds 2 colours that stand for nothing 1 2 3 (2 pixels), 7 7 7 (1 pixel)" in capsys.readouterr().out
    assert main([*words, colours[:-1] + ", 1 2 3: grass, 7 7 7: 255}"]) == 0
    assert "left out by label_map" not in capsys.readouterr().out


def test_a_run_names_it_before_its_first_step(own: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(own.parent)
    Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(own / "images/a.png")
    Image.fromarray(np.full((32, 64, 3), 5, np.uint8)).save(own / "labels/a.png")
    words = ["source.dataset=folder", "source.root=own", "source.label_colours={255 0 0: road}", "device=cpu", "workers=0"]
    assert main(["run", "streets", *words, "rounds.source.steps=1", "batch=1", "name=red"]) == 3
    assert "a.png holds the colour 5 5 5 (2048 pixels)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"label_colours": {"red": "water"}}, "label_colours: a colour is red green blue, each 0 to 255, such as `255 0 0`, got 'red'"),
        ({"label_colours": {"256 0 0": "water"}}, "each 0 to 255"),
        ({"label_colours": {"1 2": "water"}}, "each 0 to 255"),
        ({"label_colours": {"1 2 3": "water", "#010203": "grass"}}, "label_colours: #010203 is listed twice"),
        ({"label_colours": {"1 2 3": "gras"}}, "label_colours: class 'gras' is not in own; did you mean 'grass'"),
        ({"label_colours": {"1 2 3": 2}}, "label_colours: class 2 is not in own, which has 0 to 1"),
        ({"label_colours": MAP, "label_map": {0: "water"}}, "label_colours says what the labels hold, so label_map must be null"),
        ({"label_colours": MAP, "label_channel": "red"}, "so label_channel must be null"),
        ({"label_colours": {f"{number} 0 0": 0 for number in range(128)}}, "label_colours: at most 127 colours, got 128"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, Any], said: str, own: Path) -> None:
    Image.fromarray(COLOURS[PATTERN]).save(own / "labels/a.png")
    with pytest.raises(ConfigError, match=said):
        read(own, **settings).read_label(0)


def test_other_files_are_refused_as_coloured_labels(own: Path) -> None:
    picture = Image.fromarray(COLOURS[PATTERN])
    picture.save(own / "labels/a.png", format="JPEG")
    with pytest.raises(DataError, match=r"a\.png is a JPEG, whose compression changes colours"):
        read(own, label_colours=MAP).read_label(0)
    with pytest.raises(DataError, match=r"a\.png is JPEG, expected RGB or RGBA with a channel red"):
        read(own, label_channel="red").read_label(0)
    picture.save(own / "labels/a.png")
    with pytest.raises(DataError, match=r"a\.png is RGB, expected RGB or RGBA with a channel alpha"):
        read(own, label_channel="alpha").read_label(0)
    with pytest.raises(DataError, match=r"is it a coloured copy\? `dataset: folder` reads colours by label_colours"):
        read(own).read_label(0)
    (own / "labels/a.png").rename(own / "labels/a.jpg")
    with pytest.raises(DataError, match=r"beside it lies a\.jpg: labels are read from \.png, \.tif, \.tiff, \.bmp"):
        read(own, label_colours=MAP)


def test_the_cache_of_statistics_tells_colours_apart(own: Path) -> None:
    Image.fromarray(COLOURS[PATTERN]).save(own / "labels/a.png")
    hashes = {read(own, label_colours=each).source_hash() for each in (MAP, {"0 0 255": "water", "255 0 0": "grass", "0 0 0": 255})}
    hashes |= {read(own, label_channel=channel).source_hash() for channel in ("red", "blue")} | {read(own).source_hash()}
    assert len(hashes) == 5


def test_colours_are_written_in_three_ways() -> None:
    assert {parse_colour(text, "x") for text in ("16 0 255", "16,0,255", " 16, 0, 255 ", "#1000fF")} == {(16, 0, 255)}
    assert ColourLabels((((1, 2, 3), 4),)) == ColourLabels((((1, 2, 3), 4),))


@pytest.mark.parametrize("eroded", [False, True])
@pytest.mark.parametrize(("dataset", "bands"), [("potsdam", "rgb"), ("potsdam", "irrg"), ("vaihingen", "rgb")])
def test_tiles_of_isprs_are_read(dataset: str, bands: str, eroded: bool, tmp_path: Path) -> None:
    written = getattr(formats, f"write_{dataset}")(tmp_path)
    for split in ("train", "val"):
        config = DataConfig(dataset=dataset, root=str(tmp_path), split=split, bands=bands, eroded=eroded)
        table = open_table(config, get_label_space("isprs6"), domain="source", labels=True)
        assert [name.replace("_IRRG", "_RGB") for name in table.names] == written[split]
        colours = np.array([*ISPRS_COLOURS.values(), *[(0, 0, 0)] * 250], np.uint8)
        found: set[int] = set()
        for index in range(len(table)):
            image, label = table.read_pair(index)
            with Image.open(table.labels.paths[index]) as file:  # type: ignore[union-attr]
                assert np.array_equal(colours[label], np.asarray(file))
            assert image.shape == (96, 96, 3)
            found |= set(np.unique(label).tolist())
        assert found == {*range(6), *([IGNORE] if eroded else [])}


def test_the_tiles_of_the_contest() -> None:
    for tiles, total in ((POTSDAM, 38), (VAIHINGEN, 33)):
        every = [tile for each in tiles.values() for tile in each]
        assert len(every) == len(set(every)) == total
    assert get_dataset("potsdam").expected("train") == 24
    assert get_dataset("vaihingen").expected("train") == 16


def test_the_labels_for_participants_are_read_and_those_kept_are_named(tmp_path: Path) -> None:
    formats.write_vaihingen(tmp_path)
    complete = tmp_path / "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE"
    (tmp_path / "gts_for_participants").mkdir()
    for area in VAIHINGEN["train"][:3]:
        name = f"top_mosaic_09cm_area{area}.tif"
        (complete / name).rename(tmp_path / "gts_for_participants" / name)
    for path in complete.iterdir():
        path.unlink()
    complete.rmdir()

    def open_split(split: str) -> ImageTable:
        return open_table(DataConfig(dataset="vaihingen", root=str(tmp_path), split=split), get_label_space("isprs6"), domain="source", labels=True)

    assert len(open_split("train")) == 3
    with pytest.raises(DataError, match="the labels of this split are in the archive of complete labels"):
        open_split("val")


def test_a_stray_colour_of_isprs_can_be_given_a_class(tmp_path: Path) -> None:
    formats.write_potsdam(tmp_path)
    path = tmp_path / "5_Labels_all/top_potsdam_2_10_label.tif"
    pixels = np.array(Image.open(path))
    pixels[:2] = (252, 255, 0)
    Image.fromarray(pixels).save(path)

    def label(**settings: Any) -> Any:
        config = DataConfig(dataset="potsdam", root=str(tmp_path), **settings)
        return open_table(config, get_label_space("isprs6"), domain="source", labels=True).read_label(0)

    with pytest.raises(DataError, match=r"2_10_label\.tif holds the colour 252 255 0 \(192 pixels\)"):
        label()
    assert (label(label_colours={"252 255 0": "car"})[:2] == 4).all()
    assert (label(label_colours={"252 255 0": 255})[:2] == IGNORE).all()
    with pytest.raises(ConfigError, match="potsdam has 24 tiles in train, 25 were asked for"):
        formats.write_potsdam(tmp_path, 25)
