"""Which classes the labels hold, and how that is remembered."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from udacore.data.statistics import cache_folder, class_statistics, count_pixels
from udacore.errors import DataError
from udacore.labels import get_label_space
from udacore.testing.processes import part

SPACE = get_label_space("streets")
Table = Callable[..., Any]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Unreadable:
    """The table, with labels that must not be read again."""

    def __init__(self, table: Any) -> None:
        self.source_hash, self.count = table.source_hash, len(table)

    def __len__(self) -> int:
        return self.count

    def read_label(self, index: int) -> Any:
        raise DataError("read again")


def test_presence_and_pixels_are_counted_per_file_and_class(cache: Path, make_table: Table) -> None:
    statistics = class_statistics(make_table(), SPACE)
    assert statistics.pixels.shape == (7, 12)
    assert statistics.pixels.dtype == np.int64
    assert statistics.pixels[4].tolist() == [0, 96] + [0] * 10
    assert statistics.presence[:, :3].tolist() == [[i % 3 == k for k in range(3)] for i in range(7)]


def test_ignored_pixels_count_nowhere() -> None:
    assert count_pixels(np.array([[0, 2, 255], [2, 2, 255]], np.uint8), 3).tolist() == [1, 0, 3]


def test_the_second_use_reads_no_label(cache: Path, make_table: Table) -> None:
    first = class_statistics(make_table(), SPACE)
    assert [path.suffix for path in cache.iterdir()] == [".npz"]
    assert np.array_equal(first.pixels, class_statistics(Unreadable(make_table()), SPACE).pixels)


def test_another_list_or_label_space_is_counted_anew(cache: Path, make_table: Table) -> None:
    class_statistics(make_table(), SPACE)
    with pytest.raises(DataError, match="read again"):
        class_statistics(Unreadable(make_table(count=6)), SPACE)
    with pytest.raises(DataError, match="read again"):
        class_statistics(Unreadable(make_table()), get_label_space("cityscapes19"))


@pytest.mark.parametrize("content", [b"", b"PK nonsense", None])
def test_a_damaged_cache_file_is_made_anew(cache: Path, make_table: Table, content: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    good = class_statistics(make_table(), SPACE)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:60] + bytes(20) + whole[80:] if content is None else content)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(class_statistics(make_table(), SPACE).pixels, good.pixels)
    assert "is damaged and is made anew" in caplog.text
    assert np.array_equal(class_statistics(Unreadable(make_table()), SPACE).pixels, good.pixels)


def test_a_cache_that_cannot_be_written_is_only_a_warning(cache: Path, make_table: Table, caplog: pytest.LogCaptureFixture) -> None:
    cache.write_text("a file where the folder should be")
    assert class_statistics(make_table(), SPACE).pixels.sum() == 7 * 96
    assert "could not be kept" in caplog.text


def test_the_cache_lies_in_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UDACORE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "udacore"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "udacore"


def count_on(rank: int, folder: Path, table: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    np.save(folder / f"{rank}.npy", class_statistics(table, SPACE).pixels)
    part()


def test_two_ranks_share_the_counting_and_agree(cache: Path, make_table: Table, tmp_path: Path) -> None:
    processes = [multiprocessing.get_context("fork").Process(target=count_on, args=(rank, tmp_path, make_table())) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    expected = class_statistics(make_table(), SPACE).pixels
    assert all(np.array_equal(np.load(tmp_path / f"{rank}.npy"), expected) for rank in range(2))
