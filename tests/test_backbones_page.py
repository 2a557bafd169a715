"""The table of docs/backbones.md is what its program makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def program() -> Any:
    pytest.importorskip("timm")
    spec = importlib.util.spec_from_file_location("backbones", ROOT / "benchmarks" / "backbones.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["resnet101.tv_in1k", "convnextv2_base.fcmae_ft_in22k_in1k", "vit_base_patch14_reg4_dinov2.lvd142m"])
def test_a_row_is_what_timm_says(program: Any, name: str) -> None:
    assert program.row(name) in program.PAGE.read_text().splitlines(keepends=True)


def test_the_page_has_a_row_for_each_network_and_no_other(program: Any) -> None:
    rows = [line for line in program.PAGE.read_text().splitlines() if line.startswith("| `timm:")]
    assert [row.split("`")[1].removeprefix("timm:") for row in rows] == list(program.NAMES)
