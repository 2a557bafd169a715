"""env.json: versions, device and data that a run depends on, compared when it is resumed."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import torch

from udacore import ranks
from udacore.config.schema import TIMM
from udacore.data.prints import count_differences, prints_of
from udacore.data.tables import ImageTable
from udacore.engine.files.json_files import read_environment
from udacore.engine.files.run_folder import ENVIRONMENT
from udacore.engine.files.weights_prints import compare_weights, weights_prints
from udacore.engine.machine.main_rank import on_main
from udacore.engine.rounds import Session
from udacore.errors import ConfigError
from udacore.files import write_text
from udacore.plugins import Method

DECISIVE = ("udacore", "torch", "torchvision", "numpy", "opencv-python", "opencv-python-headless", "pillow", "timm")
"""Distributions that compute or read images: another version may give another outcome."""
_OTHERS = ("pluggy", "attrs")


@attrs.define(kw_only=True)
class Environment:
    """What is there now, and what differs from what a run was begun with."""

    content: dict[str, Any] = attrs.field(factory=dict)
    changes: list[str] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    is_kept: bool = False  # env.json stays that of the processes which did the work

    def write(self, session: Session) -> None:
        """Write env.json on the main rank, what was there before under `history`, and
        tell the changes in the log."""
        if not ranks.is_main():
            return
        before = read_environment(session.folder)
        content = dict(self.content)
        if before is not None:
            history = before.pop("history", [])
            if _short(before) != _short(content):
                history = [*history, _short(before)]
            content |= {"history": history} if history else {}
        if not (self.is_kept and before is not None):
            write_text(session.files.environment, json.dumps(content, indent=2) + "\n")
        for change in self.changes:
            session.tracker.say(f"--resume-anyway: {change}: the outcome is not that of an undisturbed run")
        for note in self.notes:
            session.tracker.say(f"--resume: {note}")


def look(session: Session, *, resume: bool, anyway: bool, only: str | None = None, finished: bool = False) -> Environment:
    """The environment of a run whose data is open; read on the main rank.

    resume    compare it with what the run in the folder was begun with
    anyway    go on whatever has changed
    only      the one round to run, compared likewise; its own data and that of later rounds may be others
    finished  nothing is left to do: what has changed is told, since it changes no outcome

    ConfigError, on all ranks, that names what has changed and may change the outcome;
    DataError for a damaged env.json.
    """
    found = Environment()

    def act() -> None:
        found.content = describe(session)
        before = read_environment(session.folder) if resume or only else None
        is_anew = only is not None and not resume and session.rounds[only].index == 0  # nothing of before is read
        if is_anew or not (resume or only) or not session.files.config.exists():
            return
        if before is None:
            found.notes.append(f"{ENVIRONMENT} is missing: whether data and versions are those of the beginning is not known")
            return
        found.changes, found.notes = compare(before, found.content, dict(_places(session)))
        if only is not None and not resume:
            free = tuple(f"rounds.{name}." for name in list(session.config.rounds)[session.rounds[only].index :])
            found.changes = [change for change in found.changes if not change.startswith(free)]
        if finished:
            found.notes, found.changes, found.is_kept = [*found.changes, *found.notes], [], True
        if found.changes and not anyway:
            option = "--resume" if resume else f"--round {only}"
            raise ConfigError(_refusal(session.folder, found.changes, option))

    on_main(act)
    return found


def describe(session: Session) -> dict[str, Any]:
    """What a reader needs to repeat the run, and what tells whether it can be gone on with."""
    uses_timm = any(round.model.name.startswith(TIMM) for round in session.config.rounds.values())
    names = (name for name in (*DECISIVE, *_OTHERS) if name != "timm" or uses_timm)
    versions = {name: metadata.version(name) for name in names if _is_installed(name)}
    device, method = session.machine.device, session.method
    return {
        "versions": {**versions, "python": platform.python_version()},
        "plugin": {**{key: getattr(method, key) for key in ("name", "distribution", "version", "origin")}, "code": _code(method)},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "processes": ranks.size(),
        "git": _git_hash(),
        "data": {_describe_table(table): table.source_hash() for table in session.tables.values()},
        "weights": weights_prints(session.config),
        "files": {place: prints_of(table) for place, table in _places(session)},
    }


def compare(before: Mapping[str, Any], now: Mapping[str, Any], tables: Mapping[str, ImageTable]) -> tuple[list[str], list[str]]:
    """What differs, in words: what may change the outcome, and what does not."""
    changes: list[str] = []
    notes: list[str] = []
    old, new = (_versions(content.get("versions")) for content in (before, now))
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            (changes if name in DECISIVE else notes).append(f"{name} {old.get(name)}, now {new.get(name)}")
    old, new = (_mapping(content.get("plugin")) for content in (before, now))
    named = [key for key in ("distribution", "version") if old.get(key) != new.get(key)]
    changes += [f"plugin {new.get('name')!r}, {key} {old.get(key)}, now {new.get(key)}" for key in named]
    if "code" in old and old["code"] != new.get("code") and not named:
        changes.append(f"the code of plugin {new.get('name')!r}")
    on_cpu = str(now.get("device")).startswith("cpu")
    for key, is_decisive in (("device", True), ("threads", on_cpu), ("git", False)):
        if before.get(key) != now.get(key):
            (changes if is_decisive else notes).append(f"{key} {before.get(key)}, now {now.get(key)}")
    changes += compare_weights(_mapping(before.get("weights")), _mapping(now.get("weights")))
    if "files" in before:
        old, new = _mapping(before["files"]), _mapping(now.get("files"))
        changes += [line for place in new for line in _compare_files(place, _mapping(old.get(place)), new[place], tables[place])]
        notes += [
            f"{place} lies in {new[place]['where']} now" for place in new if _mapping(old.get(place)).get("where") != new[place]["where"]
        ]
    else:
        notes.append(f"{ENVIRONMENT} says nothing of single files: whether the data is that of the beginning is not known")
    return changes, notes


def _compare_files(place: str, old: Mapping[str, Any], new: Mapping[str, Any], table: ImageTable) -> list[str]:
    """At most one line for the data of one place."""
    number, first = count_differences(str(old.get("prints", "")), str(new["prints"]))
    if not number and old.get("count") == new["count"]:
        return []
    at = f"first difference at {table.names[min(first, len(table) - 1)]!r}"
    if old.get("count") != new["count"]:
        return [f"{place}: {old.get('count')} images, now {new['count']}, {at}"]
    return [f"{place}: {number} of {new['count']} names, images or labels changed, {at}"]


def _places(session: Session) -> Iterator[tuple[str, ImageTable]]:
    """Every table of the run with the first setting that names it."""
    seen: dict[int, ImageTable] = {}  # the tables too: an id is free again once its table is gone
    for name, round in session.rounds.items():
        tables = [(f"rounds.{name}.{place}", table) for place, table in round.tables().items()]
        tables += [(f"rounds.{name}.evaluate.{data.name}", data.table) for data in round.evaluation_sets()]
        for place, table in tables:
            if id(table) not in seen:
                seen[id(table)] = table
                yield place, table


def _refusal(folder: Path, changes: list[str], option: str) -> str:
    """At most 400 characters for a path of ordinary length."""
    said = "; ".join(change[:110] for change in changes[:2]) + (f"; and {len(changes) - 2} more" if len(changes) > 2 else "")
    alone = "" if option == "--resume" else f" (without {option.partition(' ')[0]})"
    ways = f"undo it, or go on with --resume-anyway{alone}, or begin again with --force"
    return f"{option}: {folder}: since it was begun, this has changed: {said}; {ways}"


def _short(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same without checksums and paths."""
    files = {place: {key: value for key, value in _mapping(entry).items() if key in ("count", "where")} | {
        "sha256": hashlib.sha256(str(_mapping(entry).get("prints")).encode()).hexdigest()
    } for place, entry in _mapping(content.get("files")).items()}  # fmt: skip
    return {**{key: value for key, value in content.items() if key not in ("files", "data", "history")}, "files": files}


def _versions(content: Any) -> Mapping[str, Any]:
    """Versions by distribution; OpenCV is one library under two names."""
    versions = dict(_mapping(content))
    if "opencv-python-headless" in versions:
        versions.setdefault("opencv-python", versions.pop("opencv-python-headless"))
    return versions


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _code(method: Method) -> str:
    """SHA-256 of the Python files of a method: its package, or its file."""
    file = getattr(method.module, "__file__", None) or inspect.getsourcefile(type(method.module))
    if file is None or not Path(file).is_file():
        return ""
    files = sorted(Path(file).parent.rglob("*.py")) if Path(file).name == "__init__.py" else [Path(file)]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(Path(file).parent).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _describe_table(table: ImageTable) -> str:
    """What tells the tables of a run apart."""
    labels = "images and labels" if table.has_labels else "images"
    return f"{labels} of {table.dataset}, {len(table)} as {table.domain}, from {table.where(0)}"


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _git_hash() -> str | None:
    """The commit of the folder the run was started in, if it is a repository."""
    try:
        return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
