"""Masked consistency on top of another method, in a file of at most 40 lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from udacore.cli import main

ROOT = Path(__file__).parent.parent
FILE = ROOT / "examples" / "masked_fada.py"
SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("image_size=[64,32]", "count=4")),
    *("rounds.source.steps=1", "rounds.source.batch=2", "rounds.adversarial.steps=2", "rounds.adversarial.batch=2", "rounds.distill=null"),
    *("tensorboard=false", "device=cpu", "threads=1", "workers=0", "log_every=1", "folder=.", "name=run", "method.mask_block=8"),
)


def test_fada_learns_from_masked_images_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--plugin", str(FILE), "fada/streets", *SMALL]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    found = {round: {key for row in rows if row["round"] == round for key in row if key.startswith("loss/")} for round in ("source", "adversarial")}
    assert found["source"] == {"loss/cross_entropy"}
    assert found["adversarial"] == {"loss/cross_entropy", "loss/adversarial", "loss/discriminator/source", "loss/discriminator/target", "loss/masked"}


def test_the_file_is_short() -> None:
    assert len(FILE.read_text().splitlines()) <= 40
