"""Which files a run writes, and how a new run replaces an old one; no other file is moved or deleted."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from udacore.config.files import read_mapping
from udacore.engine.files.run_folder import CONFIG, ENVIRONMENT, LOCK, LOG, METRICS, REPLACED, REPORT, RunFolder
from udacore.errors import ConfigError
from udacore.files import PART

_FILES = {CONFIG, ENVIRONMENT, METRICS, LOG, REPORT, LOCK}
_LABEL = r"\d+-[A-Za-z0-9][A-Za-z0-9_-]*"
_INSIDE = {
    "checkpoints": re.compile(rf"(last|best|{_LABEL})(\.stale)?\.pt"),
    "tensorboard": re.compile(r"events\.out\.tfevents\..*"),
    "rounds": re.compile(_LABEL),
}
"""What the folders of a run hold. Below `rounds/<k>-<name>` lie the method's own files, of any name."""


def is_begun(path: Path) -> bool:
    """Whether a folder holds more than a run leaves that was killed before it wrote its configuration."""
    return path.is_dir() and any(not _is_claim(child) for child in path.iterdir())


def _is_claim(child: Path) -> bool:
    """A lock, a file that was being written, or an empty configuration, as
    version 0.1 left it for a moment."""
    is_empty = child.name == CONFIG and child.is_file() and not child.stat().st_size
    return child.name in (LOCK, CONFIG + PART) or is_empty


def find_foreign(path: Path) -> list[str]:
    """Names, relative to `path`, of what no run has written there; empty for a run folder.

    A folder whose config.yaml is another program's is foreign as a whole: then the
    first name is `config.yaml`.
    """
    if not has_own_config(path):
        return [CONFIG] if (path / CONFIG).exists() else sorted(child.name for child in path.iterdir())
    return sorted(_foreign_below(path))


def find_odd_file(path: Path) -> Path | None:
    """The first file of a run that is a folder, a pipe or the like: to open a pipe would wait for ever."""
    return next((path / name for name in sorted(_FILES) if (path / name).exists() and not (path / name).is_file()), None)


def has_own_config(path: Path) -> bool:
    """Whether the configuration is one that a run has written: it names a plugin, a
    seed and complete rounds."""
    file = path / CONFIG
    if not file.exists():
        file = path / f"{REPLACED}{PART}" / CONFIG  # killed while the old run was moved aside
    try:
        config = read_mapping(file)
    except (ConfigError, OSError):
        return False
    return {"plugin", "seed", "rounds"} <= set(config) and isinstance(config["rounds"], dict)


def _foreign_below(path: Path) -> Iterator[str]:
    for child in path.iterdir():
        name = child.name.removesuffix(PART)
        if child.is_symlink():  # what it leads to was not made by a run
            yield child.name
        elif name == REPLACED and child.is_dir():
            yield from (f"{child.name}/{inner}" for inner in _foreign_below(child))
        elif name in _INSIDE and child.is_dir():
            expected = _INSIDE[name]
            found = (inner.name for inner in child.iterdir())
            yield from (f"{name}/{inner}" for inner in found if not expected.fullmatch(inner.removesuffix(PART)))
        elif name not in _FILES or not child.is_file():
            yield child.name


def move_aside(path: Path) -> None:
    """Move the run in a folder into `.replaced`, all of it or nothing; one that is there
    already is kept instead.

    A run that was itself begun by --force and has no checkpoint yet is worth less than
    the one that it replaced.
    """
    if RunFolder(path).replaced.exists():
        _delete(path, keep={REPLACED, LOCK})
        return
    aside = path / f"{REPLACED}{PART}"
    aside.mkdir(exist_ok=True)
    children = [child for child in path.iterdir() if child.name not in (aside.name, LOCK)]
    for child in sorted(children, key=lambda child: child.name == CONFIG):  # the configuration last: see `put_back`
        child.rename(aside / child.name)
    aside.rename(RunFolder(path).replaced)


def put_back(path: Path) -> None:
    """Undo a `move_aside` that a kill cut short."""
    aside = path / f"{REPLACED}{PART}"
    if not aside.is_dir():
        return
    for child in list(aside.iterdir()):
        os.replace(child, path / child.name)
    aside.rmdir()


def delete_replaced(path: Path) -> None:
    """Delete the run that the one in this folder replaces."""
    shutil.rmtree(RunFolder(path).replaced, ignore_errors=True)


def _delete(path: Path, keep: set[str]) -> None:
    for child in path.iterdir():
        if child.name in keep:
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
