"""Checkpoints are whole or not there, hold no code, and name what is wrong with them."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from udacore.engine.files.checkpoint import Checkpoints, RunState, digest, preserve_state, random_states, set_random_states, write_atomically
from udacore.errors import UdaError


def draw() -> tuple[float, ...]:
    return torch.rand(()).item(), float(np.random.rand()), float(np.random.randn()), random.random(), random.gauss(0, 1)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    state = RunState(
        round="a", step=7, model=model.state_dict(), optimizers={"segmenter": optimizer.state_dict()}, random=random_states(),
        numbers=[{"loss": [0.1, float("nan")]}], best=0.25, written={"metrics.jsonl": 12},
    )  # fmt: skip
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", state)
    drawn = draw()
    loaded = checkpoints.load("last")
    assert (loaded.round, loaded.step, loaded.best, loaded.written) == ("a", 7, 0.25, {"metrics.jsonl": 12})
    assert digest(loaded.model) == digest(state.model)
    assert str(loaded.optimizers) == str(state.optimizers)
    assert str(loaded.numbers) == str(state.numbers)
    set_random_states(loaded.random)
    assert draw() == drawn
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_atomically(path, {"a": torch.ones(3)})
    before = path.read_bytes()

    class Broken:
        def __reduce__(self) -> str:
            raise OSError(28, "No space left on device")

    with pytest.raises(UdaError, match=r"last\.pt: could not be written: No space left on device"):
        write_atomically(path, {"a": Broken()})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped"])
def test_a_broken_file_is_one_line(tmp_path: Path, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", RunState(round="a", step=1, model={"x": torch.randn(5000)}))
    path = checkpoints.path("last")
    content = path.read_bytes()
    path.write_bytes({"cut": content[:9000], "empty": b"", "text": b"hello\nworld", "flipped": b"\0" * 99 + content[99:]}[damage])
    with pytest.raises(UdaError) as caught:
        checkpoints.load("last")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    torch.save({"format": 1, "model": Path("/")}, tmp_path / "last.pt")
    with pytest.raises(UdaError) as caught:
        Checkpoints(tmp_path).load("last")
    assert "\n" not in str(caught.value)


def test_other_contents_and_missing_files_are_told(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(UdaError, match=r"last\.pt: no such checkpoint"):
        checkpoints.load("last")
    torch.save({"weight": torch.ones(2)}, checkpoints.path("last"))
    with pytest.raises(UdaError, match="not a checkpoint of this version"):
        checkpoints.load("last")
    torch.save(torch.ones(2), checkpoints.path("last"))
    with pytest.raises(UdaError, match="not a checkpoint: it holds a Tensor"):
        checkpoints.load("last")


def test_a_digest_changes_with_any_value_name_or_sign_of_zero() -> None:
    base = {"a": torch.zeros(2), "b": torch.tensor(True), "c": torch.zeros(0), "d": torch.zeros(2, dtype=torch.bfloat16)}
    assert digest(base) == digest(dict(reversed(base.items())))
    changed = ({**base, "a": torch.tensor([0.0, -0.0])}, {**base, "b": torch.tensor(False)}, {"A": base["a"], **base})
    assert len({digest(state) for state in (base, *changed)}) == 4


def test_undisturbed_leaves_modes_gradients_and_all_random_states() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Linear(2, 2))
    model.train()
    model[0].eval()
    for seeded in (torch.manual_seed, np.random.seed, random.seed):
        seeded(1)
    expected = draw()
    for seeded in (torch.manual_seed, np.random.seed, random.seed):
        seeded(1)
    with contextlib.suppress(KeyError), preserve_state(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        model.train()
        draw()
        raise KeyError
    assert [module.training for module in model.modules()] == [True, False, True]
    assert torch.is_grad_enabled()
    assert draw() == expected


def test_an_undisturbed_run_never_reads_its_last_checkpoint(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At published sizes that is half a gigabyte a round."""
    read: list[str] = []
    load = Checkpoints.load

    def note(self: Checkpoints, name: str) -> RunState:
        read.append(name)
        return load(self, name)

    monkeypatch.setattr(Checkpoints, "load", note)
    rounds = {name: {"steps": 4, "draws": ["source"]} for name in ("a", "b")}
    workshop.run({"rounds": rounds})
    assert "last" not in read
