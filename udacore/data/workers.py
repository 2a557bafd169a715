"""Processes that prepare data ahead of its use."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterable
from typing import Any

import attrs
import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from udacore.errors import UdaError


def load(made: Dataset[Any], plans: Iterable[Any], workers: int, pin: bool = False) -> Generator[Any, None, None]:
    """`made[plan]` for each plan, in order, prepared by `workers` processes (0: here). Closing it ends them.

    pin  tensors in page-locked memory
    A UdaError of a worker arrives as it was raised there; anything else as torch wraps it.
    """
    with warnings.catch_warnings():
        # More workers than cores are of use where the disk is slow; torch warns.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            _Reporting(made),
            batch_size=None,
            sampler=plans,
            num_workers=workers,
            pin_memory=pin,
            worker_init_fn=_start_worker if workers else None,
            # A generator of its own: the workers' seeds would be drawn from the global one.
            generator=torch.Generator(),
        )
    iterator = iter(loader)
    try:
        for item in iterator:
            if isinstance(item, UdaError):
                raise item
            yield item
    finally:
        # A traceback may keep this frame; the workers must end now.
        del iterator


@attrs.frozen(eq=False)
class _Reporting(Dataset[Any]):
    """Hands a user's error over as a value: thrown in a worker, it would reach the user wrapped in two tracebacks."""

    made: Any

    def __getitem__(self, plan: Any) -> Any:
        try:
            return self.made[plan]
        except UdaError as error:
            return error


def _start_worker(number: int) -> None:
    """In a worker: one thread, and a process group of its own, so that Ctrl-C and torchrun's signals reach the parent only."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if hasattr(os, "setpgrp"):
        os.setpgrp()
