"""Checkpoints: atomic files of tensors, numbers and names, read without unpickling."""

from __future__ import annotations

import contextlib
import hashlib
import random
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from udacore import ranks
from udacore.engine.files.checkpoint_form import as_bytes, as_numpy_state, as_python_state, find_fault, is_count
from udacore.engine.files.own_files import delete_replaced
from udacore.engine.machine.main_rank import as_user_error, on_main
from udacore.errors import DataError, UdaError
from udacore.files import atomic
from udacore.models.plain_files import load_plain

FORMAT = 1
LAST = "last"
"""Name of the checkpoint of a round whose steps are under way."""

BEST = "best"
"""Name of the checkpoint of the model that a round with `keep: best` has chosen so far."""


@attrs.frozen(kw_only=True)
class RunState:
    """Where a run stands.

    round, step   the round, and optimiser steps done in it
    model         state_dict of the bare model
    optimizers    state_dict of each part's optimiser (empty once the steps are done)
    random        random states of all ranks
    numbers       recorded since the last log line, by all ranks
    best          best score of the round so far, or None
    scalers       under fp16 each part's scale of losses (empty once the steps are done)
    frozen        SHA-256 of the files that hold what `model` leaves out, by part
    written       bytes of metrics.jsonl and log.txt that belong to this state; under
                  `steps`, steps of the whole run
    """

    round: str
    step: int
    model: dict[str, Tensor]
    optimizers: dict[str, Any] = attrs.field(factory=dict)
    random: list[dict[str, Any]] = attrs.field(factory=list)
    numbers: list[dict[str, list[float]]] = attrs.field(factory=list)
    best: float | None = None
    written: dict[str, int] = attrs.field(factory=dict)
    scalers: dict[str, dict[str, float]] = attrs.field(factory=dict)
    frozen: dict[str, str] = attrs.field(factory=dict)


class Checkpoints:
    """The files in `checkpoints/`: `last`, `<k>-<name>-steps`, `<k>-<name>`, `best`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._round_of_last: str | None = None

    def path(self, name: str) -> Path:
        """Where the checkpoint of this name lies."""
        return self.folder / f"{name}.pt"

    def exists(self, name: str) -> bool:
        """Whether it was written to its end."""
        return self.path(name).exists()

    def save(self, name: str, state: RunState) -> None:
        """Write a checkpoint; called by all ranks, written by the main one."""
        check_equal_buffers(state.model)
        content = {field.name: getattr(state, field.name) for field in attrs.fields(RunState)}
        for field in ("scalers", "frozen"):
            if not content[field]:
                del content[field]  # as in files of versions that did not know it

        if name == LAST:
            self._round_of_last = state.round

        def write() -> None:
            _write(self.path(name), {"format": FORMAT, **content})
            if name != BEST:  # from here the run can go on, so the one that it replaces is of no more use
                delete_replaced(self.folder.parent)

        on_main(write)

    def is_last_of(self, round: str) -> bool:
        """Whether `last` was written in the steps of this round; it is read at most once for
        that. Raises as `load` does."""
        if not self.exists(LAST):
            return False
        if self._round_of_last is None:
            self._round_of_last = self.load(LAST).round
        return self._round_of_last == round

    def load(self, name: str) -> RunState:
        """Read a checkpoint. UdaError if it is missing; DataError, with the one from which the run can
        go on, if it is damaged."""
        try:
            return read_checkpoint(self.path(name))
        except DataError as error:
            raise DataError(f"{error}{self._find_way_on(name)}") from error

    def _find_way_on(self, name: str) -> str:
        """What to do about a damaged checkpoint, by the newest other one that is sound."""
        others = [path for path in self.folder.glob("*.pt") if path.stem not in (name, BEST) and ".stale" not in path.name]
        others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        sound = next((path for path in others if _is_sound(path)), None)
        if sound is None:
            return "; no other checkpoint is sound: begin again with --force"
        # the steps since `last` lead to another best model, so they are taken again
        also = f" and {self.path('last')}" if name == BEST and self.exists("last") else ""
        if also:
            sound = next((path for path in others if path.stem != "last" and _is_sound(path)), None)
        begins = "the run begins at its first step" if sound is None else f"the run goes on from {sound.name}, which is sound"
        return f"; delete it{also} and start the same command with --resume: {begins}"


def write_atomically(path: Path, content: Any) -> None:
    """torch.save, so that the file is whole or not there. UdaError on a full disk, which it names."""
    try:
        _write(path, content)
    except OSError as error:
        raise as_user_error(error) from error


def _write(path: Path, content: Any) -> None:
    """The same; OSError with file and disk as `naming` makes it."""
    refused: list[OSError] = []
    try:
        with atomic(path) as file:
            torch.save(content, _Writing(file, refused))  # type: ignore[arg-type]  # it needs no more than write and flush
    except RuntimeError as error:
        if not refused:
            raise
        raise refused[0] from error


class _Writing:
    """A file that remembers why it could not be written: torch tells only that the position
    is not what it expected."""

    def __init__(self, file: BinaryIO, refused: list[OSError]) -> None:
        self._file = file
        self._refused = refused

    def write(self, data: bytes) -> int:
        """All of `data`."""
        try:
            return self._file.write(data)
        except OSError as error:
            self._refused.append(error)
            raise

    def flush(self) -> None:
        """Nothing is held back."""


def read_tensors(path: Path) -> dict[Any, Any]:
    """A file of tensors and plain values. UdaError if it is missing, DataError if it is
    damaged or holds anything else."""
    if not path.exists():
        raise UdaError(f"{path}: no such checkpoint")
    try:
        content = load_plain(path)
    except ValueError as error:
        raise DataError(f"{path}: not a readable checkpoint ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a checkpoint: it holds a {type(content).__name__}")
    return content


def read_checkpoint(path: Path) -> RunState:
    """A checkpoint that a run has written, whole; raises as `read_tensors` does, also for
    entries of another form."""
    return parse_checkpoint(read_tensors(path), path)


def parse_checkpoint(content: dict[Any, Any], path: Path) -> RunState:
    """What a file of ours holds. DataError, which names the file and the entry, for one of another form."""
    found = {key: value for key, value in content.items() if key != "format"}
    version = content.get("format")
    if not is_count(version) or version != FORMAT:
        raise DataError(f"{path}: not a checkpoint of this version of udacore")
    fault = find_fault(found)
    if fault is not None:
        raise DataError(f"{path}: not a checkpoint that a run has written: {fault}")
    return RunState(**found)


def _is_sound(path: Path) -> bool:
    """Whether a run could go on from a checkpoint, as far as the file itself tells."""
    try:
        read_checkpoint(path)
    except UdaError:
        return False
    return True


def digest(state: Mapping[str, Tensor]) -> str:
    """A name for the exact values of a state_dict."""
    hasher = hashlib.sha256()
    for name, value in sorted(state.items()):
        hasher.update(name.encode())
        hasher.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return hasher.hexdigest()[:16]


def check_equal_buffers(state: Mapping[str, Tensor]) -> None:
    """UdaError if a value differs between ranks: a method forgot to sum over them."""
    if ranks.size() == 1:
        return
    digests = ranks.all_gather_object({name: digest({name: value}) for name, value in state.items()})
    unequal = [name for name in state if len({row[name] for row in digests}) > 1]
    if unequal:
        raise UdaError(f"{len(unequal)} values differ between processes, first {unequal[0]!r}; sum over ranks with udacore.ranks.all_sum before an update")


def copy_state(model: nn.Module, leave: Collection[str] = ()) -> dict[str, Tensor]:
    """The model's state_dict on the CPU, not shared with the model, without the entries `leave`."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items() if name not in leave}


def _uses_cuda() -> bool:
    """Whether this process has a CUDA context; to ask for the random state would make one."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def random_states() -> list[dict[str, Any]]:
    """The global random states of all ranks: what a plugin may draw from without a generator of its own."""
    kind, key, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    own = {
        "torch": torch.get_rng_state().tolist(),
        "cuda": torch.cuda.get_rng_state().tolist() if _uses_cuda() else [],
        "numpy": [str(kind), np.asarray(key).tolist(), int(position), int(has_gauss), float(cached)],
        "python": [version, list(words), gauss],
    }
    return ranks.all_gather_object(own)


def set_random_states(states: list[dict[str, Any]]) -> None:
    """Put this rank's random states back. `states`: as `random_states` gave them, for as many
    processes as there are now."""
    own = states[ranks.rank()]
    torch.set_rng_state(as_bytes(own["torch"]))
    if own["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(as_bytes(own["cuda"]))
    np.random.set_state(as_numpy_state(own["numpy"]))
    random.setstate(as_python_state(own["python"]))


@contextlib.contextmanager
def preserve_state(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradient inside; random states and train/eval modes as they were afterwards.

    What the model prints goes to stderr, since stdout is for results.
    """
    modes = {module: module.training for module in model.modules()}
    states = _global_states()
    model.eval()
    try:
        with torch.no_grad(), contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        _set_global_states(states)


def _global_states() -> tuple[Any, ...]:
    """The global random states of this process."""
    return torch.get_rng_state(), torch.cuda.get_rng_state() if _uses_cuda() else None, np.random.get_state(), random.getstate()


def _set_global_states(states: tuple[Any, ...]) -> None:
    torch.set_rng_state(states[0])
    if states[1] is not None:
        torch.cuda.set_rng_state(states[1])
    np.random.set_state(states[2])
    random.setstate(states[3])
