"""Processes that prepare data in advance."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import attrs
import cv2
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from udacore.errors import UdaError
from udacore.exhaustion import describe_exhaustion


def load(made: Any, plans: Iterable[Any], workers: int, pin: bool = False) -> Generator[Any, None, None]:
    """`made[plan]` for each plan, in order, prepared by `workers` processes (0: here). Closing it ends them.

    pin  tensors in page-locked memory
    A UdaError of a worker is raised here as it was there; any other exception as a RuntimeError with the
    worker's traceback. The global random states are left alone.
    """
    iterator = _started(_Reporting(made), plans, workers, pin)
    try:
        for item in iterator:
            if isinstance(item, _Problem):
                item.throw()
            yield item
    finally:
        # A traceback may keep this frame; the workers must end now.
        del iterator


def _started(made: Dataset[Any], plans: Iterable[Any], workers: int, pin: bool) -> Iterator[Any]:
    # Workers are copies of this process: where OpenCV's pool has threads, setting their
    # number in the copy crashes.
    threads = cv2.getNumThreads()
    if workers:
        cv2.setNumThreads(1)
    try:
        with warnings.catch_warnings():
            # More workers than cores are of use where the disk is slow; torch warns.
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            # A generator of its own: the workers' seeds would be drawn from the global one.
            options: dict[str, Any] = {"generator": torch.Generator(), "worker_init_fn": _start_worker if workers else None}
            return iter(
                DataLoader(made, batch_size=None, sampler=plans, collate_fn=_unchanged, num_workers=workers, pin_memory=pin, **options)
            )
    finally:
        if workers:
            cv2.setNumThreads(threads)


def _unchanged(item: Any) -> Any:
    # torch's own would turn tuples into lists.
    return item


@attrs.frozen(eq=False)
class _Problem:
    """An exception on its way from a worker.

    error  the exception itself if there was no way to go, or a UdaError; else None
    text   the worker's traceback
    """

    error: Exception | None
    text: str

    def throw(self) -> None:
        if self.error is not None:
            raise self.error
        raise RuntimeError(f"a process that prepares data failed:\n{self.text}")


@attrs.frozen(eq=False)
class _Reporting(Dataset[Any]):
    """Hands exceptions over as values. Thrown in a worker, a user's error would arrive wrapped in two
    tracebacks, and the traceback of any other would keep the loader alive, and with it the workers."""

    made: Any

    def __getitem__(self, plan: Any) -> Any:
        try:
            return self.made[plan]
        except Exception as error:
            here = get_worker_info() is None
            if not here and (said := describe_exhaustion(error)):
                error = UdaError(said)
            return _Problem(error if here or isinstance(error, UdaError) else None, traceback.format_exc())


def _start_worker(number: int) -> None:
    """In a worker: one thread, and a process group of its own, so that Ctrl-C and torchrun's
    signals reach the parent only."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if hasattr(os, "setpgrp"):
        os.setpgrp()
