"""`compile: true` changes no name and no number."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from udacore.config.resolve import load_config
from udacore.engine.machine.device import open_machine

CHANGES: dict[str, Any] = {"rounds": {"adapt": {"steps": 2, "model": {"batch_norm": "domain"}}}}


def weights(workshop: Any, name: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(workshop.path / name / "checkpoints" / "0-adapt.pt", weights_only=True)["model"]
    return state


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch reads it itself while it traces
def test_a_compiled_run_traces_and_ends_as_a_plain_one(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []

    def trace_only(module: nn.Module) -> None:  # inductor would take minutes
        compiled.append(module)
        module._compiled_call_impl = torch.compile(module._call_impl, backend="eager")

    monkeypatch.setattr(nn.Module, "compile", trace_only)
    workshop.run(CHANGES, name="plain")
    assert compiled == []
    workshop.run(CHANGES, "compile=true", name="traced")
    assert compiled
    plain, traced = weights(workshop, "plain"), weights(workshop, "traced")
    assert plain.keys() == traced.keys()
    assert [key for key in plain if not torch.equal(plain[key], traced[key])] == []


def test_compiled_code_keeps_what_the_backward_pass_of_a_second_part_reads() -> None:
    """BDL's segmenter and discriminator end in one graph; inductor, which would show it, takes minutes."""
    from torch._functorch import config as functorch

    before = functorch.donated_buffer
    with open_machine(load_config("streets", ("compile=true", "device=cpu"))):
        assert functorch.donated_buffer is False
    assert functorch.donated_buffer is before
