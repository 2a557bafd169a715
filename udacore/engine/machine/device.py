"""Device, precision and seeds."""

from __future__ import annotations

import contextlib
import os
import random
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Literal

import attrs
import numpy as np
import torch

from udacore import ranks
from udacore.config.schema import Config
from udacore.engine.machine import processes
from udacore.engine.machine.torchrun import read_number
from udacore.errors import ConfigError


@attrs.frozen(kw_only=True)
class Machine:
    """Where a run computes, and in which precision."""

    device: torch.device
    amp: Literal["off", "bf16", "fp16"] = "off"
    channels_last: bool = False

    def autocast(self) -> AbstractContextManager[object]:
        """Context of forwards and losses: bf16 or fp16 where the configuration says so."""
        if self.amp == "off":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16 if self.amp == "bf16" else torch.float16)

    @property
    def scale_on(self) -> torch.device | None:
        """The device on which losses are scaled; None where gradients need no scale."""
        return self.device if self.amp == "fp16" else None

    @property
    def memory_format(self) -> torch.memory_format:
        """Layout of images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def choose_device(word: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda`, `cuda:1` or `mps` means for this process;
    ConfigError if there is none."""
    local_rank = read_number("LOCAL_RANK", 0)
    if word == "auto":
        word = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(word)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):  # torch knows more words, such as meta
        raise ConfigError(f"device: {word!r} is no device; possible: auto, cpu, cuda, cuda:1, mps")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(f"device: {word!r}, but torch finds no CUDA device here; use device=cpu or device=auto")
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        if device.index >= torch.cuda.device_count():
            raise ConfigError(f"device: {device} does not exist; there are {torch.cuda.device_count()}")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device: 'mps', but torch finds no such device here; use device=cpu")
    return device


@contextlib.contextmanager
def open_machine(config: Config) -> Iterator[Machine]:
    """Set up device, threads and processes as the configuration and torchrun say; take the
    processes down afterwards."""
    device = choose_device(config.device)
    if config.amp == "fp16" and device.type == "mps":
        raise ConfigError("amp: fp16 needs a CUDA device or the CPU, the device is mps; possible there: off, bf16")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark)
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        with processes.group(device), keep_compiled_graphs() if config.compile else contextlib.nullcontext():
            yield Machine(device=device, amp=config.amp, channels_last=config.channels_last)
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.backends.cudnn.benchmark = before[2]


def keep_compiled_graphs() -> AbstractContextManager[object]:
    """Compiled code leaves what its backward pass read: that of one part is followed by that of
    another over the same graph."""
    from torch._functorch import config  # here: with torch's compiler, two seconds

    patch: AbstractContextManager[object] = config.patch(donated_buffer=False)
    return patch


def derive_seed(*keys: int | str) -> int:
    """A seed of 63 bits from numbers and names; the same on every machine."""
    words = [key if isinstance(key, int) else zlib.crc32(key.encode()) for key in keys]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_everything(seed: int, device: torch.device) -> None:
    """Set the global generators, for what a plugin draws without one of its own (dropout); each
    rank gets its own stream."""
    seed = derive_seed(seed, ranks.rank())
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
