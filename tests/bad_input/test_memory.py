"""Memory: what settings would take is said before it is taken, and an allocation that fails is one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from udacore.engine import initial_weights
from udacore.engine.machine import footprint
from udacore.engine.machine.build_memory import CountedAllocation

Refused = Callable[..., str]
GIB = 2**30
METHOD = """
import numpy as np
import torch
from udacore import hookimpl

@hookimpl
def target_loss(step):
    return {"segmenter/x": ALLOCATE}
"""


@pytest.fixture(autouse=True)
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "machine_memory", lambda: GIB)
    monkeypatch.setattr(initial_weights, "machine_memory", lambda: GIB)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("source.image_size=[4096,4096]", "rounds.source.source.image_size: 1 drawing of 4096 x 4096 take 1342177280 bytes"),
        ("evaluate.target.image_size=[4096,4096]", "evaluate.target.image_size: 1 drawing of 4096 x 4096 take 1342177280 bytes"),
        ("workers=8 source.image_size=[2048,1024]", "source.image_size: 8 drawings of 2048 x 1024 take 1342177280 bytes"),
        ("workers=200", "workers: 200 processes that read images take 2097152000 bytes, and there are 1073741824 bytes of memory"),
        (
            "workers=4 batch=8 rounds.source.steps=100 source.transform.resize.size=[2048,2048]",
            "64 images of 2048 x 2048 as float32, in 8 batches that 4 workers keep ready, take 3221225472 bytes",
        ),
        ("evaluate.target.size=[128,64] evaluate.target.scales=[1,100] evaluate.target.flip=true", "2 images of 12800 x 6400"),
        (
            "evaluate.target.size=[4096,4096] evaluate.target.window=[32,32] evaluate.target.flip=true",
            "evaluate.target.size: 2 images of 4096 x 4096 as float32 and 12 class maps of each take 2013265920 bytes",
        ),
        ("pseudo_labels.size=[8192,4096]", "rounds.source.pseudo_labels.size: 1 image of 8192 x 4096 as float32 and 12 class maps"),
        ("source.sampler.sub_epoch=1000000000000000000", "sub_epoch: must be at most 1e+06"),
    ],
)  # fmt: skip
def test_what_a_run_would_take_is_said_before_it_is_taken(refused: Refused, words: str, said: str) -> None:
    refused(f"run {{STREETS}} {words}", 2, said)


@pytest.mark.parametrize("command", ["eval streets --checkpoint x.pt", "predict streets a.png --out o --checkpoint x.pt"])
@pytest.mark.parametrize("words", ["size=[32768,32768]", "size=[2048,1024] evaluate.target.scales=[50]"])
def test_what_a_protocol_would_take_is_said_too(refused: Refused, command: str, words: str) -> None:
    Path("a.png").touch()
    refused(f"{command} device=cpu evaluate.target.batch=1 evaluate.target.{words}", 2, "as float32 take", "bytes of memory")


def test_batches_of_few_images_are_counted_by_the_images() -> None:
    from udacore.config.schema import EvaluationConfig

    (claim,) = footprint.protocol_claims("evaluate.x", EvaluationConfig(size=(10, 10), batch=1000, count=3), 12)
    assert claim.bytes == 3 * 10 * 10 * 12


def test_the_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    whole = footprint.machine_memory()
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(footprint, "CGROUPS", (str(tmp_path / "memory.max"), str(tmp_path / "none")))
    assert footprint.machine_memory() == whole
    (tmp_path / "memory.max").write_text("1000000\n")
    assert footprint.machine_memory() == 1_000_000


@pytest.mark.parametrize("allocate", ["torch.empty(10**17)", "np.empty(10**17)"])
def test_memory_that_is_refused_is_a_line(refused: Refused, folder: Path, allocate: str) -> None:
    Path("mine.py").write_text(METHOD.replace("ALLOCATE", allocate))
    command = "run {STREETS} --plugin ./mine.py draws=[source,target]"
    message = refused(command, 1, "out of memory", "in hook target_loss of plugin 'mine', round 'source', step", writes=["runs*"])
    assert len(message.splitlines()) == 1


def test_a_process_that_the_system_refuses_is_a_line(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("os.fork", refuse)
    said = "no further process or thread could be started"
    refused("run {STREETS} workers=1", 1, said, "take fewer workers", writes=["runs*"])


ONE = {
    "fada": "rounds.source=null rounds.distill=null rounds.adversarial.weights=initial",
    "proca": "rounds.source=null rounds.distill=null rounds.distill-2=null rounds.distill-3=null rounds.distill-4=null"
    " rounds.adapt.weights=initial rounds.adapt.method.variant=memory_bank",
}
"""Changes to a method's preset after which its round of adaptation stands alone."""


@pytest.mark.parametrize(
    ("plugin", "word", "said"),
    [
        ("fada", "rounds.adversarial.method.width=1000000000", "larger than by default: method.width=1000000000"),
        ("proca", "rounds.adapt.method.bank_rows=1000000000", "a tensor of 12 x 1000000000 x 256 would bring the model to"),
        ("proca", "rounds.adapt.method.embedding=1000000000", "method.embedding=1000000000"),
    ],
)  # fmt: skip
def test_what_a_method_builds_is_counted_before_it_is_taken(refused: Refused, plugin: str, word: str, said: str) -> None:
    sizes = "source.image_size=[64,32] target.image_size=[64,32] source.count=2 target.count=2 evaluate=null"
    quiet = "device=cpu workers=0 tensorboard=false initial=random name=bad"
    command = f"run -p {plugin} streets {ONE[plugin]} {sizes} {quiet} {word}"
    refused(command, 2, f"plugin '{plugin}', build_model, round", said, "and there are 1073741824 bytes", writes=["runs*"])


@pytest.mark.parametrize(
    ("plugin", "word"),
    [
        ("bdl", "pool_size=1000000000"), ("bdl", "blocks=1000000000"), ("bdl", "halvings=1000000000"), ("proca", "anchors=1000000000"),
        ("pycda", "prior_size=[1000000000,1000000000]"), ("proca", "bank_pixels=1000000000"),
        ("proca", "anchors_per_class=1000000000"),
    ],
)  # fmt: skip
def test_settings_that_take_memory_later_have_a_bound(refused: Refused, plugin: str, word: str) -> None:
    refused(f"config -p {plugin} streets method.{word}", 2, "at most")


def test_counting_changes_no_weight() -> None:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4), nn.Embedding(3, 2))

    plain = build()
    with CountedAllocation(10_000, "here", None) as counted:
        watched = build()
    assert counted.taken >= sum(value.nbytes for value in plain.parameters())
    assert all(torch.equal(one, other) for one, other in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True))
