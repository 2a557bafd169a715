"""Each kind of label is read by its own decoder, and a broken file is named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from udacore.data.reading import image_size, label_mode, read_image, read_label, write_image, write_label
from udacore.errors import DataError
from udacore.labels import get_label_space
from udacore.testing.formats import raw_palette


@pytest.fixture
def raw() -> np.ndarray:
    """Ids 0..34 in an odd format."""
    return np.random.default_rng(0).integers(0, 35, (7, 11)).astype(np.uint8)


def _write_palette(path: Path, raw: np.ndarray) -> None:
    picture = Image.fromarray(raw)
    picture.putpalette(raw_palette())
    picture.save(path)


def _write_sixteen_bit(path: Path, ids: np.ndarray, instance: int) -> None:
    channels = np.zeros((*ids.shape, 3), np.uint16)
    channels[..., 2], channels[..., 1] = ids, instance
    assert cv2.imwrite(str(path), channels)


def test_a_palette_label_is_read_by_index(tmp_path: Path, raw: np.ndarray) -> None:
    path = tmp_path / "a.png"
    _write_palette(path, raw)
    label = read_label(path, "palette")
    assert label.dtype == np.uint8
    assert np.array_equal(label, raw)
    assert label_mode(path) == "P"


def test_opencv_would_have_read_colours_from_a_palette_label(tmp_path: Path, raw: np.ndarray) -> None:
    path = tmp_path / "a.png"
    _write_palette(path, raw)
    trap = cv2.imread(str(path))
    assert trap is not None
    assert trap.ndim == 3
    assert not np.array_equal(trap[..., 2], raw)


def test_a_sixteen_bit_label_is_read_by_its_red_channel(tmp_path: Path) -> None:
    ids = np.arange(23, dtype=np.uint16).reshape(1, 23)
    _write_sixteen_bit(tmp_path / "a.png", ids, 700)
    label = read_label(tmp_path / "a.png", "synthia")
    assert label.dtype == np.uint16
    assert np.array_equal(label, ids)


def test_pillow_would_have_lost_the_ids_of_a_sixteen_bit_label(tmp_path: Path) -> None:
    ids = np.arange(23, dtype=np.uint16).reshape(1, 23)
    _write_sixteen_bit(tmp_path / "a.png", ids, 700)
    with Image.open(tmp_path / "a.png") as picture:
        trap = np.array(picture)
    assert (trap[..., 0] == 0).all()
    assert (trap[..., 1] == 700 >> 8).all()


def test_an_eight_bit_copy_of_synthia_ids_is_read_as_it_is(tmp_path: Path, raw: np.ndarray) -> None:
    Image.fromarray(raw).save(tmp_path / "a.png")
    assert np.array_equal(read_label(tmp_path / "a.png", "synthia"), raw)


@pytest.mark.parametrize("kind", ["cityscapes", "ids", "palette"])
def test_grey_labels_are_read_as_they_are(tmp_path: Path, raw: np.ndarray, kind: str) -> None:
    Image.fromarray(raw).save(tmp_path / "a.png")
    assert np.array_equal(read_label(tmp_path / "a.png", kind), raw)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["palette", "cityscapes", "ids", "synthia"])
def test_a_coloured_copy_is_refused_as_a_label(tmp_path: Path, kind: str) -> None:
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png ha?o?.*; is it a coloured copy\?"):
        read_label(tmp_path / "a.png", kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
def test_every_image_becomes_rgb(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (6, 5), (51, 51, 51)).convert(mode).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert (image.shape, image.dtype, int(image.max())) == ((5, 6, 3), np.uint8, 51)


def test_the_size_is_height_and_width(tmp_path: Path) -> None:
    Image.new("RGB", (6, 5)).save(tmp_path / "a.png")
    assert image_size(tmp_path / "a.png") == (5, 6)


def _noise(mode: str, path: Path) -> None:
    rng = np.random.default_rng(1)
    if mode == "sixteen":
        _write_sixteen_bit(path, rng.integers(0, 23, (60, 70)), 300)
    else:
        Image.fromarray(rng.integers(0, 30, (60, 70, 3) if mode == "RGB" else (60, 70)).astype(np.uint8)).save(path)


READERS = [
    ("RGB", read_image),
    ("L", lambda path: read_label(path, "palette")),
    ("L", lambda path: read_label(path, "cityscapes")),
    ("L", lambda path: read_label(path, "ids")),
    ("L", lambda path: read_label(path, "synthia")),
    ("sixteen", lambda path: read_label(path, "synthia")),
]


@pytest.mark.parametrize(("mode", "reader"), READERS)
@pytest.mark.parametrize("keep", [0, 4, 20, 60, 0.5, 0.9])
def test_a_truncated_file_is_named_and_nothing_else_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], mode: str, reader: object, keep: float
) -> None:
    path = tmp_path / "a.png"
    _noise(mode, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    with pytest.raises(DataError, match=r"a\.png is broken or no image") as caught:
        reader(path)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("mode", "reader"), READERS)
def test_corrupt_bytes_in_the_middle_are_found(tmp_path: Path, mode: str, reader: object) -> None:
    path = tmp_path / "a.png"
    _noise(mode, path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png is broken or no image"):
        reader(path)  # type: ignore[operator]


@pytest.mark.parametrize(("mode", "reader"), READERS)
def test_missing_files_and_folders_are_named(tmp_path: Path, mode: str, reader: object) -> None:
    with pytest.raises(DataError, match=r"none\.png does not exist"):
        reader(tmp_path / "none.png")  # type: ignore[operator]
    with pytest.raises(DataError, match="is a folder, not a file"):
        reader(tmp_path)  # type: ignore[operator]


def test_the_size_of_a_broken_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(DataError, match=r"a\.png is broken or no image"):
        image_size(tmp_path / "a.png")


def test_a_written_label_comes_back_and_shows_its_colours(tmp_path: Path) -> None:
    label = np.array([[0, 18, 255], [1, 2, 3]], np.uint8)
    write_label(tmp_path / "new" / "a.png", label, get_label_space("cityscapes19").palette)
    assert np.array_equal(read_label(tmp_path / "new" / "a.png", "ids"), label)
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert picture.mode == "P"
        assert np.array(picture.convert("RGB"))[0].tolist() == [[128, 64, 128], [119, 11, 32], [0, 0, 0]]
    assert (tmp_path / "new" / "a.png").read_bytes()[24] == 8  # bit depth, also with few colours


def test_a_written_image_comes_back(tmp_path: Path) -> None:
    image = np.random.default_rng(2).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    write_image(tmp_path / "a.png", image)
    assert np.array_equal(read_image(tmp_path / "a.png"), image)


def test_writing_leaves_the_old_file_or_the_new_one_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = np.zeros((3, 3), np.uint8), np.ones((3, 3), np.uint8)
    write_label(tmp_path / "a.png", first, [(0, 0, 0)])

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            write_label(tmp_path / "a.png", second, [(0, 0, 0)])
    assert np.array_equal(read_label(tmp_path / "a.png", "ids"), first)
    write_label(tmp_path / "a.png", second, [(0, 0, 0)])
    assert np.array_equal(read_label(tmp_path / "a.png", "ids"), second)
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_grey_image_of_16_bits_is_that_of_8(tmp_path: Path, suffix: str) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / f"deep{suffix}")
    assert np.array_equal(read_image(tmp_path / f"deep{suffix}"), np.repeat(grey[..., None], 3, axis=2))
