"""examples/segformer.py trains with a tiny random network."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import pytest
import torch

from udacore.cli import main

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "segformer.py"
WORDS = (
    "device=cpu", "threads=1", "workers=0", "tensorboard=false", "batch=2", "name=tiny", "source.count=4", "target.count=4",
    "source.image_size=[64,32]", "target.image_size=[64,32]", "evaluate.target.count=1", "evaluate.target.image_size=[64,32]", "evaluate.source=null",
    "rounds.source.steps=2", "rounds.adapt.steps=2", "method={widths: [8, 8, 16, 16], depths: [1, 1, 1, 1], head: 16}",
)  # fmt: skip


@pytest.mark.slow
def test_segformer_of_transformers_trains_in_both_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of its imports
        importlib.import_module("transformers")
    monkeypatch.chdir(tmp_path)
    assert main(["run", "streets-adapt", f"plugin={EXAMPLE}", *WORDS]) == 0
    first, last = (torch.load(f"runs/tiny/checkpoints/{name}.pt", weights_only=True)["model"] for name in ("0-source", "1-adapt"))
    assert first.keys() == last.keys()
    key = next(key for key in first if key.endswith("classifier.weight"))
    assert key.startswith("net.decode_head.")
    assert not torch.equal(first[key], last[key])
