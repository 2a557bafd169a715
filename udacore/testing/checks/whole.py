"""Checks of whole runs: time, files, repeatability, resumption, and two processes."""

from __future__ import annotations

from pathlib import Path

from udacore.testing.checks.report import ContractError
from udacore.testing.checks.runs import Report, Runs
from udacore.testing.interruption import find_differences

LIMIT = 60.0
"""Seconds of one core for all rounds, two steps each."""


def check_run(runs: Runs) -> None:
    """All rounds, with their ends, labels and evaluations, run through in less than a minute on one core."""
    report = runs.whole
    if report.error is not None:
        advice = "; the working directory is another one: a file of the method's own lies in its package" if report.kind == "FileNotFoundError" else ""
        raise ContractError(f"the run of all rounds fails: {report.error}{advice}\n{report.trace}".strip())
    if report.seconds > LIMIT:
        raise ContractError(
            f"the run of all rounds took {report.seconds:.0f} s of one core, two steps each; it must stay below {LIMIT:.0f} s: "
            "make the networks of the preset `streets` smaller, and look for loops over pixels"
        )


def check_surroundings(runs: Runs) -> None:
    """Importing the method and running it leaves random states, working directory,
    environment and torch's switches alone."""
    if changed := runs.finished().changed:
        raise ContractError(f"the method changes {changed[0]}; it shares the process with others: leave that to the user")


def check_files(runs: Runs) -> None:
    """Nothing is written but the run folder and the user's cache."""
    report = runs.finished()
    written = report.writes or _left_behind(report)
    if written:
        raise ContractError(f"the method writes {written[0]}, outside of the run folder; write below round.folder")


def _left_behind(report: Report) -> list[str]:
    """Files in the working directory, the home and the folder of temporary files of a run that has ended."""
    here = report.folder.parents[1]
    strange = [path for path in report.folder.parent.iterdir() if path != report.folder]
    for name in ("work", "home", "tmp"):
        strange += sorted((here / name).rglob("*"))
    return [_shown(path, here) for path in strange]


def _shown(path: Path, here: Path) -> str:
    inside = path.relative_to(here)
    words = {"work": "the working directory", "home": "the home directory", "tmp": "the folder of temporary files", "runs": "the folder of runs"}
    return f"{'/'.join(inside.parts[1:])} in {words[inside.parts[0]]}"


def check_target_files(runs: Runs) -> None:
    """No file with a label of the target's training images is opened, in no round and by no hook."""
    runs_whole = runs.whole
    if runs_whole.reads:
        name = Path(runs_whole.reads[0]).name
        raise ContractError(f"the method opens {name}, the label of a target image that is trained on; it has to do without")
    runs.finished()


def check_same_seed(runs: Runs) -> None:
    """The same seed gives the same weights, numbers, labels and images, bit for bit,
    whatever the process did before."""
    before = runs.finished()
    if runs.again.error is not None:
        raise ContractError(f"a second run of the same seed fails: {runs.again.error}")
    if differences := find_differences(before.folder, runs.again.folder):
        raise ContractError(
            f"two runs of one seed differ in {differences[0]}{_more(differences)}; draw from step.generator or torch's global generator, "
            "and depend on no clock, no hash of a text, no order of a set"
        )


def check_resume(runs: Runs) -> None:
    """A run that is killed in every round, and resumed, ends bit for bit like one that nobody disturbed."""
    before = runs.finished()
    report = runs.resumed
    if report.error is not None:
        raise ContractError(f"a run that was killed cannot be resumed: {report.error}")
    if report.killed:
        raise ContractError("a resumed run died again")
    if differences := find_differences(before.folder, report.folder):
        raise ContractError(
            f"a run that was killed and resumed differs in {differences[0]}{_more(differences)}; "
            "all that is remembered, between steps and for the labels, must be a buffer of the model"
        )


def check_processes(runs: Runs) -> None:
    """Two processes that train together come through all rounds, and what the model
    remembers is the same in both."""
    runs.finished()
    report = runs.together
    if report.kind == "hung":
        raise ContractError(
            f"two processes wait for each other: {report.error}; ranks.all_sum, all_gather and barrier must be called by all processes, "
            "whatever their share of the data holds"
        )
    if report.error is not None:
        raise ContractError(f"in two processes the run fails: {report.error}")


def _more(differences: list[str]) -> str:
    return f" and {len(differences) - 1} more" if len(differences) > 1 else ""
