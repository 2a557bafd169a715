"""Processes that prepare data."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

import cv2
import numpy as np
import pytest

from udacore.data.workers import load
from udacore.errors import DataError


class Blurred:
    """Uses OpenCV's thread pool; number 5 is broken, number 6 a programming error."""

    def __getitem__(self, number: int) -> Any:
        if number == 5:
            raise DataError("image 5 is broken")
        if number == 6:
            raise KeyError("a mistake")
        return cv2.GaussianBlur(np.full((300, 300, 3), number, np.float32), (9, 9), 2)[0, 0, 0], os.getpid()


@pytest.mark.parametrize("workers", [0, 2])
def test_items_come_in_order(workers: int) -> None:
    assert [round(float(value)) for value, _ in load(Blurred(), [3, 1, 4, 2], workers)] == [3, 1, 4, 2]


def test_workers_start_although_opencv_has_threads_here() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.float32), (9, 9), 2)
        assert len(list(load(Blurred(), range(4), 2))) == 4
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)


def test_signals_to_the_process_group_do_not_reach_workers() -> None:
    items = load(Blurred(), range(4), 1)
    pid = next(items)[1]
    assert os.getpgid(pid) == pid != os.getpgid(0)
    items.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_users_error_stays_one_line(workers: int) -> None:
    with pytest.raises(DataError) as caught:
        list(load(Blurred(), [1, 5], workers))
    assert str(caught.value) == "image 5 is broken"


def test_a_mistake_keeps_its_traceback_and_leaves_no_process() -> None:
    with pytest.raises(KeyError, match="a mistake") as mistake:
        list(load(Blurred(), [1, 6], 0))
    assert "__getitem__" in str(mistake.getrepr())
    with pytest.raises(RuntimeError, match="a process that prepares data failed") as wrapped:
        list(load(Blurred(), [1, 6, 2, 3, 4], 2))
    assert 'KeyError: "a mistake"' in str(wrapped.value).replace("'", '"')
    assert "in __getitem__" in str(wrapped.value)
    assert multiprocessing.active_children() == []


def test_more_workers_than_cores_are_no_warning() -> None:
    assert len(list(load(Blurred(), range(3), (os.cpu_count() or 1) + 1))) == 3
