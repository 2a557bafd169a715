"""The process group of torchrun: start and end."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from udacore.engine.machine.torchrun import count_processes
from udacore.errors import UdaError

START_SECONDS = 180
"""How long the processes wait for each other before the first round."""
TASKS = Path("/proc/self/task")


@contextlib.contextmanager
def group(device: torch.device) -> Iterator[None]:
    """All processes of the run together, if there are several; UdaError if they do not
    meet within START_SECONDS."""
    if dist.is_initialized() or count_processes() <= 1:
        yield
        return
    # Functions of this module take the group as a default. Imported later, by an optimiser say, they would
    # keep the group and its threads until the interpreter is gone, and now and then such a thread aborts the
    # process.
    importlib.import_module("torch.distributed.nn.functional")
    before = _tasks()
    # Host tensors (agreements, names) travel by gloo, so that they never wait for the device.
    meet("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    threads = _tasks() - before
    try:
        yield
    finally:
        part(threads)


def meet(backend: str) -> None:
    """Start the default group from torchrun's variables; UdaError if not all are here within START_SECONDS.

    The addresses of an attempt before, which torchrun has ended, may still be in the store: each attempt has
    keys of its own. The time of a group holds for its start and for all it does later, so that a first group,
    ended at once, finds out whether the processes reach each other.
    """
    limit = timedelta(seconds=START_SECONDS)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store, rank, size = next(rendezvous("env://", timeout=limit))
        for name, kind, timeout in (("first", "gloo", limit), ("run", backend, None)):
            own = PrefixStore(f"udacore/attempt-{attempt}/{name}", store)
            dist.init_process_group(kind, store=own, rank=rank, world_size=size, timeout=timeout)
            if name == "first":
                dist.barrier()
                part()
    except (RuntimeError, ValueError) as error:  # of torch.distributed; gloo raises RuntimeError itself
        place = f"{os.environ.get('MASTER_ADDR', '')}:{os.environ.get('MASTER_PORT', '')}"
        reason = str(error).strip().splitlines()[0][:120]
        raise UdaError(
            f"the {os.environ['WORLD_SIZE']} processes of this run did not meet at {place} within {START_SECONDS} s: {reason}; "
            "start all of them, on addresses that reach each other (GLOO_SOCKET_IFNAME names the network)"
        ) from error


def part(threads: Collection[str] = ()) -> None:
    """End the default group and `threads`, those it has started.

    A thread of gloo that has ended its work may hold the last reference to a tensor, and needs Python's lock
    to drop it. Before torch 2.14 the end of the group waits for the thread with the lock held, for ever. So
    the lock is left to the threads until none of them has anything to do.
    """
    until = time.monotonic() + 5
    time.sleep(0.05)
    while any(_is_busy(thread) for thread in threads) and time.monotonic() < until:
        time.sleep(0.02)
    dist.destroy_process_group()


def _tasks() -> set[str]:
    """Threads of this process, where the system lists them."""
    return {path.name for path in TASKS.iterdir()} if TASKS.is_dir() else set()


def _is_busy(thread: str) -> bool:
    """Whether a thread runs or wants to."""
    try:
        return (TASKS / thread / "stat").read_text().rpartition(")")[2].split()[0] == "R"
    except OSError:  # it has ended
        return False
