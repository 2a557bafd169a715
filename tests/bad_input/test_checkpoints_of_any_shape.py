"""Checkpoints of a run with any content: the file and the entry are named, and nothing is changed."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_rows import FIT, FORM, RESUMED
from run_folder import LOG, PICTURE, RESUME, STATES, WEIGHT, InMemory, drop, mutate

from udacore.cli import main
from udacore.engine.training import RoundInProgress
from udacore.errors import DataError


def test_the_file_that_is_mutated_is_one_that_is_read(saved: dict[str, Any], work: RoundInProgress) -> None:
    work.session.checkpoints = InMemory(saved)  # type: ignore[assignment]
    work.restore("last")
    assert (work.step, work.name) == (saved["step"], saved["round"]) == (2, "more")
    assert torch.equal(work.model.state_dict()[WEIGHT], saved["model"][WEIGHT])


@pytest.mark.parametrize("kind", [*FORM, *RESUMED])
def test_a_checkpoint_that_does_not_fit_is_named_with_its_entry(
    kind: str, saved: dict[str, Any], work: RoundInProgress
) -> None:
    change, said = {**FORM, **RESUMED}[kind]
    content = copy.deepcopy(saved)
    change(content)
    work.session.checkpoints = InMemory(content)  # type: ignore[assignment]
    with pytest.raises(DataError) as caught:
        work.restore("last")
    assert str(caught.value).startswith(f"{STATES / 'last.pt'}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


BY_COMMAND = {
    "momentum of another shape": RESUME,
    "statistics of another shape": RESUME,
    "NumPy's kind": RESUME,
    "weight of a number": "eval runs/bad",
    "one more": f"predict runs/bad {PICTURE} --out out",
    "step of text": "eval runs/bad --checkpoint theirs.pt",
    "complex weight": "eval runs/bad --checkpoint theirs.pt",
}
"""Rows of the tables above -> a command that meets them."""


@pytest.mark.parametrize("kind", BY_COMMAND)
def test_a_command_names_the_file_and_the_entry(kind: str, run: Path, refused: Any) -> None:
    change, said = {**FORM, **RESUMED}[kind]
    command = BY_COMMAND[kind]
    path = STATES / ("last.pt" if command == RESUME else "0-source.pt")
    mutate(path, change)
    if "theirs" in command:
        path.rename("theirs.pt")
        path = Path("theirs.pt")
    code = (
        2 if kind in FIT and command != RESUME else 3
    )  # weights that a user names may be of another network
    writes = LOG if kind in RESUMED and kind != "NumPy's kind" else ()
    assert refused(command, code, said, writes=writes).startswith(f"{path}: ")


def test_weights_without_what_a_run_adds_are_weights_like_anybodys(run: Path) -> None:
    (STATES / "0-source.pt").rename("theirs.pt")
    mutate(Path("theirs.pt"), drop("round"))
    assert main(["eval", "runs/bad", "--checkpoint", "theirs.pt"]) == 0


def test_a_checkpoint_of_another_round_is_named(run: Path, refused: Any) -> None:
    shutil.copy(STATES / "0-source.pt", STATES / "1-more-steps.pt")
    said = "1-more-steps.pt: holds step 1 of round 'source', which is not one of the 3 steps of round 'more'"
    refused(RESUME, 3, said, writes=LOG)
