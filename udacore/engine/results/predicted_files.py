"""The record of files that `uda predict` has written, so that no other file is replaced."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import attrs

from udacore.errors import ConfigError
from udacore.files import naming

RECORD = ".uda-predict.jsonl"
"""A line for each file that was written, in the folder of the results."""


@attrs.frozen
class Written:
    """A result: its path below the folder, the input it came from, that file's state,
    and with what it was made."""

    result: str
    input: str
    size: int
    changed: int
    key: str


class PredictedFiles:
    """The record of an output folder.

    key  names the weights, the protocol and the style: results of another key are written anew
    """

    def __init__(self, out: Path, key: str) -> None:
        if out.exists() and not out.is_dir():
            raise ConfigError(f"--out: {out} is a file; name a folder")
        self.out = out
        self.key = key
        self._written = _read(out / RECORD)

    def check(self, path: Path, result: Path) -> None:
        """ConfigError if `result` exists and is not a result of the same input: it is the user's."""
        if not result.exists() and not result.is_symlink():
            return
        before = self._written.get(self._name(result))
        if before is None:
            raise ConfigError(f"--out: {result} exists and was not written by uda predict; choose another folder")
        if before.input != str(path.resolve()):
            raise ConfigError(f"--out: {result} was made from {before.input}; choose another folder for {path}")

    def is_done(self, path: Path, result: Path) -> bool:
        """Whether the result of this input, as it is now, is there, made by the same weights
        under the same protocol."""
        return result.is_file() and self._written.get(self._name(result)) == self._describe(path, result)

    def note(self, path: Path, result: Path) -> None:
        """Record that the result was written. A short line is appended in one write, by
        any number of processes.

        OSError where the disk is full. The result is then removed: without a record it
        would pass for the user's.
        """
        entry = self._describe(path, result)
        try:
            _append(self.out / RECORD, json.dumps(attrs.asdict(entry)) + "\n")
        except OSError:
            result.unlink()
            raise
        self._written[entry.result] = entry

    def holds(self, path: Path) -> bool:
        """Whether a file was written by an earlier call: it is not an input."""
        if not path.is_relative_to(self.out):
            return False
        return self._name(path) in self._written

    def _name(self, result: Path) -> str:
        return result.relative_to(self.out).as_posix()

    def _describe(self, path: Path, result: Path) -> Written:
        state = path.stat()
        return Written(self._name(result), str(path.resolve()), state.st_size, state.st_mtime_ns, self.key)


def _append(path: Path, line: str) -> None:
    """Append a line. One that a full disk has cut off before is ended first."""
    with naming(path), path.open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
        data = (b"\n" if size and file.read(1) != b"\n" else b"") + line.encode()
        if file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _read(path: Path) -> dict[str, Written]:
    """The record by result; a line that is cut off or of another form counts for nothing, so
    its result is the user's."""
    found = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    for line in lines:
        try:
            entry = Written(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[entry.result] = entry
    return found
