"""A plugin can end a run, but it cannot make one lie: what a hook gives is checked, and what
breaks its contract is named."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from udacore.cli import main

HEAD = """
import sys
import numpy as np
import torch
from torch import nn
from udacore import hookimpl
from udacore.losses import segmentation_loss
from udacore.models import build_segmenter
from udacore.pseudo_labels import make_thresholded_labels

def supervised(step):
    return segmentation_loss(step.model(step.source.image).logits, step.source.label, step.model.align_corners)
"""
ENTROPY = """
@hookimpl
def target_loss(step):
    return step.model(step.target.image).logits.softmax(1).square().mean()
"""
RUN = (
    "run --plugin ./mine.py streets-adapt device=cpu threads=1 workers=0 tensorboard=false rounds.source.steps=1"
    " rounds.adapt.steps=1 rounds.adapt.target.labels=make batch=1 source.count=2 target.count=2 source.image_size=[64,32] target.image_size=[64,32]"
    " evaluate.target.count=1 evaluate.target.image_size=[64,32] evaluate.source=null name=bad"
)


def write(folder: Path, text: str, head: str = HEAD) -> None:
    (folder / "mine.py").write_text(head + dedent(text))


def loss(expression: str, hook: str = "source_loss") -> str:
    return f"@hookimpl\ndef {hook}(step):\n    return {expression}\n"


def at_end(line: str) -> str:
    return f"{ENTROPY}\n@hookimpl\ndef on_round_end(round):\n    {line}\n"


def labels(line: str) -> str:
    return f"{ENTROPY}\n@hookimpl\ndef make_pseudo_labels(round):\n    {line}\n"


def network(line: str) -> str:
    return f"""{ENTROPY}
@hookimpl
def build_model(architecture, round):
    model = build_segmenter(architecture, len(round.classes))
    {line}
    return model
"""


EXIT = "raised SystemExit(0); a hook that cannot go on raises an error"
CASES: dict[str, tuple[str, str]] = {
    "exit in build_model": (network("sys.exit(0)"), f"plugin 'mine', build_model, round 'source', step 0: {EXIT}"),
    "exit in source_loss": (loss("sys.exit(0)"), f"plugin 'mine', source_loss, round 'source', step 0: {EXIT}"),
    "exit in target_loss": (loss("sys.exit(0)", "target_loss"), f"plugin 'mine', target_loss, round 'adapt', step 0: {EXIT}"),
    "exit at the end": (at_end("sys.exit(0)"), f"plugin 'mine', on_round_end, round 'source', step 1: {EXIT}"),
    "exit while labels are made": (labels("yield sys.exit(0)"), f"make_pseudo_labels, round 'source', step 1: {EXIT}"),
    "exit with words": (loss("sys.exit('enough')"), "raised SystemExit('enough')"),
    "a network of 14 outputs": (
        network("model = build_segmenter(architecture, 14)"),
        "plugin 'mine', build_model, round 'source': the model has num_classes 14, the round has 12 classes",
    ),
    "14 outputs in silence": (
        network("model = build_segmenter(architecture, 14); model.num_classes = 12"),
        "plugin 'mine', round 'source': the network has 14 outputs, the round has 12 classes",
    ),
    "weights of NaN": (
        network("nn.init.constant_(model.backbone.conv1.weight, float('nan'))"),
        "the model is built with weights that are not finite: backbone.conv1.weight",
    ),
    "a function for a network": (network("return len"), "build_model, round 'source': must return a torch.nn.Module"),
    "a complex loss": (loss("supervised(step) * 1j"), "loss 'source' must be a real number, got torch.complex64"),
    "a list": (loss("[supervised(step)]"), "source_loss, round 'source', step 0: loss 'source' must be a scalar tensor, got list"),
    "a NumPy number": (loss("np.float32(1)"), "loss 'source' must be a scalar tensor, got float32"),
    "a map of losses": (loss("step.model(step.source.image).logits.mean((1, 2, 3))"), "got a tensor of shape (1,)"),
    "a name that is no text": (loss("{1: supervised(step)}"), "the name of a loss is text, got 1"),
    "a loss of another network": (
        loss("nn.Linear(1, 1)(torch.ones(1, 1)).sum()"),
        "loss 'source' reaches no parameter of its part 'segmenter'; do not detach what it is made of",
    ),
    "a loss of the input": (
        loss("{'good': supervised(step), 'bad': step.source.image.clone().requires_grad_().sum()}"),
        "loss 'bad' reaches no parameter of its part 'segmenter'",
    ),
    "text at the end": (at_end("return 'done'"), "on_round_end, round 'source': must return None or numbers by name, got str"),
    "a number that is none": (at_end("return {'red': 'much'}"), "on_round_end, round 'source': 'red' must be a number, got 'much'"),
    "a tensor of several": (at_end("return {'red': torch.zeros(3)}"), "'red' must be a number, got Tensor of shape (3,)"),
    "a number without a name": (at_end("return {3: 1.0}"), "the name of a number is text, got 3"),
    "recorded text": (at_end("round.record('x', 'much')"), "record('x') must be a number, got 'much'"),
    "an image elsewhere": (
        at_end("round.write_image('../../x', np.zeros((4, 4, 3), np.uint8))"),
        "write_image: '../../x' is not an image's name, such as 'train/00001'",
    ),
    "an image at the root": (at_end("round.write_image('/tmp/x', np.zeros((4, 4, 3), np.uint8))"), "write_image: '/tmp/x' is not"),
    "an image without a name": (at_end("round.write_image(3, np.zeros((4, 4, 3), np.uint8))"), "write_image: 3 is not"),
    "labels elsewhere": (
        labels("yield '../../../x', np.zeros((4, 4), np.uint8)"),
        "make_pseudo_labels, round 'source': '../../../x' is not an image of the target; the first is 'train/00000'",
    ),
    "labels without names": (labels("yield np.zeros((4, 4), np.uint8)"), "must yield (image name, label map) pairs, got ndarray"),
    "labels that are a number": (labels("return 3"), "must yield (image name, label map) pairs, got int"),
    "labels twice": (
        labels("yield from [(n, m) for n, m in make_thresholded_labels(round, percent=0.5) for _ in range(2)]"),
        "the image 'train/00000' was labelled twice",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_hook_that_breaks_its_contract_is_named(case: str, folder: Path, refused: Any) -> None:
    text, said = CASES[case]
    write(folder, text)
    refused(RUN, 4, said, writes=("runs", "runs/*"))
    outside = {path.relative_to(folder).parts[0] for path in folder.rglob("*")}
    assert outside <= {"mine.py", "runs"}
    results = [line for line in (folder / "runs" / "bad" / "metrics.jsonl").read_text().splitlines() if '"adapt"' in line]
    assert not [line for line in results if "miou" in line]


def test_a_hook_that_ends_the_program_fails_the_check_of_plugins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, network("sys.exit(0)"))
    assert main(["plugins", "check", "./mine.py"]) == 4
    assert "raised SystemExit(0)" in capsys.readouterr().out


def test_an_error_in_a_backward_pass_of_the_methods_own_is_labelled(folder: Path) -> None:
    write(
        folder,
        """
        class Broken(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()

            @staticmethod
            def backward(ctx, gradient):
                raise ValueError("no gradient today")

        @hookimpl
        def source_loss(step):
            return Broken.apply(supervised(step))
        """,
    )
    with pytest.raises(ValueError, match="no gradient today") as caught:
        main(RUN.split())
    assert caught.value.__notes__ == [
        "in hook the backward pass of part 'segmenter' of plugin 'mine', round 'source', step 0"
    ]


def test_what_a_plugin_prints_does_not_get_into_the_results(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, f"print('imported')\n{at_end('print(3)')}")
    assert main([*RUN.split(), "--json"]) == 0
    shown = capsys.readouterr()
    assert [row["round"] for row in json.loads(shown.out)] == ["adapt"]
    assert {"imported", "3"} <= set(shown.err.splitlines())
    assert main(["eval", "runs/bad", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("a forward outside of the hooks", network("model.register_forward_hook(lambda *_: None if torch.is_grad_enabled() else sys.exit(0))")),
        ("an import", "sys.exit(0)\n" + loss("supervised(step)")),
    ],
)
def test_no_other_code_of_a_plugin_ends_the_program_either(place: str, text: str, folder: Path, refused: Any) -> None:
    write(folder, text)
    refused(RUN, 4, "SystemExit", writes=("runs", "runs/*"))
