"""What would end a run after its last step, or take another thing for what was meant: refused
before anything is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from udacore.cli import main
from udacore.config.files import parse_yaml
from udacore.config.resolve import load_config
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


@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (2, ["source.sets.a.share=1/3", "source.sets.b.pair=P", "batch=4"],
         "streets: source.sets: shares 1/3, 2/3 of a batch of 4 are no whole images; the smallest batch that works is 3, "
         "with accumulation in as many micro-batches as memory asks for"),
        (2, ["source.sets.a.share=0.7", "source.sets.b.share=0.7", "batch=4"],
         "streets: source.sets: shares 7/10 + 7/10 are 7/5 in all, not 1; leave one out, and it is the rest"),
        (2, ["source.sets.a={dataset: folder, root: own, label_space: sky.yaml}", "source.sets.b={dataset: folder, root: own, label_space: cars.yaml}",
             "batch=2"], "source.sets.a: has no class in common with b; its classes are sky"),
        (2, ["source.sets.a.pair=W", "source.sets.b={dataset: folder, root: own, label_space: alien.yaml}", "batch=2"],
         "source.sets.b: label space alien has no class of streets, which has road, sidewalk, building and 9 more"),
        (3, ["source.sets.a.pair=W", "source.sets.b={dataset: cityscapes, list: few.txt, root: own}", "batch=2"],
         "source.sets.b: cityscapes: no folder of images own/leftImg8bit/train; own holds images, labels"),
        (2, ["source.sets.a.pair=W", "source.sets.b.image_size=[96,64]", "batch=2"],
         "rounds.source.source.sets.b.transform: gives images of 96 x 64, that of source.sets.a 64 x 32, and a batch has images of one size; "
         "possible: a resize or crop step to one size"),
    ],
    ids=["batch", "sum", "apart", "alien", "files", "sizes"],
)  # fmt: skip
def test_sets_that_do_not_fit_are_refused_before_the_first_step(capsys: Capture, code: int, words: list[str], said: str) -> None:
    for name, classes in {"alien": "[tram, boat]", "sky": "[sky]", "cars": "[car]"}.items():
        Path(f"{name}.yaml").write_text(f"classes: {classes}\n")
    for folder in ("images", "labels"):
        Path("own", folder).mkdir(parents=True)
        Image.fromarray(np.zeros((32, 64), np.uint8)).save(Path("own", folder, "a.png"))
    assert complain(capsys, code, *RUN, *words).startswith(said)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("target.transform={crop: {size: [32, 16], max_share: 0.75}}", "target.transform.crop.max_share: needs labels, and target.labels is none"),
        ("source.transform={crop: {size: [32, 16], max_share: 1.5}}", "source.transform.crop.max_share: must be at most 1, got 1.5"),
        ("source.transform={resize_within: {}}", "source.transform.resize_within.size: is required"),
        ("source.transform={resize: {size: [32, 16], interpolation: cv2}}", "source.transform.resize.interpolation: must be bicubic or bilinear or opencv"),
        ("source={sampler: {name: rare_class, min_pixels: 512, min_crop_ratio: 1}, transform: {crop: {size: [32, 16]}}}",
         "source.sampler.min_crop_ratio: asks for more than 512 pixels of a class, and a crop has 512; possible: below 1"),
        ("target.extras={edge: {kind: margins}}", "target.extras.edge.margins: must be above 0 at one edge at least, such as {bottom: 240}"),
        ("parts.segmenter.schedule={warmup: 0, warmup_from: 0.1}", "parts.segmenter.schedule.warmup_from: is the factor with which a warm-up begins"),
        ("evaluate.target={window: [32, 16], stride: [33, 8]}", "evaluate.target.stride: 33 x 8 leaves gaps between windows of 32 x 16"),
    ],
)
def test_settings_of_samples_that_mean_nothing_are_refused(capsys: Capture, word: str, said: str) -> None:
    assert said in complain(capsys, 2, *RUN, word)


@pytest.mark.parametrize("place", ["target.dataset", "model.name"])
def test_a_long_word_among_choices_is_cut(place: str) -> None:
    with pytest.raises(ConfigError, match=r"must be .*, got 'x.* more characters") as caught:
        load_config("streets", [f"{place}={'x' * 500}"])
    assert len(str(caught.value)) <= 400


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
