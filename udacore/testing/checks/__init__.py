"""The checks of the contract as functions: each takes a method and raises ContractError with one line.

`MethodContract` calls them from pytest, `uda plugins check` calls the fast ones; neither pytest nor
anything else is needed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from udacore.errors import UdaError
from udacore.methods.discovery import Method
from udacore.testing.checks import losses, state, static, whole
from udacore.testing.checks.reach import Reach, try_labels
from udacore.testing.checks.report import CheckResult, ContractError, describe, flat
from udacore.testing.checks.runs import Runs
from udacore.testing.checks.subject import Subject
from udacore.testing.checks.trial import Trial, undisturbed_process

STATIC: dict[str, Callable[[Subject], str]] = {
    "entry_point": static.check_entry_point,
    "api": static.check_api,
    "settings": static.check_settings,
    "hooks": static.check_hooks,
    "presets": static.check_presets,
}
"""Checks without a network; each says in a line what it has found."""

FAST: dict[str, Callable[[Trial], None]] = {
    "build": state.check_build,
    "losses_finite": losses.check_losses_finite,
    "losses_differentiable": losses.check_losses_differentiable,
    "losses_device": losses.check_losses_device,
    "losses_empty": losses.check_losses_empty,
    "losses_order": losses.check_losses_order,
    "losses_parts": losses.check_losses_parts,
    "target_batch": losses.check_target_batch,
    "instances": state.check_instances,
    "deep_copy": state.check_deep_copy,
    "state_dict": state.check_state_dict,
    "random_state": state.check_random_state,
    "bf16": state.check_bf16,
}
"""Checks on a few calls of the hooks: a few seconds in all."""

RUNS: dict[str, Callable[[Runs], None]] = {
    "run": whole.check_run,
    "surroundings": whole.check_surroundings,
    "files": whole.check_files,
    "target_files": whole.check_target_files,
    "same_seed": whole.check_same_seed,
    "resume": whole.check_resume,
    "processes": whole.check_processes,
}
"""Checks on runs of all rounds, in processes of their own."""


def fast_checks(
    method: Any, *, preset: str | None = None, overrides: Sequence[str] = (), reached: list[str] | None = None
) -> Iterator[CheckResult]:
    """The part of the contract that takes seconds, a result at a time; raises
    nothing for a fault of the method.

    method     entry-point name, path of a .py file, `Method`, or the module or object that holds the hooks
    preset     preset or file whose rounds are tried; default: the method's `streets`, else that of the
               installed method that it builds on, else the core's `streets-adapt`
    overrides  changes to it, as on the command line
    reached    a list to which lines are added at last: the preset, settings that were never read or never
               changed, losses that were seen and that were not

    First come the checks without a network; after one that is bad nothing follows, since most of the
    others would fail with it.
    """
    subject = Subject(method, preset=preset, overrides=overrides)
    trial = Trial(subject)
    for name, look in STATIC.items():
        yield (result := run_check(name, lambda look=look: look(subject)))  # type: ignore[misc]
        if not result.ok:
            if name == "presets" and reached is not None:
                reached += trial.reach.describe(subject)[:1]
            return
    for name, try_out in FAST.items():
        yield run_check(name, lambda try_out=try_out: watch_check(try_out, trial), said=first_line(try_out))  # type: ignore[misc]
    if reached is not None:
        run_check("labels", lambda: watch_check(try_labels, trial))
        reached += trial.reach.describe(subject)


def watch_check(look: Callable[[Trial], object], trial: Trial) -> None:
    """Carry out one check of a trial, and note which settings of the method are read in it."""
    with trial.reach.watching(trial.subject.method.settings):
        look(trial)


def run_check(name: str, look: Callable[[], str | None], *, said: str = "") -> CheckResult:
    """One check as a line; `said` stands where `look` says nothing."""
    try:
        with undisturbed_process():
            said = look() or said
    except (ContractError, UdaError) as error:
        return CheckResult(name, False, flat(error))
    except Exception as error:  # the method's own, whatever it may be
        return CheckResult(name, False, describe(error))
    return CheckResult(name, True, said)


def first_line(look: Callable[..., Any]) -> str:
    """What a check claims: the first sentence of its documentation."""
    return " ".join((look.__doc__ or "").partition("\n\n")[0].split()).rstrip(".")


__all__ = [
    "FAST", "RUNS", "STATIC", "CheckResult", "ContractError", "Method", "Reach", "Runs", "Subject", "Trial", "fast_checks", "run_check",
    "watch_check",
]  # fmt: skip
