"""Weights as other programs save them are unwrapped, and what was taken off is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from udacore.config.schema import ModelConfig
from udacore.errors import DataError
from udacore.models import build_segmenter
from udacore.models.unwrapping import unwrap
from udacore.models.weights import load_initial, read_state

STATE = {"backbone.conv1.weight": torch.ones(2), "classifier.bias": torch.zeros(1)}


def behind(prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in STATE.items()}


WRAPPED: dict[str, tuple[Any, list[str]]] = {
    "plain": (STATE, []),
    "trainer": ({"state_dict": STATE, "epoch": 3, "optimizer": {"lr": 0.1}}, ["the entry 'state_dict'"]),
    "model": ({"model": STATE, "args": [1]}, ["the entry 'model'"]),
    "nested": ({"state_dict": {"model": STATE}}, ["the entry 'state_dict'", "the entry 'model'"]),
    "parallel": (behind("module."), ["the prefix 'module.'"]),
    "compiled": (behind("_orig_mod."), ["the prefix '_orig_mod.'"]),
    "both": (behind("_orig_mod.module."), ["the prefix '_orig_mod.'", "the prefix 'module.'"]),
    "lightning": ({"state_dict": behind("model."), "pytorch-lightning_version": "2"}, ["the entry 'state_dict'", "the prefix 'model.'"]),
    "compiled parts": (
        {key.replace(".", "._orig_mod.", 1): value for key, value in STATE.items()},
        ["'_orig_mod.' within keys"],
    ),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_wrappers_are_taken_off_and_said(how: str) -> None:
    content, expected = WRAPPED[how]
    state, said = unwrap(content, "file.pt")
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[key], value) for key, value in STATE.items())
    assert said == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": STATE, "ema": STATE}, "file.pt: holds several networks, model, ema; save the one that is meant"),
        ({"epoch": 3}, "file.pt: no state_dict of tensors but epoch"),
        ({}, "file.pt: no state_dict of tensors but an empty one"),
        ([STATE], "file.pt: no state_dict of tensors but list"),
        ({"model": {"a": 1}}, "file.pt: no state_dict of tensors but a"),
        ({1: torch.ones(1)}, "file.pt: no state_dict of tensors: a key of it is no text but int"),
    ],
)
def test_a_file_without_one_network_is_refused(content: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        unwrap(content, "file.pt")
    assert str(caught.value).startswith(said)


def test_the_log_says_what_was_taken_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    torch.save({"state_dict": behind("module.")}, tmp_path / "file.pt")
    assert read_state(tmp_path / "file.pt").keys() == STATE.keys()
    assert f"{tmp_path / 'file.pt'}: the entry 'state_dict' and the prefix 'module.' taken off" in caplog.messages


def test_a_backbone_comes_from_a_network_with_other_classes(tmp_path: Path) -> None:
    config = ModelConfig(name="small")
    theirs, ours = build_segmenter(config, 12), build_segmenter(config, 19)
    torch.save(theirs.state_dict(), tmp_path / "twelve.pt")
    before = {key: value.clone() for key, value in ours.classifier.state_dict().items()}
    load_initial(ours, str(tmp_path / "twelve.pt"), config, leave=("classifier",))
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items() if key.startswith("backbone"))
    assert all(torch.equal(value, before[key]) for key, value in ours.classifier.state_dict().items())
