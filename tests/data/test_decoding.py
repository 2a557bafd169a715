"""An image is read as it looks, whatever its format, depth, colour model and
orientation; or it is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from udacore.data.decoding import ORIENTATION
from udacore.data.reading import image_size, orientation, read_image, read_label
from udacore.errors import DataError

GREY = np.linspace(0, 255, 15 * 20).reshape(15, 20).astype(np.uint8)
COLOURS = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], -1)
TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}
"""EXIF orientation -> from the pixels as stored to the upright image."""


def three(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, -1)


def save(path: Path, picture: Image.Image, **options: Any) -> Path:
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_eight_bits_in_every_format_look_as_they_were_made(tmp_path: Path, suffix: str, mode: str) -> None:
    made = Image.fromarray(COLOURS).convert(mode)
    if suffix in ("bmp", "webp") and mode == "LA":
        return  # these formats store it as another mode
    options = {"lossless": True} if suffix == "webp" else {}
    read = read_image(save(tmp_path / f"a.{suffix}", made, **options))
    assert np.array_equal(read, np.asarray(made.convert("RGB")))


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_an_image_is_upright_as_its_orientation_says(tmp_path: Path, suffix: str, turn: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    options = {"lossless": True} if suffix == "webp" else {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    made = np.repeat(np.repeat(COLOURS, 8, 0), 8, 1)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(made), exif=exif, **options)
    expected = TURNS[turn](made)
    assert np.abs(read_image(path).astype(int) - expected).mean() < (4 if suffix == "jpg" else 1e-9)
    assert image_size(path) == expected.shape[:2]
    assert orientation(path) == turn


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_look_like_their_high_bytes(tmp_path: Path, suffix: str) -> None:
    deep = GREY.astype(np.uint16) * 257
    assert np.array_equal(read_image(save(tmp_path / f"grey.{suffix}", Image.fromarray(deep))), three(GREY))
    cv2.imwrite(str(tmp_path / f"colours.{suffix}"), (COLOURS.astype(np.uint16) * 257)[..., ::-1])
    assert np.array_equal(read_image(tmp_path / f"colours.{suffix}"), COLOURS)


def test_a_tiff_whose_zero_is_white_is_not_a_negative(tmp_path: Path) -> None:
    path = save(tmp_path / "8.tif", Image.fromarray(GREY), tiffinfo={262: 0})  # Pillow stores the negative of 8 bits
    assert np.array_equal(read_image(path), three(GREY))
    stored = (255 - GREY).astype(np.uint16) * 257  # but 16 bits as they are
    path = save(tmp_path / "16.tif", Image.fromarray(stored), tiffinfo={262: 0})
    assert np.array_equal(read_image(path), three(GREY))


def test_hidden_colours_of_transparent_pixels_are_not_seen(tmp_path: Path) -> None:
    alpha = np.where(np.arange(20) < 10, 255, 0).astype(np.uint8) * np.ones((15, 1), np.uint8)
    made = np.dstack([COLOURS, alpha])
    read = read_image(save(tmp_path / "a.png", Image.fromarray(made)))
    assert np.array_equal(read[:, :10], COLOURS[:, :10])
    assert (read[:, 10:] == 255).all()
    path = save(tmp_path / "p.png", Image.fromarray(GREY % 4).convert("P"), transparency=0)
    assert (read_image(path)[GREY % 4 == 0] == 255).all()


@pytest.mark.parametrize("quality", [95])
def test_a_jpeg_of_four_inks_looks_like_its_colours(tmp_path: Path, quality: int) -> None:
    made = Image.fromarray(np.full((16, 16, 3), (200, 40, 90), np.uint8))
    read = read_image(save(tmp_path / "a.jpg", made.convert("CMYK"), quality=quality))
    assert np.abs(read.astype(int) - (200, 40, 90)).max() < 12


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (GREY.astype(np.float32) / 255, "holds 32-bit floats, whose range is not stated"),
        (GREY.astype(np.int32) * 70000, "holds 32-bit numbers, whose range is not stated"),
    ],
)
def test_numbers_without_a_look_are_refused(tmp_path: Path, values: NDArray[Any], said: str) -> None:
    with pytest.raises(DataError, match=rf"image .*a\.tif {said}"):
        read_image(save(tmp_path / "a.tif", Image.fromarray(values)))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_ids_of_few_bits_are_the_numbers_that_were_stored(tmp_path: Path, bits: int) -> None:
    ids = (GREY // 16 % min(2**bits, 8)).astype(np.uint8)
    made = Image.fromarray(ids).convert("P") if bits == 1 else Image.fromarray(ids)
    if bits in (2, 4):
        write_grey(tmp_path / "a.png", ids, bits)
    else:
        made.putpalette([0, 0, 0, 255, 255, 255] * 4) if bits == 1 else None
        save(tmp_path / "a.png", made, bits=bits)
    assert np.array_equal(read_label(tmp_path / "a.png", "ids"), ids)


def write_grey(path: Path, ids: NDArray[np.uint8], bits: int) -> None:
    """A grey PNG of 2 or 4 bits, which Pillow does not write."""
    import struct
    import zlib

    rows = b""
    for row in ids:
        packed = 0
        for value in row:
            packed = packed << bits | int(value)
        rows += b"\0" + packed.to_bytes(len(row) * bits // 8, "big")

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


LABELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "mask": (lambda path: Image.fromarray(GREY > 100).save(path), "holds a 1-bit mask; expected one 8-bit number a pixel"),
    "deep": (lambda path: Image.fromarray(GREY.astype(np.uint16)).save(path), "holds 16-bit grey; expected"),
    "alpha": (lambda path: Image.fromarray(GREY).convert("LA").save(path), "holds grey with transparency; expected"),
    "colours": (lambda path: Image.fromarray(COLOURS).save(path), "holds RGB colours; expected .*; is it a coloured copy"),
    "jpeg": (lambda path: Image.fromarray(GREY).save(path, "JPEG"), "holds a JPEG, whose compression changes ids"),
}


@pytest.mark.parametrize("what", LABELS)
def test_a_label_in_another_encoding_is_refused_for_its_true_reason(tmp_path: Path, what: str) -> None:
    make, said = LABELS[what]
    make(tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"label .*a\.png {said}"):
        read_label(tmp_path / "a.png", "ids")


def test_odd_tags_of_a_tiff_make_no_noise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(GREY), compression="tiff_lzw", tiffinfo={65000: "private"})
    assert np.array_equal(read_image(path), three(GREY))
    assert capfd.readouterr().err == ""
