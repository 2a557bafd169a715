"""What is known before the first step is said before the first step, and the folder of
somebody else is left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from udacore.config.resolve import load_config
from udacore.engine.files.folder import run_folder
from udacore.errors import ConfigError, DataError, UdaError

TWO: dict[str, Any] = {"rounds": {"source": {"steps": 1, "draws": ["source"]}, "adapt": {"steps": 1, "draws": ["target"]}}}


def with_adapt(**changes: Any) -> dict[str, Any]:
    return {"rounds": {**TWO["rounds"], "adapt": {**TWO["rounds"]["adapt"], **changes}}}


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"weights": "gone.pt"}, ConfigError, "rounds.adapt.weights: gone.pt: no such file"),
        ({"weights": "best"}, ConfigError, "rounds.adapt.weights: best, but no earlier round keeps"),
        ({"weights": "initial", "initial": "gone.pth"}, ConfigError, "rounds.adapt.initial: gone.pth: no such file"),
        ({"target": {"labels": "./gone"}}, DataError, "no folder gone of replacing labels"),
    ],
)
def test_files_of_a_later_round_are_missed_before_the_first_step(workshop: Any, changes: Any, error: type[UdaError], text: str) -> None:
    with pytest.raises(error) as caught:
        workshop.run(with_adapt(**changes))
    assert text in str(caught.value)
    assert not list((workshop.path / "run" / "checkpoints").glob("*"))


def test_hooks_that_are_never_called_are_named_at_the_start(workshop: Any) -> None:
    workshop.run({"plugin": str(workshop.method), "parts": {"critic": {}}})
    lines = (workshop.path / "run" / "log.txt").read_text().splitlines()
    notes = [line for line in lines if line.startswith("note: ")]
    assert [note.split()[1] for note in notes] == ["target_loss", "make_pseudo_labels"]
    assert lines.index(notes[0]) < lines.index("round 'source'")


@pytest.mark.parametrize("choice", [{"resume": True}, {"force": True}, {"only": "source"}])
def test_a_folder_that_no_run_has_made_is_left_alone(workshop: Any, choice: dict[str, Any]) -> None:
    (workshop.path / "run").mkdir()
    (workshop.path / "run" / "log.txt").write_text("a diary\n")
    with pytest.raises(ConfigError, match=r"run is not a run folder: it holds log\.txt"):
        workshop.run({}, **choice)
    assert [path.name for path in (workshop.path / "run").iterdir()] == ["log.txt"]
    assert (workshop.path / "run" / "log.txt").read_text() == "a diary\n"


def test_a_file_in_place_of_the_folder_is_one_line(workshop: Any) -> None:
    (workshop.path / "run").write_text("")
    with pytest.raises(UdaError, match="run is a file, not a folder"):
        workshop.run({})


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", ".."])
def test_the_name_of_a_run_is_one_folder(workshop: Any, name: str) -> None:
    config = load_config(str(workshop.write({})), [f"name={name}"], packages=())
    with pytest.raises(ConfigError, match="without slashes"):
        run_folder(config)


def test_a_round_that_trains_nothing_says_so_to_the_method(workshop: Any) -> None:
    plugin = workshop.write_method("""
from udacore import hookimpl
from udacore.models import build_segmenter

@hookimpl
def build_model(architecture, round):
    assert round.trains == ()
    return build_segmenter(architecture, len(round.classes))

@hookimpl
def source_loss(step):
    step.record("odd", float("nan"))
    return {}
""")
    workshop.run({"plugin": str(plugin), "rounds": {"source": {"steps": 4, "draws": ["source"], "trains": []}}})
    row = json.loads((workshop.path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert "null" in json.dumps(row)


def test_threads_and_determinism_are_as_before_after_a_run(workshop: Any) -> None:
    torch.set_num_threads(2)
    try:
        workshop.run({"threads": 1, "deterministic": True, "rounds": {"source": {"steps": 1, "draws": ["source"]}}})
        assert torch.get_num_threads() == 2
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(1)


def test_the_environment_lists_every_data_set(workshop: Any) -> None:
    workshop.run({"rounds": {"source": {"steps": 1}}, "target": {"count": 10}})
    data = json.loads((workshop.path / "run" / "env.json").read_text())["data"]
    assert len(data) == 3
    assert len({key.partition(" from ")[0] for key in data}) == 3
