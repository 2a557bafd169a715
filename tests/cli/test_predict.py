"""`uda predict`: real files in, real files out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from udacore.cli import main
from udacore.config.schema import ModelConfig, PixelConfig
from udacore.data.colour import normalize
from udacore.inference import predict_label
from udacore.labels import colorize, get_label_space
from udacore.models import build_segmenter

Capture = pytest.CaptureFixture[str]
PIXELS = PixelConfig(mean=(118 / 255,) * 3, std=(60 / 255,) * 3)


def picture(seed: int, height: int = 40, width: int = 72) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return blocks.repeat(8, 0).repeat(8, 1)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = build_segmenter(ModelConfig(name="small"), 12)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.3)  # else one class wins everywhere
    torch.save(model.state_dict(), tmp_path / "small.pt")
    return tmp_path / "small.pt"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "aachen").mkdir(parents=True)
    Image.fromarray(picture(1)).save(folder / "one.png")
    Image.fromarray(picture(2, 56, 48)).save(folder / "aachen" / "two.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def predict(weights: Path, *words: object) -> int:
    return main(["predict", "streets", *map(str, words), "--checkpoint", str(weights), "device=cpu", "threads=1"])


def expected(weights: Path, image: np.ndarray) -> np.ndarray:
    model = build_segmenter(ModelConfig(name="small"), 12).eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    return predict_label(model, torch.from_numpy(normalize(image, PIXELS))[None], image.shape[:2])[0].numpy()


def test_a_folder_gives_palette_files_of_class_ids_at_the_images_own_size(weights: Path, pictures: Path, tmp_path: Path, capsys: Capture) -> None:
    assert predict(weights, pictures, "--out", tmp_path / "out") == 0
    written = [tmp_path / "out" / name for name in ("aachen/two.png", "one.png")]
    assert capsys.readouterr().out.split() == [str(path) for path in written]
    for path, image in zip(written, (picture(2, 56, 48), picture(1)), strict=True):
        with Image.open(path) as result:
            assert result.mode == "P"
            ids, colours = np.array(result), np.array(result.convert("RGB"))
        assert np.array_equal(ids, expected(weights, image))
        assert len(np.unique(ids)) > 1
        assert np.array_equal(colours, colorize(ids, get_label_space("streets")))


def test_an_overlay_is_half_image_half_colours(weights: Path, pictures: Path, tmp_path: Path) -> None:
    assert predict(weights, pictures / "one.png", "--out", tmp_path, "--as", "overlay") == 0
    colours = colorize(expected(weights, picture(1)), get_label_space("streets"))
    shown = np.asarray(Image.open(tmp_path / "one.png")).astype(float)
    assert np.abs(shown - (picture(1) / 2 + colours / 2)).max() <= 0.5


def test_the_protocol_may_be_changed(weights: Path, pictures: Path, tmp_path: Path) -> None:
    for name, change in (("plain", "seed=0"), ("small", "evaluate.target.size=[24,16]")):
        assert predict(weights, pictures / "one.png", "--out", tmp_path / name, change) == 0
    plain, small = (np.asarray(Image.open(tmp_path / name / "one.png")) for name in ("plain", "small"))
    assert plain.shape == small.shape == (40, 72)
    assert (plain != small).any()


def test_a_video_becomes_an_overlay_of_as_many_frames(weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (72, 40))
    for seed in range(3):
        writer.write(picture(seed))
    writer.release()
    assert predict(weights, source, "--out", tmp_path / "out") == 0
    video = cv2.VideoCapture(str(tmp_path / "out" / "drive.mp4"))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    assert [frame.shape for frame in frames] == [(40, 72, 3)] * 3
    assert video.get(cv2.CAP_PROP_FPS) == 10.0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".uda-predict.jsonl", "drive.mp4"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["missing.png"], 3, "missing.png does not exist"),
        (["in/notes.txt"], 3, "neither an image"),
        (["empty"], 3, "holds no image or video"),
        (["in/one.png", "in"], 3, "would both be written as one"),
        ([], 2, "nothing to label"),
        (["in", "--set", "traget"], 2, "did you mean 'target'"),
        (["in/aachen", "--out", "in/aachen"], 2, "is the image itself"),
        (["in/one.png", "--out", "notes.txt"], 2, "--out: notes.txt is a file; name a folder"),
        (["in/one.png", "--out", "notes.txt/deeper", "--as", "overlay"], 1, "could not be written: Not a directory"),
        (["broken.png"], 3, "broken.png is broken or no image"),
        (["broken.mp4"], 3, "broken.mp4 is broken or has no frame"),
    ],
)
def test_what_cannot_be_labelled_is_said_in_one_line(
    words: list[str], code: int, says: str, weights: Path, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    for name in ("broken.png", "broken.mp4"):
        (tmp_path / name).write_bytes(b"not what the name says")
    assert predict(weights, "--out", "out", *words) == code
    error = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error")]
    assert len(error) == 1
    assert says in error[0]
    assert pictures.joinpath("one.png").read_bytes()[:4] == b"\x89PNG"


def write_video(path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (72, 40))
    writer.write(picture(1))
    writer.release()


def test_no_input_is_replaced_and_what_would_replace_one_is_refused_before_anything_is_written(
    weights: Path, pictures: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures)
    Image.fromarray(picture(3)).save("a.jpg")
    write_video(Path("drive.mp4"))
    before = {path: path.read_bytes() for path in pictures.rglob("*") if path.is_file()}
    for word, said in (("drive.mp4", "drive.mp4 is the video itself"), (".", "two.png is the image itself")):
        assert predict(weights, word, "--out", ".") == 2
        assert said in capsys.readouterr().err
        assert {path: path.read_bytes() for path in pictures.rglob("*") if path.is_file()} == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_goes_on_past_what_cannot_be_read(weights: Path, pictures: Path, capsys: Capture) -> None:
    (pictures / "broken.png").write_bytes(b"no image")
    (pictures / "a.tif").write_bytes(b"II*\0")
    out = pictures.parent / "out"
    assert predict(weights, pictures, "--out", out) == 3
    shown = capsys.readouterr()
    assert shown.out.split() == [str(out / "aachen" / "two.png"), str(out / "one.png")]
    lines = shown.err.splitlines()
    assert [line.split(" is broken")[0] for line in lines[-3:-1]] == [
        f"not labelled: image {pictures / name}" for name in ("a.tif", "broken.png")
    ]
    assert lines[-1] == "error: 2 of 4 inputs could not be read"


def test_a_second_call_goes_on_where_the_first_one_stopped(weights: Path, pictures: Path, capsys: Capture) -> None:
    out = pictures.parent / "out"
    assert predict(weights, pictures / "one.png", "--out", out) == 0
    first = (out / "one.png").stat().st_mtime_ns
    capsys.readouterr()
    assert predict(weights, pictures, "--out", out) == 0
    assert capsys.readouterr().out.split() == [str(out / "aachen" / "two.png")]
    assert (out / "one.png").stat().st_mtime_ns == first
    Image.fromarray(picture(7)).save(pictures / "one.png")  # another image now
    assert predict(weights, pictures, "--out", out) == 0
    assert capsys.readouterr().out.split() == [str(out / "one.png")]
    assert predict(weights, pictures, "--out", out, "evaluate.target.flip=true") == 0  # another protocol
    assert len(capsys.readouterr().out.split()) == 2


def test_results_among_the_inputs_are_not_labelled_again(weights: Path, pictures: Path, capsys: Capture) -> None:
    for place in (pictures / "labels", pictures):
        for path in pictures.rglob("*.png"):
            path.rename(path.with_suffix(".bmp"))
        assert predict(weights, pictures, "--out", place) == 0
        before = contents(pictures)
        capsys.readouterr()
        assert predict(weights, pictures, "--out", place) == 0
        assert capsys.readouterr().out == ""
        assert contents(pictures) == before
        for path in pictures.rglob("*.png"):
            path.unlink()


@pytest.mark.parametrize("name", ["one.png", "drive.mp4"])
def test_a_file_of_the_users_is_not_replaced(name: str, weights: Path, pictures: Path, capsys: Capture) -> None:
    out = pictures.parent / "out"
    out.mkdir()
    (out / name).write_bytes(b"mine")
    write_video(pictures / "drive.mp4")
    before = contents(out)
    assert predict(weights, pictures, "--out", out) == 2
    assert f"--out: {out / name} exists and was not written by uda predict" in capsys.readouterr().err
    assert contents(out) == before


def test_two_calls_do_not_share_a_result(weights: Path, pictures: Path, capsys: Capture) -> None:
    out = pictures.parent / "out"
    Image.fromarray(picture(3)).save(pictures / "one.bmp")
    assert predict(weights, pictures / "one.png", "--out", out) == 0
    before = contents(out)
    capsys.readouterr()
    assert predict(weights, pictures / "one.bmp", "--out", out) == 2
    assert f"{out / 'one.png'} was made from {pictures / 'one.png'}; choose another folder for" in capsys.readouterr().err
    assert contents(out) == before
