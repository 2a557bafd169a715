"""Files of any shape: links, pipes, odd names and other formats are counted once, passed over by
name, or refused in a line."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from udacore.data.layouts import count_passed_over, list_files
from udacore.errors import DataError

IMAGES = Path("gta5/images")


def test_a_link_to_a_folder_above_adds_no_image(data: Path) -> None:
    before = list_files(IMAGES, (".png",))
    (IMAGES / "up").symlink_to(data / "gta5")
    (IMAGES / "self").symlink_to(data / IMAGES)
    (IMAGES / "loop").symlink_to(data / IMAGES / "loop")
    found = list_files(IMAGES, (".png",))
    assert {key: path for key, path in found.items() if not key.startswith("up/")} == before
    assert not [key for key in found if "images" in key]  # the same images by another way


def test_a_link_to_a_folder_elsewhere_is_followed(data: Path) -> None:
    (data / "more").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(data / "more" / "a.png")
    (IMAGES / "linked").symlink_to(data / "more")
    assert "linked/a" in list_files(IMAGES, (".png",))


def test_a_pipe_in_the_place_of_an_image_is_refused_at_once(data: Path, refused: Any) -> None:
    (IMAGES / "00002.png").unlink()
    os.mkfifo(IMAGES / "00002.png")
    refused("run {GTA5}", 3, "image gta5/images/00002.png is a pipe, not a file", alone=True)


@pytest.mark.parametrize("path", ["gta5/labels/00002.png"])
def test_a_socket_or_folder_in_the_place_of_a_file_is_refused(data: Path, refused: Any, path: str) -> None:
    Path(path).unlink()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.bind(path)
        refused("run {GTA5}", 3, f"{path} is a socket or device, not a file")
    Path(path).unlink()
    Path(path).mkdir()
    refused("run {GTA5}", 3, "image gta5/images/00002.png has no label gta5/labels/00002.png")


def test_a_name_that_is_not_utf8_is_refused_in_the_check_and_in_the_run(data: Path, refused: Any) -> None:
    source = os.fsencode(IMAGES / "00002.png")
    os.rename(source, source.replace(b"00002", b"caf\xe9"))
    said = "the name of this file is not UTF-8; rename it"
    assert "caf\\udce9.png" in refused("run {GTA5}", 3, said)


def test_a_folder_of_other_formats_says_what_it_holds(data: Path, refused: Any) -> None:
    for number, path in enumerate(sorted(IMAGES.iterdir())):
        path.rename(path.with_suffix(".jp2" if number else ""))
    refused("run {GTA5}", 3, "no image in gta5/images; passed over: 2 .jp2, 1 without a suffix (read are .png, .jpg")
    assert count_passed_over(IMAGES, (".png",)) == {".jp2": 2, "": 1}


def test_a_label_in_another_format_is_named(data: Path, refused: Any) -> None:
    Path("gta5/labels/00002.png").rename("gta5/labels/00002.jpg")
    refused("run {GTA5}", 3, "has no label gta5/labels/00002.png; beside it lies 00002.jpg: labels are read from PNG only")


def test_a_root_that_may_not_be_read_is_an_error_of_the_data(
    data: Path, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).startswith("gta5/images"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"gta5/images cannot be read \(Permission denied\)"):
        list_files(IMAGES, (".png",))


def test_an_image_of_impossible_size_is_refused_before_it_is_decoded(data: Path, refused: Any) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    picture = (IMAGES / "00002.png").read_bytes()
    (IMAGES / "00002.png").write_bytes(picture[:8] + chunk + picture[8 + len(chunk) :])
    refused("run {GTA5}", 3, "image gta5/images/00002.png is broken or no image (Image size (3600000000 pixels) exceeds limit")


def test_a_turned_image_with_a_label_as_stored_is_named(data: Path, refused: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(IMAGES / "00002.png") as picture:
        picture.save(IMAGES / "00002.png", exif=exif)
    refused(
        "run {GTA5}", 3, "image gta5/images/00002.png is 35 x 67, but its label gta5/labels/00002.png is 67 x 35",
        "the image is turned by its EXIF orientation (6), the label is not",
    )  # fmt: skip
