"""The page on what the hooks carry: each of its ten files trains by the command under it, and the table has a row for each."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from udacore.cli import main

PAGE = (Path(__file__).parent.parent / "docs/carries.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)$(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
FILES = {title.lower(): re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) for title, text in SECTIONS.items()}
LOSSES = {
    "advent": {"adversarial", "discriminator/source", "discriminator/target"}, "maxsquare": {"squares"}, "crst": {"labels", "uniform"},
    "fda": {"entropy"}, "dacs": {"mixed"}, "proda": {"denoised"}, "daformer": {"mixed", "distance"}, "hrda": {"fused", "detail"},
    "mic": {"mixed", "masked"}, "rein": set(),
}  # fmt: skip
SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("image_size=[64,32]", "count=4")),
    "rounds.source.steps=2", "rounds.adapt.steps=3", "batch=2", "rounds.adapt.batch=2", "evaluate.source=null", "log_every=1",
    "tensorboard=false", "device=cpu", "threads=1", "workers=0", "name=run", "folder=.",
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_of_the_page_trains_by_its_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for other, blocks in FILES.items():
        Path(f"{other}.py").write_text("".join(blocks))
    (command,) = re.findall(r"^uda (run --plugin \./" + name + r"\.py .*)$", PAGE, re.MULTILINE)
    if "backbone.pt" in command:
        assert main(["run", *shlex.split("streets rounds.source.steps=1 evaluate=null"), *SMALL[:4], *SMALL[-7:-2], "name=before", "folder=."]) == 0
        weights = torch.load("before/checkpoints/0-source.pt", weights_only=True)["model"]
        torch.save({key.removeprefix("backbone."): value for key, value in weights.items() if key.startswith("backbone.")}, "backbone.pt")
    assert main([*shlex.split(command), *SMALL]) == 0
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    found = {key.removeprefix("loss/"): row[key] for row in rows if row["round"] == "adapt" for key in row if key.startswith("loss/")}
    assert LOSSES[name] <= found.keys()
    assert {key for key, value in found.items() if value == 0} <= {"masked"}  # after two steps the teacher is sure of no pixel


def test_each_is_a_skeleton_and_has_a_row() -> None:
    assert set(FILES) == set(LOSSES)
    assert {title: len(block.splitlines()) for title, blocks in FILES.items() for block in blocks if len(block.splitlines()) > 25} == {}
    assert re.findall(r"^\| \[\w+\]\(#(\w+)\)", PAGE, re.MULTILINE) == list(FILES)
