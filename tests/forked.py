"""`python -m udacore WORDS` as a process of its own, forked from one that has torch loaded: importing it anew takes
longer than most runs of the tests."""

from __future__ import annotations

import multiprocessing
import os
import resource
import runpy
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import DupFd
from pathlib import Path
from subprocess import TimeoutExpired
from typing import IO, Any

LOADED = ["torch", "torch._dynamo", "torchvision", "cv2", "tensorboardX", "udacore.cli", "udacore.engine.run"]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(LOADED)

Limit = tuple[int, int]
"""A limit of `resource.setrlimit`: which, and the value."""


def _run(words: Sequence[str], folder: str, environment: Mapping[str, str], ends: Sequence[int], limit: Limit | None) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # TMPDIR may be another
    for end, number in zip(ends, (1, 2), strict=True):
        os.dup2(end, number)
    if limit is not None:
        resource.setrlimit(limit[0], (limit[1], limit[1]))
    sys.argv[:] = ["udacore", *words]
    runpy.run_module("udacore", run_name="__main__", alter_sys=True)


class _End:
    """The end of a pipe that is handed on when it is pickled for the new process."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self.number),)


def _received(end: Any) -> int:
    return int(end.detach())


def _rest(stream: IO[str]) -> str:
    with stream:
        return stream.read()


class Forked:
    """What the tests use of `subprocess.Popen`; the process leads a session, and its output is text.

    Like any child of multiprocessing it ends without the functions that are registered with `atexit`.
    """

    def __init__(self, words: Sequence[str], folder: Path, environment: Mapping[str, str], limit: Limit | None = None) -> None:
        self.args = list(words)
        pipes = [os.pipe(), os.pipe()]

        ends = [_End(write) for _, write in pipes]
        self._process = CONTEXT.Process(target=_run, args=(self.args, str(folder), dict(environment), ends, limit))
        self._process.start()
        for _, write in pipes:
            os.close(write)
        self.stdout, self.stderr = (os.fdopen(read, encoding="utf-8") for read, _ in pipes)

    @property
    def pid(self) -> int:
        number = self._process.pid
        assert number is not None
        return number

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """The rest of both outputs; raises TimeoutExpired, after which the process still runs."""
        with ThreadPoolExecutor(2) as readers:
            texts = [readers.submit(_rest, stream) for stream in (self.stdout, self.stderr)]
            self._process.join(timeout)
            if self._process.exitcode is None:
                self.kill()  # or the readers would wait for ever
                raise TimeoutExpired(self.args, timeout or 0)
            out, err = (text.result() for text in texts)
        return out, err


class Ranks:
    """Several of them as the ranks of one run, in place of torchrun, of which each would import torch anew."""

    def __init__(self, words: Sequence[str], folder: Path, environment: Mapping[str, str], processes: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        shared = {**environment, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
        shared["LOCAL_WORLD_SIZE"] = shared["WORLD_SIZE"]
        self.args = list(words)
        self.ranks = [Forked(words, folder, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(processes)]

    @property
    def returncode(self) -> int | None:
        codes = [rank.returncode for rank in self.ranks]
        return None if None in codes else max(map(abs, codes))  # type: ignore[arg-type]

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        for rank in self.ranks:
            rank.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What all of them printed, rank after rank."""
        with ThreadPoolExecutor(len(self.ranks)) as readers:
            found = list(readers.map(lambda rank: rank.communicate(timeout), self.ranks))
        return "".join(out for out, _ in found), "".join(err for _, err in found)
