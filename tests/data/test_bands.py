"""Images of other than three channels, and of 16 bits: read as stored, trained on, predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from udacore.cli import main
from udacore.data.bands import Bands, read_bands, read_pixels
from udacore.data.geometry import pad_and_crop, resize_image, rotate_image
from udacore.data.reading import image_size, read_image
from udacore.errors import DataError
from udacore.models import ModelConfig, build_segmenter
from udacore.models.channels import fit_input
from udacore.models.weights import load_state

DRAWN = np.random.default_rng(0)
EIGHT = DRAWN.integers(0, 256, (5, 7, 4), dtype=np.uint8)
SIXTEEN = DRAWN.integers(0, 65536, (5, 7, 4)).astype(np.uint16)


def write(path: Path, channels: np.ndarray) -> Path:
    """Channels as a file of their own, in the order in which they stand."""
    order = [2, 1, 0, 3][: channels.shape[2]] if channels.shape[2] > 2 else [0]
    if path.suffix == ".npy":
        np.save(path, channels)
    else:
        assert cv2.imwrite(str(path), channels[:, :, order])
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_channels_are_those_of_the_file_and_sixteen_bits_are_kept(suffix: str, count: int, tmp_path: Path) -> None:
    eight, sixteen = EIGHT[:, :, :count], SIXTEEN[:, :, :count]
    path = write(tmp_path / f"a{suffix}", sixteen)
    kept = read_bands(path, Bands(count, 16))
    assert kept.dtype == np.float32
    assert np.array_equal(np.rint(kept.astype(np.float64) * 257).astype(np.uint16), sixteen)
    assert np.array_equal(read_bands(path, Bands(count, 8)), sixteen >> 8)
    for bits in (8, 16):
        assert np.array_equal(read_bands(write(tmp_path / f"b{suffix}", eight), Bands(count, bits)), eight)


@pytest.mark.parametrize("mode", ["RGBA", "RGBX", "CMYK"])
def test_a_fourth_channel_is_not_taken_for_transparency(mode: str, tmp_path: Path) -> None:
    """As ISPRS Potsdam's RGBIR: by its tags the infrared is transparency, or nothing that is known."""
    Image.fromarray(EIGHT, mode).save(tmp_path / "a.tif")
    assert np.array_equal(read_bands(tmp_path / "a.tif", Bands(4, 8)), EIGHT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_applied(orientation: int, tmp_path: Path) -> None:
    picture = Image.fromarray(EIGHT[:, :, :3])
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_bands(tmp_path / "a.png", Bands(3, 16)), read_image(tmp_path / "a.png"))


def test_rgb_of_eight_bits_is_read_as_ever(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", EIGHT)
    found = read_pixels(path, Bands())
    assert found.dtype == np.uint8
    assert np.array_equal(found, read_image(path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (EIGHT[:, :, :3], "a.npy has 3 channels, and model.channels is 4"),
        (EIGHT.astype(np.float32), "a.npy holds numbers of the type float32, expected 8 or 16 bits"),
        (EIGHT[0, 0], r"a.npy is an array of shape \(4,\), and model.channels is 4"),
    ],
)
def test_another_number_of_channels_is_one_line(content: Any, said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(DataError, match=said):
        read_bands(tmp_path / "a.npy", Bands(4, 8))


def test_a_palette_has_no_channels(tmp_path: Path) -> None:
    Image.fromarray(EIGHT[:, :, 0]).convert("P").save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png holds a palette or mask, which has no channels"):
        read_bands(tmp_path / "a.png", Bands(1, 8))


def test_geometry_takes_each_channel_by_itself() -> None:
    """Without what Pillow does to colours under transparency."""
    image = EIGHT.astype(np.float32)
    changes = (
        lambda x: resize_image(x, (5, 4), "bilinear"), lambda x: rotate_image(x, 20.0), lambda x: pad_and_crop(x, (9, 9), 0, 0, fill=(0, 0, 0)),
    )  # fmt: skip
    for change in changes:
        whole = change(image)
        for channel in range(4):
            assert np.array_equal(whole[:, :, channel], change(np.repeat(image[:, :, channel, None], 3, axis=2))[:, :, 0])


@pytest.mark.parametrize(("channels", "what"), [(1, "cut to 1, times 3/1"), (4, "repeated to 4, times 3/4"), (7, "repeated to 7, times 3/7")])
@pytest.mark.parametrize("name", ["small", "deeplab-vgg16"])
def test_weights_of_a_network_for_rgb_are_repeated_or_cut(name: str, channels: int, what: str, caplog: pytest.LogCaptureFixture) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = build_segmenter(ModelConfig(name=name), 5).eval()
        torch.manual_seed(0)
        fitted = build_segmenter(ModelConfig(name=name, channels=channels), 5).eval()
    assert fitted(torch.rand(1, channels, 16, 24)).logits.shape[1] == 5
    (first, *rest), (key, *keys) = fitted.parameters(), dict(plain.named_parameters())
    expected = dict(plain.named_parameters())
    weight = torch.stack([expected[key][:, channel % 3] for channel in range(channels)], dim=1) * (3 / channels)
    assert torch.equal(first, weight)
    assert all(torch.equal(parameter, expected[name]) for parameter, name in zip(rest, keys, strict=True))
    for parameter in fitted.parameters():
        torch.nn.init.zeros_(parameter)
    with caplog.at_level("INFO"):
        load_state(fitted, plain.state_dict(), where="a file")
    assert what in caplog.text
    assert torch.equal(next(fitted.parameters()), weight)
    caplog.clear()
    load_state(fitted, fitted.state_dict(), where="its own")
    assert caplog.text == ""


def test_three_channels_change_nothing() -> None:
    network = build_segmenter(ModelConfig(name="small"), 5)
    before = list(network.modules())
    fit_input(network, 3)
    assert list(network.modules()) == before


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A data set of images of four channels of 16 bits, and the settings of a run on it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "land.yaml").write_text("name: land\nclasses: [water, grass]\n")
    for folder in ("images", "labels"):
        (tmp_path / "own" / folder).mkdir(parents=True)
    for number in range(4):
        image = DRAWN.integers(0, 65536, (32, 64, 4)).astype(np.uint16)
        write(tmp_path / f"own/images/{number}.tif", image)
        Image.fromarray((image[:, :, 3] > 30000).astype(np.uint8)).save(tmp_path / f"own/labels/{number}.png")
    sets = [f"{place}={{dataset: folder, root: own}}" for place in ("evaluate.target", "target")]
    source = "source={dataset: folder, root: own, transform: {streets_jitter: null, zoom: null, crop: {size: [48, 40]}, rotate: {range: [-5, 5]}}}"
    pixels = ["model.channels=4", "pixels.bits=16", "pixels.mean=[0.5,0.5,0.5,0.5]", "pixels.std=[0.25,0.25,0.25,0.25]"]
    rest = "label_space=land.yaml device=cpu threads=1 workers=0 tensorboard=false batch=2 rounds.source.steps=3 evaluate.source=null name=run folder=."
    return [*sets, source, *pixels, *rest.split()]


def test_a_run_trains_scores_and_predicts(here: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "streets", *here]) == 0
    state = torch.load("run/checkpoints/0-source.pt", weights_only=True)["model"]
    assert state["backbone.conv1.weight"].shape[1] == 4
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert any("miou" in row for row in rows)
    assert main(["predict", "run", "own/images/0.tif", "--out", "labels"]) == 0
    assert main(["predict", "run", "own/images/0.tif", "--out", "shown", "--as", "overlay"]) == 0
    assert image_size("labels/0.png") == image_size("shown/0.png") == (32, 64)
    assert main(["run", "streets", *here, "--resume"]) == 0
    write(Path("rgb.png"), EIGHT[:, :, :3])
    capsys.readouterr()
    assert main(["predict", "run", "rgb.png", "--out", "none"]) == 3
    assert "rgb.png has 3 channels, and model.channels is 4" in capsys.readouterr().err


def test_the_check_of_data_reads_the_channels(here: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in here if not word.startswith(("name=", "folder="))]
    assert main(["data", "check", "streets", *words]) == 0
    write(Path("own/images/2.tif"), EIGHT[:, :, :3])
    Image.fromarray(np.zeros((5, 7), np.uint8)).save("own/labels/2.png")
    assert main(["data", "check", "streets", *words]) == 3
    assert "own/images/2.tif has 3 channels, and model.channels is 4" in capsys.readouterr().out


def test_a_tile_of_an_array_has_its_channels(here: list[str]) -> None:
    for number in range(4):
        np.save(f"own/images/{number}.npy", read_bands(f"own/images/{number}.tif", Bands(4, 8)).astype(np.uint8))
        Path(f"own/images/{number}.tif").unlink()
    words = [*here, "evaluate.target={dataset: folder, root: own, tile: {size: [32, 32], stride: [32, 32]}}"]
    assert main(["run", "streets", *words]) == 0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("pixels.mean=[0.5,0.5,0.5]", "pixels.mean: has 3 numbers, and model.channels is 4"),
        ("pixels.order=bgr", "pixels.order: 'bgr' is an order of three channels, and model.channels is 4"),
        ("source.transform={jitter: {}}", "source.transform.jitter: changes RGB colours of 8 bits, and these are images of 4 channels and 16 bits"),
        ("label_space=streets|source={dataset: streets}", "model.channels: 4, pixels.bits: 16: streets has RGB images of 8 bits alone"),
        ("source.images=other", "source.images: replacements are RGB, and these are images of 4 channels and 16 bits"),
    ],
)
def test_what_does_not_go_with_channels_is_one_line(word: str, said: str, here: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "streets", *here, *word.split("|")]) == 2
    assert said in capsys.readouterr().err
    assert not Path("run").exists()
