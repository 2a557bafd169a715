"""Files are written whole or not at all, and a changed byte is found by its checksum."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from udacore.files import PART, atomic, find_png_damage, find_zip_damage, write_text


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


def test_no_changed_bit_of_a_png_shows_another_picture() -> None:
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
