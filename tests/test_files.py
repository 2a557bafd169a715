"""Files are written whole or not at all, and a changed byte is found by its checksum."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import random
import resource
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from udacore.exhaustion import describe_exhaustion
from udacore.files import PART, atomic, describe_disk, find_png_damage, find_zip_damage, naming, show_bytes, write_text


def flips(content: bytes, count: int, seed: int) -> list[bytes]:
    """Copies of a file with one bit changed at seeded places."""
    rng = random.Random(seed)
    copies = []
    for _ in range(count):
        changed = bytearray(content)
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        copies.append(bytes(changed))
    return copies


def is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_equal(value, other[key]) for key, value in one.items())
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def test_no_changed_bit_of_a_checkpoint_is_read_as_another_value(tmp_path: Path) -> None:
    content = {"model": {f"layer{n}.weight": torch.randn(7, 5) for n in range(6)}, "step": 3, "names": ["a", "b"]}
    path = tmp_path / "state.pt"
    torch.save(content, path)
    assert find_zip_damage(path) is None
    found = 0
    for copy in flips(path.read_bytes(), 400, seed=1):
        path.write_bytes(copy)
        if find_zip_damage(path) is not None:
            found += 1
            continue
        try:  # what has no checksum, such as the date of an entry, changes nothing or is refused by torch
            read = torch.load(path, weights_only=True)
        except Exception:
            continue
        assert is_equal(read, content)
    assert found > 200


def test_no_changed_bit_of_a_kept_array_is_read_as_another_value(tmp_path: Path) -> None:
    path, pixels = tmp_path / "counts.npz", np.arange(600).reshape(20, 30)
    np.savez_compressed(path, pixels=pixels)
    assert find_zip_damage(path) is None
    for copy in flips(path.read_bytes(), 200, seed=2):
        path.write_bytes(copy)
        if find_zip_damage(path) is None and copy.startswith(b"PK\x03\x04"):  # else NumPy refuses it
            with np.load(path, allow_pickle=False) as arrays:
                assert all(np.array_equal(arrays[name], pixels) for name in arrays.files)


def test_no_changed_bit_of_a_png_shows_another_image() -> None:
    label = np.random.default_rng(0).integers(0, 19, (24, 32), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(label).save(buffer, "PNG")
    assert find_png_damage(buffer.getvalue()) is None
    found = [find_png_damage(copy) for copy in flips(buffer.getvalue(), 200, seed=3)]
    assert found.count(None) < 30  # only the signature has no checksum: without it the file is not a PNG
    assert "chunk IDAT differs from its checksum" in found
    assert find_png_damage(buffer.getvalue()[:-20]) == "its end is missing"


@pytest.mark.parametrize("cut", [4, 100, -1])
def test_an_archive_that_is_cut_is_damaged(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "state.pt"
    torch.save({"a": torch.zeros(50)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    assert find_zip_damage(path) == "its end is missing, or its table of contents is damaged"


def test_a_bit_that_asks_for_a_password_or_another_compression_is_damage(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("entry", b"x" * 1000)
    content = (tmp_path / "a.zip").read_bytes()
    directory = content.rindex(b"PK\x01\x02")
    for place, value in ((8, 1), (10, 99)):  # the directory's flags, and its number of the compression
        changed = bytearray(content)
        changed[directory + place] = value
        (tmp_path / "b.zip").write_bytes(changed)
        assert find_zip_damage(tmp_path / "b.zip") == "entry differs from its checksum"


def test_threads_that_the_system_refuses_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pt")

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread") as caught:
        find_zip_damage(tmp_path / "a.pt")
    assert "no further process or thread could be started" in str(describe_exhaustion(caught.value))


def test_a_file_without_checksums_has_no_known_damage(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"a": torch.zeros(5)}, path, _use_new_zipfile_serialization=False)
    assert find_zip_damage(path) is None


def test_a_file_that_could_not_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "config.yaml"
    write_text(path, "first")

    def fail() -> None:
        with atomic(path) as file:
            file.write(b"second")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "first"
    assert [child.name for child in path.parent.iterdir()] == ["config.yaml"]


def test_what_a_killed_process_left_in_a_cache_goes_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "counts.npz"
    left = {age: tmp_path / f".counts.npz.{age}{PART}" for age in (10, 7200)}
    for age, file in left.items():
        file.touch()
        os.utime(file, (file.stat().st_mtime - age,) * 2)
    with atomic(path, shared=True) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert left[10].exists()  # another process may be writing it
    assert not left[7200].exists()


@contextlib.contextmanager
def files_that_may_not_grow() -> Iterator[None]:
    """No file may be written to, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_error_of_writing_names_the_final_file_and_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    with files_that_may_not_grow(), pytest.raises(OSError, match="File too large") as caught:
        write_text(path, "text")
    assert caught.value.filename == str(path)
    mount = next(parent for parent in path.parents if parent.is_mount())
    said = f"a process may write no larger file here, whatever is free on {mount}"
    assert caught.value.strerror.startswith(f"File too large ({said}")
    assert list(path.parent.iterdir()) == []


def test_what_is_full_is_said_once_and_a_file_that_is_named_keeps_its_name(tmp_path: Path) -> None:
    def fail() -> None:
        with naming(tmp_path / "other"), naming(tmp_path / "more"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "first.txt")

    with pytest.raises(OSError, match="No space left on device") as caught:
        fail()
    assert caught.value.filename == "first.txt"
    assert caught.value.strerror.count(" are free on ") == 1


@pytest.mark.parametrize(
    ("files", "reason", "said"),
    [
        ((9, 0), errno.ENOSPC, ", holds as many files as it can, 9"),
        ((9, 3), errno.ENOSPC, " are free on "),
        ((9, 3), errno.EDQUOT, "your quota is used up on "),
        ((9, 3), errno.EROFS, ", may not be written to"),
    ],
)
def test_a_disk_without_room_is_told_from_one_without_room_for_more_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[int, int], reason: int, said: str
) -> None:
    real = os.statvfs(tmp_path)
    state = os.statvfs_result((*real[:5], files[0], files[1], files[1], *real[8:]))
    monkeypatch.setattr(os, "statvfs", lambda place: state)
    assert said in describe_disk(tmp_path / "not" / "there.pt", reason)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 40, "1 TiB"), (1 << 52, "4096 TiB")]
)
def test_bytes_are_shown_in_the_largest_unit(count: int, text: str) -> None:
    assert show_bytes(count) == text
