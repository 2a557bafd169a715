"""The update of a part: gradients clipped by their norm, and under fp16 scaled losses and
updates that are left out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udacore.config.schema import PartConfig, RoundConfig
from udacore.engine.files.checkpoint import read_checkpoint
from udacore.engine.machine.device import Machine, open_machine
from udacore.engine.optimisation.parts import make_parts
from udacore.engine.step import Updater
from udacore.errors import ConfigError, UdaError
from udacore.interface import Output, RoundInfo, SourceBatch, Step
from udacore.testing.interruption import DeathError, dying_in, find_differences

CPU = torch.device("cpu")


class Net(nn.Module):
    """Two layers, and a critic of the first one's maps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.critic = nn.Conv2d(6, 1, 1)
        self.align_corners, self.num_classes = False, 4

    def forward(self, image: Tensor) -> Output:
        features = self.body(image).relu()
        return Output(logits=self.head(features), features=features)


def make_batch(seed: int) -> SourceBatch:
    generator = torch.Generator().manual_seed(seed)
    image, label = torch.randn(2, 3, 8, 8, generator=generator), torch.randint(0, 4, (2, 8, 8), generator=generator)
    return SourceBatch(image=image, label=label, name=("a", "b"), valid=torch.ones(2, 8, 8, dtype=torch.bool))


def both_losses(step: Any) -> dict[str, Tensor]:
    output = step.model(step.source.image)
    return {"source": F.cross_entropy(output.logits.float(), step.source.label), "critic/x": step.model.critic(output.features).square().mean()}


def make_updater(loss: Any = both_losses, *, fp16: bool = False, accumulation: int = 1, **clips: float) -> Updater:
    """An updater on a fresh `Net`; `clips` are those of the parts."""
    parts = {name: PartConfig(lr=0.1, clip=clips.get(name)) for name in ("segmenter", "critic")}
    config = RoundConfig(parts=parts, method=None, draws=("source",), accumulation=accumulation)
    model, trains = Net(), ("segmenter", "critic")
    machine = Machine(device=CPU, amp="fp16" if fp16 else "off")
    return Updater(
        hooks=SimpleNamespace(source_loss=lambda step: loss(step)), method="mine", model=model, config=config, machine=machine, seed=0,
        parts=make_parts(model, config, trains, machine.scale_on), epoch=5,
        round=RoundInfo(name="adapt", index=0, steps=10, trains=trains, classes=tuple("abcd")),
    )  # fmt: skip


def take_steps(updater: Updater, steps: int, accumulation: int = 1) -> dict[str, Tensor]:
    for index in range(steps):
        updater.run_step(index, [make_batch(accumulation * index + micro) for micro in range(accumulation)], [None] * accumulation)
    return updater.model.state_dict()


def differing(one: dict[str, Tensor], two: dict[str, Tensor]) -> set[str]:
    return {name.partition(".")[0] for name in one if not torch.equal(one[name], two[name])}


def test_clip_shortens_the_gradient_of_the_whole_step_and_records_its_norm() -> None:
    model, norms = Net(), []
    own = [p for name, p in model.named_parameters() if not name.startswith("critic")]
    optimizers = [torch.optim.SGD(own, lr=0.1), torch.optim.SGD(model.critic.parameters(), lr=0.1)]
    for index in range(3):
        for micro in range(2):
            losses = both_losses(SimpleNamespace(model=model, source=make_batch(2 * index + micro)))
            (0.5 * losses["source"]).backward(inputs=own, retain_graph=True)
            (0.5 * losses["critic/x"]).backward(inputs=list(model.critic.parameters()))
        norms.append(float(nn.utils.clip_grad_norm_(own, 0.05)))
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    updater = make_updater(accumulation=2, segmenter=0.05)
    assert differing(take_steps(updater, 3, 2), dict(model.state_dict())) == set()
    assert min(norms) > 0.05
    assert updater.pending_numbers()["segmenter/grad_norm"] == pytest.approx(norms, rel=1e-6)
    assert "critic/grad_norm" not in updater.numbers


def test_a_norm_below_clip_changes_no_bit_and_parts_are_clipped_each_for_itself() -> None:
    plain = take_steps(make_updater(), 3)
    assert differing(take_steps(make_updater(segmenter=1e3, critic=1e3), 3), plain) == set()
    assert differing(take_steps(make_updater(critic=1e-4), 1), take_steps(make_updater(), 1)) == {"critic"}


def steep(step: Step) -> dict[str, Tensor]:
    """At two steps the segmenter's gradients are too large for fp16 under any scale that is reached here."""
    losses = both_losses(step)
    return {**losses, "source": losses["source"] * (1e7 if step.index in (1, 2) else 1.0)}


def test_fp16_leaves_out_what_overflows_and_is_bit_equal_to_torchs_scaler() -> None:
    model = Net()
    own = [p for name, p in model.named_parameters() if not name.startswith("critic")]
    groups = {"source": own, "critic/x": list(model.critic.parameters())}
    optimizers = {name: torch.optim.SGD(parameters, lr=0.1) for name, parameters in groups.items()}
    scalers = {name: torch.amp.GradScaler("cpu") for name in groups}
    for index in range(5):
        with torch.autocast("cpu", dtype=torch.float16):
            losses = steep(SimpleNamespace(model=model, source=make_batch(index), index=index))  # type: ignore[arg-type]
        for name, loss in losses.items():
            scalers[name].scale(loss.float()).backward(inputs=groups[name], retain_graph=name == "source")
        for name, optimizer in optimizers.items():
            scalers[name].step(optimizer)
            scalers[name].update()
            optimizer.zero_grad()
    updater = make_updater(steep, fp16=True)
    assert differing(take_steps(updater, 5), dict(model.state_dict())) == set()
    numbers = updater.pending_numbers()
    assert numbers["segmenter/skipped"] == [0, 1, 1, 0, 0]
    assert numbers["segmenter/scale"] == [65536, 65536, 32768, 16384, 16384]
    assert numbers["critic/skipped"] == [1, 0, 0, 0, 0]  # a scale of its own
    assert [updater.parts[name].scaler.skipped for name in ("segmenter", "critic")] == [2, 1]  # type: ignore[union-attr]
    updater.health.check("adapt", "none")  # what was left out is no fault


def test_fp16_clips_what_the_losses_are_without_the_scale() -> None:
    halved, single = make_updater(fp16=True, segmenter=0.05), make_updater(segmenter=0.05)
    take_steps(halved, 2)
    take_steps(single, 2)
    there, here = halved.pending_numbers(), single.pending_numbers()
    assert there["segmenter/grad_norm"] == pytest.approx(here["segmenter/grad_norm"], rel=0.01)


def test_a_gradient_that_no_scale_makes_finite_stops_the_run() -> None:
    updater = make_updater(lambda step: both_losses(step)["source"] + (0 * step.model.head.weight).abs().sum().sqrt(), fp16=True)
    take_steps(updater, 16)
    updater.health.check("adapt", "none")
    take_steps(updater, 1)
    with pytest.raises(UdaError, match="not finite: gradient of segmenter"):
        updater.health.check("adapt", "none")


def test_fp16_is_refused_on_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("udacore.engine.machine.device.choose_device", lambda word: torch.device("mps"))
    config: Any = SimpleNamespace(device="mps", amp="fp16", threads=1)
    with pytest.raises(ConfigError, match=r"^amp: fp16 needs a CUDA device or the CPU, the device is mps; possible there: off, bf16$"), open_machine(config):
        pass


OVERFLOWING = """
from udacore import hookimpl, source_only

@hookimpl
def source_loss(step):
    loss = source_only.source_loss(step)["source"]
    return loss * (1e9 if step.index in (2, 4, 5) else 1.0)
"""


def test_a_run_under_fp16_counts_what_it_left_out_and_resumes_exactly(workshop: Any, capsys: pytest.CaptureFixture[str]) -> None:
    method = str(workshop.write_method(OVERFLOWING))
    changes = {"plugin": method, "amp": "fp16", "parts": {"segmenter": {"clip": 1.0}}, "rounds": {"source": {"steps": 9, "draws": ["source"]}}}
    (result,) = workshop.run(changes, name="whole")
    assert result.protocol["precision"] == "fp16"
    said = "round 'source': fp16 left out 3 updates of part 'segmenter', whose gradients overflowed; its losses are now multiplied by 8192"
    assert said in capsys.readouterr().err.splitlines()
    with dying_in("source", step=8), pytest.raises(DeathError):
        workshop.run(changes, name="died")
    last = workshop.path / "died" / "checkpoints" / "last.pt"
    assert read_checkpoint(last).scalers == {"segmenter": {"scale": 8192.0, "since": 0, "skipped": 3}}
    workshop.run(changes, resume=True, name="died")
    assert find_differences(workshop.path / "whole", workshop.path / "died") == []
    assert said in (workshop.path / "died" / "log.txt").read_text().splitlines()
    rows = [json.loads(line) for line in (workshop.path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [row["segmenter/skipped"] for row in rows if "segmenter/skipped" in row] == [1 / 4, 2 / 4, 0]
    assert all(row["segmenter/grad_norm"] > 0 for row in rows if "loss/source" in row)


def test_a_checkpoint_says_nothing_of_scales_where_there_are_none(workshop: Any) -> None:
    workshop.run({"rounds": {"source": {"steps": 4, "draws": ["source"]}}})
    path = Path(workshop.path / "run" / "checkpoints" / "last.pt")
    assert path.exists()
    assert "scalers" not in torch.load(path, weights_only=True)
    assert read_checkpoint(path).scalers == {}
