"""A damaged metrics.jsonl is named with its line by `uda compare`, and by a run that is resumed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from udacore.cli import main

METRICS = Path("runs/bad/metrics.jsonl")
RUN = (
    "run streets device=cpu threads=1 workers=0 tensorboard=false rounds.source.steps=2 batch=1 source.count=2"
    " source.image_size=[64,32] evaluate.target.count=1 evaluate.target.image_size=[64,32] evaluate.source=null"
    " save_every=1 log_every=1 name=bad"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert main([*RUN.split(), f"folder={folder}/runs"]) == 0
    return folder / "runs"


@pytest.fixture
def runs(finished: Path, folder: Path) -> Path:
    return Path(shutil.copytree(finished, folder / "runs"))


def change(**values: Any) -> Callable[[str], str]:
    """The last line with other values."""

    def changed(text: str) -> str:
        *lines, last = text.splitlines()
        row = {**json.loads(last), **values}
        return "".join(f"{line}\n" for line in (*lines, json.dumps({key: value for key, value in row.items() if value != "gone"})))

    return changed


KINDS: dict[str, tuple[Callable[[str], str | bytes], str]] = {
    "cut in a line": (lambda text: text[:-20], "cut off"),
    "not JSON": (lambda text: text + "{\n", "not JSON"),
    "a word": (lambda text: text + "hello\n", "not JSON"),
    "an empty line": (lambda text: text + "\n", "not JSON"),
    "binary": (lambda text: b"\x00\xff\xfe" + text.encode(), "line 1: not JSON"),
    "NaN": (lambda text: text.replace('"miou": 0', '"miou": NaN, "x": 0'), "not JSON (NaN is not a number of JSON)"),
    "deep": (lambda text: text + "[" * 100000 + "\n", "not JSON"),
    "a list": (lambda text: text + "[1, 2]\n", "must be a mapping, got list"),
    "a number": (lambda text: text + "3\n", "must be a mapping, got int"),
    "no round": (change(round="gone"), "names no round"),
    "a round that is a number": (change(round=3), "names no round"),
    "iou of another type": (change(iou=[0.1]), "iou must be a number for each class"),
    "iou of words": (change(iou={"road": "high"}), "iou must be a number for each class"),
    "more accuracies than classes": (change(accuracy=[0.5] * 3), "accuracy must be 12 numbers, as many as classes"),
    "a mean of 40": (change(miou=40.0), "must be numbers from 0 to 1"),
    "a mean that is true": (change(miou=True), "must be numbers from 0 to 1"),
    "no protocol": (change(protocol="gone"), "states no protocol"),
    "a rule of its own": (change(protocol={"absent": "one"}), "states no protocol"),
    "no set": (change(set="gone"), "set, step or counted is missing"),
    "a step of text": (change(step="5"), "set, step or counted is missing"),
    "f1 of words": (change(f1={"road": "high"}), "f1 and mean_f1 must be numbers from 0 to 1"),
    "f1 of other classes": (change(f1={"roads": 0.5}), "f1 and mean_f1 must be numbers from 0 to 1"),
    "a mean f1 of 2": (change(mean_f1=2), "f1 and mean_f1 must be numbers from 0 to 1"),
    "no subsets": (change(subsets="gone"), "subsets must be numbers by name"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_that_no_run_has_written_is_named(kind: str, runs: Path, refused: Any) -> None:
    spoil, said = KINDS[kind]
    text = spoil(METRICS.read_text())
    METRICS.write_bytes(text if isinstance(text, bytes) else text.encode())
    refused("compare runs", 3, "metrics.jsonl, line ", said)


def test_a_folder_or_nothing_in_the_place_of_the_file_is_named(runs: Path, refused: Any) -> None:
    METRICS.unlink()
    refused("compare runs", 3, "metrics.jsonl: cannot be read (No such file or directory)")
    METRICS.mkdir()
    refused("compare runs", 3, "metrics.jsonl: cannot be read (Is a directory)")


def test_scores_that_were_lost_are_missed_on_resume(runs: Path, refused: Any) -> None:
    text = METRICS.read_text()
    resume = f"{RUN} folder=runs --resume"
    METRICS.write_text(text[: len(text) // 2])
    refused(resume, 3, f"metrics.jsonl has {len(text) // 2} bytes, the newest checkpoint knows of {len(text)}: scores were lost")
    METRICS.unlink()
    refused(resume, 3, "metrics.jsonl is gone, with the scores of all rounds so far")
    METRICS.write_text(text)
    assert main(resume.split()) == 0
