"""What the checks of a method reached: preset, settings read, and losses."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import attrs

from udacore.config.convert import field_names
from udacore.errors import UdaError, list_names, one_line
from udacore.methods.discovery import list_plugins
from udacore.plugins import hooks_of
from udacore.testing.checks.builds_on import find_bases, own_modules
from udacore.testing.checks.loss_names import find_loss_names, find_missing
from udacore.testing.checks.subject import Subject

if TYPE_CHECKING:
    from udacore.testing.checks.trial import Trial

_LOOKS_ONLY = ("_find_problems", "__attrs_post_init__")
"""Methods of settings that check them: what they read is not at work."""


@attrs.define
class Reach:
    """What was reached so far.

    read      names of the settings that code of the method has read
    losses    names of the losses that its hooks gave, in the order in which they came
    recorded  names of the other numbers that they recorded
    is_used   whether any of its hooks may have been called
    """

    read: set[str] = attrs.field(factory=set)
    losses: dict[str, None] = attrs.field(factory=dict)
    recorded: dict[str, None] = attrs.field(factory=dict)
    is_used: bool = False

    @contextlib.contextmanager
    def watching(self, settings: type) -> Iterator[None]:
        """Note which settings are read inside, whichever object of the class holds them. What the
        core reads does not count."""
        self.is_used = True
        names = {field.name for field in attrs.fields(settings)}
        if not names:
            yield
            return
        own, ask = vars(settings).get("__getattribute__"), cast("Callable[[Any, str], Any]", settings.__getattribute__)

        def note(instance: Any, name: str) -> Any:
            if name in names and name not in self.read and _is_methods(sys._getframe(1)):
                self.read.add(name)
            return ask(instance, name)

        type.__setattr__(settings, "__getattribute__", note)
        try:
            yield
        finally:
            if own is None:
                type.__delattr__(settings, "__getattribute__")
            else:
                type.__setattr__(settings, "__getattribute__", own)

    def see_run(self, read: list[str], metrics: Path) -> None:
        """Add what a run in a process of its own has read, and the losses that it logged."""
        self.is_used = True
        self.read |= set(read)
        for line in metrics.read_text().splitlines() if metrics.is_file() else ():
            with contextlib.suppress(ValueError):  # the last line of a run that died
                self.losses |= dict.fromkeys(key.removeprefix("loss/") for key in json.loads(line) if key.startswith("loss/"))

    def describe(self, subject: Subject) -> list[str]:
        """Lines on what was tried and what was not: none where the method cannot be loaded, and one
        where its preset cannot."""
        lines: list[str] = []
        try:
            lines.append(one_line(f"preset: {subject.tried}"))
            config, method = subject.config, subject.method
        except UdaError:
            return lines
        default = method.settings()
        used = [round.method for round in config.rounds.values()]
        fields = {shown: field.name for shown, field in field_names(method.settings).items()}
        unread = [shown for shown, name in fields.items() if name not in self.read]
        same = [shown for shown, name in fields.items() if all(getattr(each, name) == getattr(default, name) for each in used)]
        named = find_loss_names(_loss_hooks(subject), [*(module.__name__ for module in own_modules(method)), *_base_modules(subject)])
        lines.append(f"settings never read: {_listed(unread)}")
        lines.append(f"settings never changed: {_listed(same)}")
        lines.append(f"losses seen: {_listed(list(self.losses))}")
        lines.append(f"losses and numbers never seen: {_listed(find_missing(named, [*self.losses, *self.recorded]))}")
        return [one_line(line) for line in lines]


def _listed(names: list[str]) -> str:
    return list_names(names, most=30, characters=360) if names else "none"


def _loss_hooks(subject: Subject) -> list[Any]:
    module = subject.method.module
    return [getattr(module, name) for name in hooks_of(subject.method) if name.endswith("_loss") and hasattr(module, name)]


def _base_modules(subject: Subject) -> list[str]:
    """Names of the packages of the methods that this one builds on."""
    bases = find_bases(subject.method)
    return [plugin.module.partition(":")[0] for plugin in list_plugins() if plugin.name in bases]


def _is_methods(frame: FrameType | None) -> bool:
    """Whether code of a method asks, be it through attrs; else the core does, which
    compares and writes settings."""
    while frame is not None:
        top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if top not in ("attr", "attrs", "copy") and not frame.f_code.co_filename.startswith("<attrs generated"):
            return top != "udacore" and frame.f_code.co_name not in _LOOKS_ONLY
        frame = frame.f_back
    return False


def try_labels(trial: Trial) -> None:
    """Have the method make the pseudo labels that its rounds ask for, in a folder that goes: what it
    reads for them is noted.

    Whether they are right is for the checks of whole runs; what fails here is said by them.
    """
    from udacore.engine import round_end, training

    if "make_pseudo_labels" not in hooks_of(trial.session.method):
        return
    for stage in trial.stages:
        if trial.session.rounds[stage.name].makes_labels:
            with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.suppress(Exception):
                work = training.set_up(attrs.evolve(stage.session, folder=Path(folder)).rounds[stage.name])
                round_end.make_labels(work)
