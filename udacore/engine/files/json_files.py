"""Reading of the JSON files of a run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from udacore.engine.files.checkpoint_form import is_count
from udacore.engine.files.run_folder import RunFolder
from udacore.errors import DataError, one_line

LARGEST = 1 << 27
"""Bytes of the largest JSON file that is read: a list of a million names takes half of it."""

_FORM = {
    "versions": "a mapping", "plugin": "a mapping", "data": "a mapping", "weights": "a mapping",
    "files": "a mapping", "device": "text", "threads": "a whole number", "processes": "a whole number",
    "history": "a list",
}  # fmt: skip
_WAY_ON = "put the file back, or delete it: without it a run goes on, and data and versions are not compared"


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None if there is none. DataError, with the name, for a damaged one."""
    if not path.exists():
        return None
    if not path.is_file():
        raise DataError(f"{path}: is no ordinary file")
    if path.stat().st_size > LARGEST:
        raise DataError(f"{path}: has {path.stat().st_size} bytes; at most {LARGEST} are read")
    try:
        return json.loads(path.read_text())
    except RecursionError:
        raise DataError(f"{path}: not JSON that a run has written: it is nested too deep") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({one_line(str(error), 100)})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def read_json_or_none(path: Path) -> Any:
    """The same where a damaged file is as good as none, since it is made again."""
    try:
        return read_json(path)
    except DataError:
        return None


def read_environment(folder: Path) -> dict[str, Any] | None:
    """The env.json of a run folder, or None if it is missing.

    DataError, with what is wrong and the way on, for one that no run has written.
    """
    path = RunFolder(folder).environment
    try:
        content = read_json(path)
    except DataError as error:
        raise DataError(f"{error}; {_WAY_ON}") from error
    if content is None and not path.exists():
        return None
    fault = _find_fault(content)
    if fault is not None:
        raise DataError(f"{path}: {fault}; {_WAY_ON}")
    result: dict[str, Any] = content
    return result


def _find_fault(content: object) -> str | None:
    if not isinstance(content, dict):
        return f"must be a mapping, got {type(content).__name__}"
    if lacking := [key for key in ("versions", "processes") if key not in content]:
        return f"lacks {lacking[0]!r}"
    for key, asked in _FORM.items():
        if key in content and not _ASKED[asked](content[key]):
            return f"{key} must be {asked}, got {type(content[key]).__name__}"
    for place, entry in content.get("files", {}).items():
        if (
            not isinstance(entry, dict)
            or not is_count(entry.get("count"))
            or not isinstance(entry.get("prints"), str)
        ):
            return f"files, {place!r:.100}: must have a count and prints"
    wrong = [
        key
        for key in ("versions", "weights")
        if not all(isinstance(value, str) for value in content.get(key, {}).values())
    ]
    return f"{wrong[0]} must be texts by name" if wrong else None


_ASKED = {
    "a mapping": lambda value: isinstance(value, Mapping),
    "a list": lambda value: isinstance(value, list),
    "text": lambda value: isinstance(value, str),
    "a whole number": is_count,
}
