"""Pseudo labels over a whole pass against the definition with everything kept, and over two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from udacore.interface import Output, PassBatch
from udacore.losses import upsample
from udacore.models import DomainBatchNorm2d, use_domain
from udacore.pseudo_labels import make_thresholded_labels

CLASSES = ("road", "sky", "car", "bus", "person")


class Tiny(nn.Module):
    """A convolution of stride 4, sure of itself."""

    align_corners = True

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, 4, 1)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.conv.weight.normal_(0, 0.4, generator=generator)
            self.conv.bias.copy_(torch.tensor([0.0, 0.5, 0.0, 0.0, -50.0]))

    def forward(self, image: Tensor) -> Output:
        return Output(logits=self.conv(image), features=image)


class Ending:
    """What a round's end offers here: six images of odd and unequal size, of which a rank sees its share."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.model = Tiny().eval()
        self.device = torch.device("cpu")
        self.round = SimpleNamespace(classes=CLASSES)
        self.share = range(rank, 6, size)
        self.recorded: dict[str, float] = {}
        self.passes: list[Any] = []

    def record(self, name: str, value: float) -> None:
        self.recorded[name] = value

    def target(self, *, size: tuple[int, int] | None = None, batch: int = 1) -> Iterator[PassBatch]:
        self.passes.append(size)
        width, height = size or (49, 33)
        for n in self.share:
            image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(n))
            yield PassBatch(image=image, label=None, name=(f"town/{n}",), size=((66 + n, 98),))


def plain_labels(ending: Ending, percent: float, cap: float, input_size: tuple[int, int] = (33, 49)) -> dict[str, np.ndarray]:
    """Spec proca 8, everything kept."""
    batches = list(ending.target(size=input_size[::-1]))
    logits = [ending.model(batch.image).logits.detach() for batch in batches]
    best = [upsample(each, input_size, True).softmax(1).max(1) for each in logits]
    confidence, prediction = (torch.cat([each[k].flatten() for each in best]).numpy() for k in (0, 1))
    thresholds = np.zeros(5, dtype=np.float32)
    for c in set(prediction.tolist()):
        values = np.sort(confidence[prediction == c])
        thresholds[c] = min(values[min(round(len(values) * percent), len(values) - 1)], np.float32(cap))
    labels = {}
    for batch, each in zip(batches, logits, strict=True):
        confidence, prediction = (x[0].numpy() for x in upsample(each, batch.size[0], True).softmax(1).max(1))
        labels[batch.name[0]] = np.where(confidence < thresholds[prediction], 255, prediction).astype(np.uint8)
    return labels


@pytest.mark.parametrize(("percent", "cap"), [(0.6, 0.9), (0.5, 0.5), (0.9, 1.0)])
def test_labels_equal_the_definition(percent: float, cap: float) -> None:
    ending = Ending()
    got = dict(make_thresholded_labels(ending, percent=percent, cap=cap))
    want = plain_labels(ending, percent, cap)
    assert list(got) == list(want)
    for name, label in want.items():
        assert got[name].dtype == np.uint8
        np.testing.assert_array_equal(got[name], label)
    assert 0 < np.mean([np.mean(label == 255) for label in want.values()]) < 1
    assert list(ending.recorded) == [f"threshold/{name}" for name in CLASSES]
    assert ending.recorded["threshold/person"] == 0


def test_the_target_is_labelled_by_its_own_layers_of_batch_norm() -> None:
    ending = Ending()
    norm = DomainBatchNorm2d(5).eval()
    norm.norm_layers[1].running_mean.copy_(torch.tensor([5.0, -1, 0, 2, 9]))
    ending.model.conv = nn.Sequential(ending.model.conv, norm)
    found = dict(make_thresholded_labels(ending, percent=0.5, cap=0.9))
    with use_domain(ending.model, "target"):
        expected = plain_labels(ending, 0.5, 0.9)
    assert all(np.array_equal(found[name], label) for name, label in expected.items())
    assert any(not np.array_equal(found[name], label) for name, label in plain_labels(ending, 0.5, 0.9).items())


def test_the_size_of_the_input_is_width_by_height() -> None:
    ending = Ending()
    got = dict(make_thresholded_labels(ending, percent=0.6, size=(64, 32)))
    assert set(ending.passes) == {(64, 32)}
    np.testing.assert_array_equal(got["town/5"], plain_labels(ending, 0.6, 0.9, (32, 64))["town/5"])


def test_maps_may_have_the_size_of_the_input() -> None:
    made = make_thresholded_labels(Ending(), percent=0.5, precision="float64", upsample="probability", label_size="input")
    labels = [label for _, label in made]
    assert {label.shape for label in labels} == {(33, 49)}
    kept = np.mean(np.stack(labels) != 255)
    assert 0.5 <= kept < 1


def test_the_second_pass_is_left_out_where_every_class_reaches_the_cap() -> None:
    for cap, passes in ((0.2, 2), (0.9, 3)):  # of five classes the most probable has at least 0.2
        ending = Ending()
        assert len(list(make_thresholded_labels(ending, percent=0.5, cap=cap))) == 6
        assert len(ending.passes) == passes


def test_averaging_with_mirror_images_makes_labels_of_symmetric_images_symmetric() -> None:
    ending = Ending()
    half = torch.randn(1, 3, 33, 25, generator=torch.Generator().manual_seed(9))
    image = torch.cat([half, half[..., :-1].flip(-1)], -1)
    ending.target = lambda size=None: [PassBatch(image=image, label=None, name=("a",), size=((33, 49),))]  # type: ignore[method-assign]
    for flip in (True, False):
        labels = np.stack([label for _, label in make_thresholded_labels(ending, percent=0.0, flip=flip)])
        assert (np.mean(labels == labels[..., ::-1]) > 0.99) == flip


@pytest.mark.slow
def test_two_processes_make_the_labels_of_one(tmp_path: Path) -> None:
    program = f"""
import importlib.util, sys
import numpy as np, torch.distributed as dist
from udacore.testing.processes import part
spec = importlib.util.spec_from_file_location("pseudo_label_test", {__file__!r})
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://{tmp_path}/meet", rank=rank, world_size=2)
labels = dict(module.make_thresholded_labels(module.Ending(rank, 2), percent=0.6))
np.savez("{tmp_path}/" + str(rank), **{{name.replace("/", "-"): label for name, label in labels.items()}})
part()
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    workers = [subprocess.Popen([sys.executable, "-c", program, str(rank)], env=environment) for rank in range(2)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    made: dict[str, np.ndarray] = {}
    for rank in range(2):
        with np.load(tmp_path / f"{rank}.npz") as arrays:
            assert len(arrays.files) == 3
            made.update({name.replace("-", "/"): arrays[name] for name in arrays.files})
    for name, label in make_thresholded_labels(Ending(), percent=0.6):
        np.testing.assert_array_equal(made[name], label)
