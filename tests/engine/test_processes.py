"""Several processes are one: equal weights, exact shares of evaluation and
labels, the outcome of one process."""

from __future__ import annotations

import json
import multiprocessing
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from udacore.cli import main
from udacore.engine.machine.main_rank import on_main
from udacore.errors import ConfigError
from udacore.testing.processes import part

pytestmark = pytest.mark.slow

EVEN = """
import atexit
import os
from pathlib import Path

import torch.nn.functional as F
from udacore import hookimpl
from udacore.models import build_segmenter

def note_threads():
    names = [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    Path(__file__).with_name("threads-" + os.environ["RANK"]).write_text(" ".join(names))

if "RANK" in os.environ:
    atexit.register(note_threads)

@hookimpl
def build_model(architecture, round):
    model = build_segmenter(architecture, len(round.classes)).double()
    model.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
    return model

def loss(model, image, label):
    logits = F.interpolate(model(image).logits, label.shape[-2:], mode="bilinear", align_corners=model.align_corners)
    return F.cross_entropy(logits, label, ignore_index=255, reduction="sum") / label.numel()

@hookimpl
def source_loss(step):
    return loss(step.model, step.source.image, step.source.label)

@hookimpl
def target_loss(step):
    return {} if step.target is None else {"pseudo_label": loss(step.model, step.target.image, step.target.pseudo_label)}
"""
"""Every pixel counts alike, ignored ones too: a mean over valid pixels is taken on each rank, so it
depends on how images are dealt out."""

PLAIN: dict[str, Any] = {
    "rounds": {
        "source": {"steps": 6, "draws": ["source"]},
        "adapt": {"steps": 5, "target": {"labels": "make"}},
    },
    "evaluate": {"target": {"batch": 1}},
    # AdamW would turn the sign of a gradient that is zero but for rounding into a step of full size.
    "parts": {"segmenter": {"optimizer": "SGD", "lr": 0.05, "options": {"momentum": 0.9}}},
}
STRANGE: dict[str, Any] = {
    "parts": {"critic": {"optimizer": "SGD", "lr": 0.01, "options": {"momentum": 0.9}}},
    "rounds": {
        "source": {"steps": 5, "draws": ["source"]},
        "adapt": {"steps": 8, "target": {"labels": "make"}, "source": {"images": "source"}, "update": "joint"},
    },
}


def model_of(folder: Path, name: str) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / f"{name}.pt", weights_only=True)["model"]
    return content


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="session")
def pair(make_workshop: Callable[[], Any]) -> Any:
    """The workshop in which two processes have done the plain run, and one process the
    same, under `two` and `one`."""
    workshop = make_workshop()
    changes = {**PLAIN, "plugin": str(workshop.write_method(EVEN))}
    done = workshop.torchrun(workshop.write(changes, "two"), processes=2)
    assert done.returncode == 0, done.stderr
    workshop.run(changes, name="one")
    return workshop


def test_no_thread_of_the_processes_talk_outlives_the_run(pair: Any) -> None:
    """One that does may abort its process at the very end."""
    names = [path.read_text() for path in sorted(pair.path.glob("threads-*"))]
    assert len(names) == 2
    assert not [text for text in names if "gloo" in text]


def test_two_processes_come_to_the_result_of_one_with_the_same_global_batch(pair: Any) -> None:
    """Batch norm over both ranks, gradients averaged: in double precision only the order of sums
    differs (weights are near 1)."""
    one, two = model_of(pair.path / "one", "0-source"), model_of(pair.path / "two", "0-source")
    largest = max(float((one[name].double() - two[name].double()).abs().max()) for name in one)
    assert largest < 1e-9
    losses = [[row["loss/source"] for row in rows_of(pair.path / name) if "loss/source" in row] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


IN_TURN = EVEN.partition("@hookimpl\ndef source_loss")[0] + """
def in_turn(name, model, image, label):
    for factor in (0.75, 0.25):
        yield {f"{name}-{factor}": factor * loss(model, image, label)}

@hookimpl
def source_loss(step):
    return in_turn("source", step.model, step.source.image, step.source.label)

@hookimpl
def target_loss(step):
    if step.target is not None:
        yield from in_turn("pseudo_label", step.model, step.target.image, step.target.pseudo_label)
"""


def test_losses_one_after_another_on_two_processes_come_to_those_of_one(make_workshop: Callable[[], Any]) -> None:
    workshop = make_workshop()
    changes = {**PLAIN, "plugin": str(workshop.write_method(IN_TURN)), "evaluate": None}
    done = workshop.call(workshop.write(changes, "two"), processes=2)
    assert done.returncode == 0, done.stderr
    workshop.run(changes, name="one")
    one, two = model_of(workshop.path / "one", "0-source"), model_of(workshop.path / "two", "0-source")
    assert max(float((one[name].double() - two[name].double()).abs().max()) for name in one) < 1e-9
    names = {name for row in rows_of(workshop.path / "two") for name in row if name.startswith("loss/")}
    assert names == {f"loss/{name}-{factor}" for name in ("source", "pseudo_label") for factor in (0.75, 0.25)}


def test_evaluation_and_labels_of_an_odd_number_of_images_are_exact(pair: Any) -> None:
    """One process on the weights of two: the same counts for 5 images, the same maps for 9."""
    changes = {
        **PLAIN,
        "plugin": str(pair.path / "method0.py"),
        "rounds": {
            "source": {"steps": 0, "weights": str(pair.path / "two" / "checkpoints" / "0-source.pt")},
            "adapt": {"steps": 0, "weights": "previous", "target": {"labels": "make"}},
        },
    }
    pair.run(changes, name="again")
    two, again = pair.path / "two", pair.path / "again"
    labels = files_of(two / "rounds" / "0-source" / "labels")
    assert len(labels) == 9
    assert labels == files_of(again / "rounds" / "0-source" / "labels")
    scores = [next(row for row in rows_of(folder) if "miou" in row) for folder in (two, again)]
    assert {key: value for key, value in scores[0].items() if key != "step"} == {key: value for key, value in scores[1].items() if key != "step"}
    assert scores[0]["protocol"]["images"] == 5
    made = [next(row for row in rows_of(folder) if "pseudo_labels" in row)["pseudo_labels"] for folder in (two, again)]
    assert made[0] == made[1]


def test_two_processes_killed_and_resumed_end_bit_identical_and_alike(make_workshop: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> None:
    workshop = make_workshop()
    method = str(workshop.method)
    whole = workshop.call(workshop.write({**STRANGE, "plugin": method}, "whole"), processes=2)
    assert whole.returncode == 0, whole.stderr
    config, folder = workshop.write({**STRANGE, "plugin": method, "method": {"pause": 0.02}}, "killed"), workshop.path / "killed"
    process = workshop.start(config, processes=2)
    while not (folder / "metrics.jsonl").exists() or '"round": "adapt", "step": 4' not in (folder / "metrics.jsonl").read_text():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    workshop.kill(process)
    assert not (folder / "checkpoints" / "1-adapt-steps.pt").exists()

    assert main(["run", str(config), "--resume"]) == 1
    assert capsys.readouterr().err == f"error: --resume: {folder} was run by 2 processes, now there are 1; use as many, or --force\n"

    done = workshop.call(config, "--resume", processes=2)
    assert done.returncode == 0, done.stderr
    assert "round 'adapt' goes on at step 3" in done.stderr
    assert (folder / "metrics.jsonl").read_bytes() == (workshop.path / "whole" / "metrics.jsonl").read_bytes()
    for name in ("0-source", "1-adapt-steps", "1-adapt"):
        first, second = model_of(folder, name), model_of(workshop.path / "whole", name)
        assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert files_of(folder / "rounds") == files_of(workshop.path / "whole" / "rounds")


def test_a_norm_is_that_of_the_mean_over_processes(workshop: Any) -> None:
    method = str(workshop.write_method(EVEN))
    part = {**PLAIN["parts"]["segmenter"], "clip": 0.01}
    changes = {"plugin": method, "parts": {"segmenter": part}, "rounds": {"source": {"steps": 3, "draws": ["source"]}}, "log_every": 1}
    done = workshop.call(workshop.write(changes, "two"), processes=2)
    assert done.returncode == 0, done.stderr
    workshop.run(changes, name="one")
    norms = [[row["segmenter/grad_norm"] for row in rows_of(workshop.path / name) if "lr/segmenter" in row] for name in ("one", "two")]
    assert min(norms[0]) > 0.01
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    one, two = model_of(workshop.path / "one", "0-source"), model_of(workshop.path / "two", "0-source")
    assert max(float((one[name].double() - two[name].double()).abs().max()) for name in one) < 1e-9


UNEQUAL = """
import torch
from udacore import hookimpl, ranks
from udacore.models import build_segmenter

@hookimpl
def build_model(architecture, round):
    model = build_segmenter(architecture, len(round.classes))
    model.register_buffer("mean", torch.zeros(3))
    return model

@hookimpl
def on_round_end(round):
    assert ranks.size() == 3
    round.model.mean += sum(batch.image.mean((0, 2, 3)) for batch in round.target())
"""


def test_a_buffer_that_differs_between_three_processes_is_named(workshop: Any) -> None:
    """A method that forgot `all_sum`; until there, three ranks have shared 4
    steps, 5 images and 3 per step."""
    config = workshop.write({"plugin": str(workshop.write_method(UNEQUAL)), "batch": 3, "rounds": {"source": {"steps": 4}}})
    done = workshop.call(config, processes=3)
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("error (process ")]
    assert len(told) == 3
    assert all("1 values differ between processes, first 'mean'; sum over ranks with udacore.ranks.all_sum" in line for line in told)
    assert "Traceback" not in "".join(line for line in done.stderr.splitlines() if "udacore" in line)
    folder = workshop.path / "run"
    assert (folder / "checkpoints" / "0-source-steps.pt").exists()
    assert not (folder / "checkpoints" / "0-source.pt").exists()


def refuse_in_a_rank(rank: int, path: str, told: Any) -> None:
    def refuse() -> None:
        raise ConfigError("the folder exists")

    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    try:
        on_main(refuse)
    except ConfigError as error:
        told.put((rank, str(error)))
    part()


def test_a_refusal_of_the_main_process_is_raised_in_all(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of any fork beside threads
        children = [context.Process(target=refuse_in_a_rank, args=(rank, str(tmp_path / "store"), told)) for rank in range(2)]
        for child in children:
            child.start()
    found = sorted(told.get(timeout=60) for _ in children)
    for child in children:
        child.join(60)
    assert found == [(0, "the folder exists"), (1, "the folder exists")]
