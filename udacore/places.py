"""Names of files as users write them: `~`, `package:path`, and names that no file can have."""

from __future__ import annotations

import errno
import importlib.resources
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

from udacore.errors import ConfigError, one_line

NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP)
"""Errors of the system for words that can name no file, or none that is ever found."""
_IN_PACKAGE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([^:\\]+)")


def expand(text: str | Path) -> Path:
    """The path with `~` and `~user` replaced. ConfigError where there is no such home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{one_line(str(text), 200)}: no home folder is known for {Path(text).parts[0]!r}; write the path out") from None


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; a name that is too long, or no name at all, is none."""
    return _holds(path, Path.is_file)


def is_dir(path: str | Path) -> bool:
    """Whether there is such a folder; see `is_file`."""
    return _holds(path, Path.is_dir)


def exists(path: str | Path) -> bool:
    """Whether there is anything of this name; see `is_file`."""
    return _holds(path, Path.exists)


def _holds(path: str | Path, check: Callable[[Path], bool]) -> bool:
    try:
        return bool(str(path)) and check(Path(path))
    except (OSError, ValueError):
        return False


def names_package(text: str) -> bool:
    """Whether a text has the form `package:path`, and no file has that name."""
    return _IN_PACKAGE.fullmatch(text) is not None and not is_file(text)


def find_place(text: str) -> Path:
    """The path that a text means: one of the disk, or with `package:path` one inside an importable package.

    ConfigError for a package that cannot be imported, and for a path that leads out of it. Whether the file
    is there is not looked at.
    """
    if not names_package(text):
        return expand(text)
    package, _, inside = text.partition(":")
    if ".." in Path(inside).parts or Path(inside).is_absolute():
        raise ConfigError(f"{text}: the path behind the colon lies inside the package, without '..'")
    try:
        root = importlib.resources.files(package)
    except (ImportError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{text}: no package {package!r} can be imported ({one_line(str(error), 120)})") from None
    if not isinstance(root, Path):
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            spec = None
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        return next((place for place in (Path(each, inside) for each in folders) if place.exists()), Path(*folders[:1], inside))
    return root / inside
