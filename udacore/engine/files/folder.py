"""The run folder: its place, the lock on it, and the point where a resumed run goes on."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from udacore import ranks
from udacore.config.files import read_mapping
from udacore.config.resolve import dump_config, load_config
from udacore.config.schema import Config
from udacore.engine.files.checkpoint import Checkpoints
from udacore.engine.files.json_files import read_environment
from udacore.engine.files.metrics_file import check_length
from udacore.engine.files.own_files import find_foreign, find_odd_file, has_own_config, is_begun, move_aside, put_back
from udacore.engine.files.run_folder import CONFIG, METRICS, RunFolder, round_label, steps_label
from udacore.engine.machine.main_rank import on_main
from udacore.errors import ConfigError, DataError, UdaError, list_names, near_matches
from udacore.files import write_text
from udacore.places import expand

FREE_KEYS = {"workers", "log_every", "save_every", "tensorboard", "folder"}
"""What may change between a run and its resumption without changing the outcome."""
_COMPARED = re.compile(r"name|device|threads|(.+\.)?(source|target|evaluate\.[^.]+)\.(root|list|except)")
"""Settings that --resume leaves to the comparison of what is there: where data lies says
nothing of its contents."""

def run_folder(config: Config) -> Path:
    """`<folder>/<name>`; ConfigError for a name that would lie elsewhere."""
    name = config.name or Path(config.plugin).stem
    if name != Path(name).name or name in (".", ".."):
        raise ConfigError(f"name: {name!r} must be the name of a folder, without slashes; where run folders lie is set by folder=...")
    return expand(config.folder) / (f"{name}-control" if config.control else name)


def check(path: Path, config: Config, *, resume: bool, force: bool, only: str | None) -> None:
    """Whether the folder may be used; nothing is touched yet. A folder that exists needs
    `resume`, `force` or `only`."""
    if only is not None and only not in config.rounds:
        raise ConfigError(f"--round: there is no round {only!r}{near_matches(only, config.rounds)}")

    def look() -> None:
        if not path.exists():
            return
        if not path.is_dir():
            raise ConfigError(f"{path} is a file, not a folder; choose another with name=...")
        if not is_begun(path):
            return
        if not (resume or force or only):
            raise ConfigError(f"{path}: the run folder exists; go on with --resume, begin again with --force, or choose another with name=...")
        odd = find_odd_file(path)
        if odd is not None and (resume or only is not None):
            raise DataError(f"{odd}: is no ordinary file; put the file back, or choose another folder with name=...")
        _check_is_ours(path, whole=only is None and not resume)
        if resume or only is not None:
            check_same_config(path, config, None if resume else only)
        if resume:
            check_processes(path)
        elif only is not None and not force and Checkpoints(RunFolder(path).checkpoints).exists(round_label(list(config.rounds).index(only), only)):
            raise ConfigError(f"--round {only}: it is finished in {path}; run it again with --force (later rounds become stale)")

    on_main(look)


@contextlib.contextmanager
def lock_folder(path: Path) -> Iterator[None]:
    """Keeps other runs out of the folder, which is made if missing; ConfigError if one is at work in it."""
    lock = FileLock(RunFolder(path).lock)

    def take() -> None:
        path.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(f"{path}: another run is at work in this folder; wait for it, or choose another with name=...") from None

    on_main(take)
    try:
        yield
    finally:
        lock.release()


def prepare(path: Path, config: Config, *, resume: bool, force: bool, only: str | None) -> None:
    """Make a folder that was checked and is held ready on the main rank, emptied if the run begins
    again, and write config.yaml."""

    def act() -> None:
        put_back(path)
        if resume:
            check_length(path, resume_point(config, Checkpoints(RunFolder(path).checkpoints)).get(METRICS, 0))
        if only is not None and not resume:
            _make_stale(path, config, only)
        elif force and not resume and is_begun(path):
            _check_is_ours(path, whole=True)  # once more: the data was looked at in between
            move_aside(path)
        elif not resume and is_begun(path):  # it was free when it was checked, and is held now
            raise ConfigError(f"{path}: another run has just begun in this folder; choose another with name=...")
        write_text(RunFolder(path).config, dump_config(config))

    on_main(act)


def _check_is_ours(path: Path, *, whole: bool) -> None:
    """ConfigError for a folder that no run has made and, if it is to be emptied as a
    `whole`, for one that holds more."""
    foreign = find_foreign(path)
    is_named = has_own_config(path) or RunFolder(path).config.exists()  # a broken or another one is named when it is compared
    if foreign and (whole or not is_named):
        what = "a config.yaml that no run has written" if foreign[0] == CONFIG else list_names(foreign)
        raise ConfigError(f"{path} is not a run folder: it holds {what}; it is left alone, choose another with name=...")


def _make_stale(path: Path, config: Config, only: str) -> None:
    """Forget what the round that is run again, and all later ones, have left: their
    checkpoints get another name."""
    names = list(config.rounds)
    checkpoints = Checkpoints(RunFolder(path).checkpoints)
    place = names.index(only)
    for index, name in enumerate(names[place:], place):
        for label in (round_label(index, name), steps_label(index, name)):
            if checkpoints.exists(label):
                checkpoints.path(label).replace(checkpoints.path(f"{label}.stale"))
        files, label = RunFolder(path), round_label(index, name)
        for overlay in (files.labels(label), files.images(label)):  # with all files: other settings may make others of the same weights
            shutil.rmtree(overlay, ignore_errors=True)
    if checkpoints.exists("last") and checkpoints.load("last").round not in names[:place]:
        checkpoints.path("last").unlink()


def check_same_config(path: Path, config: Config, only: str | None = None) -> None:
    """ConfigError naming what differs between this configuration and the one the folder was begun with.

    only  the first round that may differ: it is run anew, and what follows is stale
    """
    file = RunFolder(path).config
    if not file.exists():
        return
    before = _complete(file, config)
    now = yaml.safe_load(dump_config(config))
    free = [] if only is None else [f"rounds.{name}" for name in list(config.rounds)[list(config.rounds).index(only) :]]
    differing = [key for key in _differences(before, now) if key.split(".")[0] not in FREE_KEYS and ".".join(key.split(".")[:2]) not in free]
    if only is None and (environment := read_environment(path)) and "files" in environment:
        differing = [key for key in differing if not _COMPARED.fullmatch(key)]
    if differing:
        option = "--resume" if only is None else f"--round {only}"
        raise ConfigError(f"{option}: {path} was begun with other settings: {list_names(differing, most=6)}; use those, or --force to begin again")


def _complete(file: Path, config: Config) -> Any:
    """A folder's configuration with the defaults of settings that are newer than the folder."""
    settings = type(next(iter(config.rounds.values())).method)
    try:
        return yaml.safe_load(dump_config(load_config(str(file), method_settings=settings)))
    except ConfigError:  # written for another method, or by hand: compare it as it stands
        return read_mapping(file)


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = [*now, *(key for key in before if key not in now)]
        return [found for key in keys for found in _differences(before.get(key), now.get(key), f"{where}.{key}" if where else str(key))]
    return [] if before == now else [where]


def resume_point(config: Config, checkpoints: Checkpoints) -> Mapping[str, int]:
    """What `RunState.written` of the newest checkpoint says; empty if there is none."""
    rounds = list(config.rounds)
    newest, place = None, -1
    for index, name in enumerate(rounds):
        for label in (steps_label(index, name), round_label(index, name)):
            if checkpoints.exists(label):
                newest, place = label, index
    if checkpoints.exists("last"):
        last = checkpoints.load("last")
        if last.round in rounds and rounds.index(last.round) > place:
            return last.written
    return checkpoints.load(newest).written if newest else {}


def check_processes(path: Path) -> None:
    """UdaError if the folder's run had another number of processes: the outcome would not be the same."""
    environment = read_environment(path)
    if environment is not None and environment.get("processes") != ranks.size():
        raise UdaError(f"--resume: {path} was run by {environment.get('processes')} processes, now there are {ranks.size()}; use as many, or --force")
