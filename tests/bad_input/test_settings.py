"""What would end a run after its last step, or take another thing for what was meant: refused
before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from udacore.cli import main
from udacore.config.files import parse_yaml
from udacore.config.schema import ModelConfig
from udacore.errors import ConfigError
from udacore.models import build_segmenter

Capture = pytest.CaptureFixture[str]
RUN = (
    "run", "streets", "device=cpu", "threads=1", "workers=0", "tensorboard=false", "rounds.source.steps=1", "batch=1", "source.count=2",
    "source.image_size=[64,32]", "evaluate.target.count=1", "evaluate.target.image_size=[64,32]", "evaluate.source=null", "name=bad",
)  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complain(capsys: Capture, code: int, *words: str) -> str:
    """The one line on stderr; nothing was written."""
    assert main(list(words)) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert not Path("runs").exists()
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("evaluate.target.scales=[]", "streets: evaluate.target.scales: must name at least one size, such as [1]"),
        ("evaluate.target.size=[0,32]", "streets: evaluate.target.size: must be at least 1, got 0"),
        ("evaluate.target.window=[32,-1]", "streets: evaluate.target.window: must be at least 1, got -1"),
        ("evaluate.target.stride=[0,0]", "streets: evaluate.target.stride: must be at least 1, got 0"),
        ("pseudo_labels.size=[0,0]", "streets: pseudo_labels.size: must be at least 1, got 0"),
        ("evaluate.target.head=nope", "rounds.source.evaluate.target.head: the model has no output 'nope'; possible: logits"),
    ],
)
def test_an_evaluation_that_cannot_be_done_is_refused_before_the_first_step(capsys: Capture, word: str, said: str) -> None:
    assert complain(capsys, 2, *RUN, word) == said


def test_a_damaged_file_of_a_later_round_is_refused_before_the_first_step(capsys: Capture) -> None:
    torch.save(build_segmenter(ModelConfig(name="small"), 12).state_dict(), "whole.pt")
    whole = Path("whole.pt").read_bytes()
    Path("cut.pt").write_bytes(whole[: len(whole) // 2])
    later = "rounds.later={steps: 1, draws: [source], weights: cut.pt}"
    assert complain(capsys, 3, *RUN, later) == "cut.pt: not readable as weights (damaged: its end is missing, or its table of contents is damaged)"


def test_a_method_that_is_no_word_is_not_replaced_by_the_default(capsys: Capture) -> None:
    Path("mine.yaml").write_text("extends: streets\nplugin: 3\n")
    assert complain(capsys, 2, "config", "mine.yaml") == "mine.yaml: plugin: must be text, got 3"
    assert complain(capsys, 2, "config", "plugin=[fada]") == "plugin: must be text, got ['fada']"
    assert complain(capsys, 4, "config", "--plugin", "").startswith("no plugin '' is installed; possible: ")
    assert main(["config", "plugin=null"]) == 0


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "a: " + "[" * 3000 + "]" * 3000])
def test_yaml_without_an_end_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^here.*(recursive|nested too deeply)"):
        parse_yaml(text, "here")


@pytest.mark.parametrize("word", ["meta", "xpu", "gpu"])
def test_a_device_that_torch_knows_and_nobody_trains_on_is_refused(capsys: Capture, word: str) -> None:
    assert complain(capsys, 2, *RUN, f"device={word}") == f"device: {word!r} is no device; possible: auto, cpu, cuda, cuda:1, mps"
