"""What users get wrong: one line that names the thing, the right exit code, and nothing
written that was not asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from udacore.cli import main
from udacore.config.schema import ModelConfig
from udacore.models import build_segmenter
from udacore.testing.formats import write_cityscapes, write_gta5

Capture = pytest.CaptureFixture[str]
NAME = "source-only-gta5-cityscapes"
RUN = (
    "run", "gta5-cityscapes", "source.root=gta5", "target.root=cityscapes", "evaluate.target.root=cityscapes",
    "source.transform.resize.size=[48,24]", "evaluate.target.size=[48,24]", "model.name=small", "initial=random", "rounds.source.steps=2", "batch=2",
    "device=cpu", "workers=0", "tensorboard=false",
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in with miniatures of GTA5 and Cityscapes; the cache lies beside it."""
    folder = tmp_path / "here"
    write_gta5(folder / "gta5", sizes=((67, 35),))
    write_cityscapes(folder / "cityscapes", {"val": 2}, size=(64, 32))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UDACORE_DATA", "none")
    return folder


def written() -> set[str]:
    """The files and folders of the working folder."""
    return {str(path) for path in Path().rglob("*")}


def complain(capsys: Capture, code: int, *words: str) -> str:
    """The one line that a command says, exit code and stdout checked; log lines may stand before it."""
    assert main(list(words)) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    errors = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert shown.err.endswith(f"{errors[0]}\n")
    assert "Traceback" not in shown.err
    return errors[0].removeprefix("error: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sorce.root=x"], "gta5-cityscapes: sorce: unknown; did you mean 'source'?"),
        (["source.sampler.sub_epochs=3"], "source.sampler.sub_epochs: unknown; did you mean 'sub_epoch'?"),
        (["batch=many"], "batch: must be a whole number, got 'many'"),
        (["control=maybe"], "control: must be true or false, got 'maybe'"),
        (["source.transform.resize.size=48"], "source.transform.resize.size: must be [whole number, whole number], got 48"),
        (["rounds.source.steps=0"], "rounds.source.steps: 0 means that the work was done elsewhere: give weights"),
        (["rounds.source.steps=-3"], "rounds.source.steps: must be a number of steps, 0 or more"),
        (["accumulation=2", "batch=3"], "accumulation: must divide the batch"),
        (["device=tpu"], "device: 'tpu' is no device; possible: auto, cpu, cuda"),
        (["name=../elsewhere"], "name: '../elsewhere' must be the name of a folder"),
        (["label_space=city"], "label space 'city' is unknown; possible: cityscapes19"),
        (["evaluate.target.subsets=['synthia16:alon']"], "rounds.source.evaluate.target.subsets: label space 'synthia16:alon' is unknown"),
        (["evaluate.target.subsets=[synthia31]"], "rounds.source.evaluate.target.subsets: label space 'synthia31' is unknown"),
        (["parts.segmenter.optimizer=Adamm"], "rounds.source.parts.segmenter.optimizer: there is no 'Adamm'; did you mean 'Adam'"),
        (["parts.segmenter.options.momentun=0.9"], "rounds.source.parts.segmenter: SGD does not take these options"),
        (["rounds.source.weights=nope.pt"], "rounds.source.weights: nope.pt: no such file of weights"),
        (["--round", "sauce"], "--round: there is no round 'sauce'; did you mean 'source'?"),
        (["more"], "only one configuration is possible, got 'gta5-cityscapes' and 'more'"),
        (["=3"], "'=3' is no setting; write key=value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_setting(here: Path, capsys: Capture, words: list[str], said: str) -> None:
    before = written()
    assert said in complain(capsys, 2, *RUN, *words)
    assert written() == before


def test_several_wrong_settings_are_told_at_once(here: Path, capsys: Capture) -> None:
    assert main([*RUN, "batch=x", "workers=-1", "nme=3"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: 3 problems in gta5-cityscapes:"
    assert [line.partition(":")[0] for line in lines[1:]] == ["  nme", "  workers", "  batch"]
    assert not Path("runs").exists()


def cut(path: str) -> None:
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])


def paint(path: Path, raw: int) -> None:
    label = Image.fromarray(np.full((35, 67), raw, np.uint8))
    label.putpalette(list(range(256)) * 3)
    label.save(path)


LABEL = "gta5/labels/00002.png"
VAL = "cityscapes/gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png"
FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "missing label": (Path(LABEL).unlink, f"image gta5/images/00002.png has no label {LABEL}"),
    "missing label of the evaluation": (Path(VAL).unlink, f"lindau_000000_000019_leftImg8bit.png has no label {VAL}"),
    "image and label of different size": (
        lambda: Image.open(LABEL).resize((30, 20)).save(LABEL),
        f"image gta5/images/00002.png is 67 x 35, but its label {LABEL} is 30 x 20",
    ),
    "truncated image": (lambda: cut("gta5/images/00002.png"), "image gta5/images/00002.png is broken or no image"),
    "truncated label": (lambda: cut(LABEL), f"label {LABEL} is broken or no image"),
    "empty file": (lambda: Path(LABEL).write_bytes(b""), f"label {LABEL} is broken or no image"),
    "empty folder": (lambda: [path.unlink() for path in Path("gta5/images").iterdir()], "gta5: no image in gta5/images"),
    "ids outside the map": (lambda: paint(Path(LABEL), 77), f"label {LABEL} holds 77, ids go from 0 to 34"),
    "zero classes": (
        lambda: [paint(path, 0) for path in Path("gta5/labels").iterdir()],
        "gta5: no pixel of a class of cityscapes19 in the labels looked at, which hold 0",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_data_is_named_before_the_first_step(here: Path, capsys: Capture, fault: str) -> None:
    breaks, said = FAULTS[fault]
    breaks()
    before = written()
    assert said in complain(capsys, 3, *RUN)
    assert written() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["source.root=nowhere"], "gta5: no folder nowhere"),
        (["source.root=null"], "gta5: no folder none/gta5 (from $UDACORE_DATA; or set `root`)"),
        (["source.dataset=synthia"], "synthia: no folder of images gta5/RAND_CITYSCAPES/RGB or gta5/RGB"),
        (["evaluate.target.split=vall"], "cityscapes: no split 'vall' in cityscapes/leftImg8bit; did you mean 'val'?"),
        (["source.list=names.txt"], "list names.txt: cannot be read"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_data_that_is_not_there(here: Path, capsys: Capture, words: list[str], said: str) -> None:
    assert said in complain(capsys, 3, *RUN, *words)
    assert not Path("runs").exists()


def test_a_label_without_any_class_and_a_batch_larger_than_the_data_set_are_allowed(here: Path, capsys: Capture) -> None:
    paint(Path(LABEL), 0)
    assert main([*RUN, "batch=7"]) == 0
    said = "round 'source': batch 7 is larger than the source (3 images); images repeat within a batch"
    assert said in capsys.readouterr().err.splitlines()
    assert said in (here / "runs" / NAME / "log.txt").read_text().splitlines()


def test_weights_of_another_architecture_are_refused(here: Path, capsys: Capture) -> None:
    torch.save({"a.weight": torch.zeros(2)}, "other.pt")
    torch.save({"model": build_segmenter(ModelConfig(name="small"), 12).state_dict()}, "twelve.pt")
    Path("text.pt").write_text("weights")
    twelve = "twelve.pt: weights of another architecture: of another shape: classifier.conv2d_list.0.weight, (12, 96, 3, 3) there and (19, 96, 3, 3) here"
    for file, code, said in (("other.pt", 2, "other.pt: "), ("twelve.pt", 2, twelve), ("text.pt", 3, "text.pt: not readable as weights")):
        for key in ("rounds.source.weights", "rounds.source.initial"):
            assert complain(capsys, code, *RUN, f"{key}={file}", "--force").startswith(said)
    assert complain(capsys, 2, "eval", *RUN[1:], "--checkpoint", "twelve.pt").startswith(twelve)


def test_a_run_folder_that_exists_is_kept(here: Path, capsys: Capture) -> None:
    assert main([*RUN]) == 0
    capsys.readouterr()
    run = Path("runs") / NAME
    before = {str(path): path.stat().st_mtime_ns for path in run.rglob("*")}
    refused = f"{run}: the run folder exists; go on with --resume, begin again with --force, or choose another with name=..."
    assert complain(capsys, 2, *RUN) == refused
    assert "was begun with other settings: seed" in complain(capsys, 2, *RUN, "--resume", "seed=4")
    assert "--round source: it is finished" in complain(capsys, 2, *RUN, "--round", "source")
    # what would be replaced is kept until it is known that the new run can begin
    assert complain(capsys, 3, *RUN, "--force", "source.root=nowhere") == "gta5: no folder nowhere"
    assert "no such file of weights" in complain(capsys, 2, *RUN, "--force", "rounds.source.weights=nope.pt")
    assert {str(path): path.stat().st_mtime_ns for path in run.rglob("*")} == before
    Path("runs/mine").mkdir()
    Path("runs/mine/thesis.tex").touch()
    assert "is not a run folder: it holds thesis.tex; it is left alone" in complain(capsys, 2, *RUN, "--force", "name=mine")
    assert Path("runs/mine/thesis.tex").exists()


def test_a_configuration_that_is_none(here: Path, capsys: Capture) -> None:
    Path("broken.yaml").write_text("a: [1\nb: 2\n")
    Path("list.yaml").write_text("- 1\n")
    Path("empty.yaml").touch()
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    Path("folder.yaml").mkdir()
    for word, said in {
        "nonsense": "no preset and no file is called 'nonsense'; possible: gta5-cityscapes",
        "nope.yaml": "the configuration file nope.yaml does not exist",
        "gta5": "gta5 is a folder, not a configuration file",
        "folder.yaml": "folder.yaml is a folder, not a configuration file",
        "broken.yaml": "broken.yaml, line 2, column 2: expected ',' or ']'",
        "list.yaml": "list.yaml: must be a mapping of settings, got [1]",
        "empty.yaml": "empty.yaml: rounds: a run needs at least one round",
        "binary.yaml": "binary.yaml: cannot be read",
    }.items():
        assert complain(capsys, 2, "run", word).startswith(said)
    assert complain(capsys, 4, "run", "--plugin", "proka").startswith("no plugin 'proka' is installed; did you mean 'proca'?")


def test_only_a_finished_round_is_scored(here: Path, capsys: Capture) -> None:
    torch.save({"a.weight": torch.zeros(2)}, "other.pt")
    complain(capsys, 2, *RUN, "rounds.source.weights=other.pt")
    assert "round 'source' is not finished; finished: none" in complain(capsys, 1, "eval", f"runs/{NAME}")
    assert "no run folder (it has no config.yaml)" in complain(capsys, 2, "eval", "runs/nothing")
    assert "no run folder" in complain(capsys, 2, "eval", "gta5-cityscapes")


@pytest.mark.slow
def test_ctrl_c_ends_a_run_that_can_go_on(here: Path) -> None:
    words = [sys.executable, "-m", "udacore", *RUN, "rounds.source.steps=100000", "log_every=1", "evaluate.target.every=0"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("source 3/"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=120)[1].splitlines()
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGINT
    assert rest[-1].startswith("error: stopped by SIGINT at round 'source', step ")
    assert rest[-1].endswith("; go on with --resume")
    state = torch.load(here / "runs" / NAME / "checkpoints" / "last.pt", weights_only=True)
    assert state["step"] >= 3
