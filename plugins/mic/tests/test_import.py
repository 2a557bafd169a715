"""`uda import` and `uda eval` on files in exactly the form in which the authors' training leaves them."""

from __future__ import annotations

import json
import re

import pytest
import torch
from udacore_mic.networks import Detail, build_network

from udacore.labels import STREETS
from udacore.testing.runs import uda

SIZES = ("evaluate.target.count=2", "evaluate.target.image_size=[64,64]", "evaluate.source=null")
WORDS = ("streets", "--plugin", "mic", "device=cpu", "threads=1", *SIZES, "method.network=mit_tiny", "method.width=16")
TWO = "method.detail_size=[32,32]"


def network(detail):
    torch.manual_seed(0)
    return build_network("mit_tiny", len(STREETS), detail=detail, width=16)


def released(model):
    """What the authors' training saves of a network: it, its teacher, the ImageNet network, and notes of the program."""
    student = {key.replace("classifier.", "decode_head."): value for key, value in model.state_dict().items()}
    others = {f"{name}.{key}": torch.zeros_like(value) for name in ("ema_model", "imnet_model") for key, value in student.items()}
    state = {**{f"model.{key}": value for key, value in student.items()}, **others}
    return {"meta": {"mmcv_version": "1.3.7", "iter": 40000}, "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}


def score(capsys, *words):
    assert uda("eval", *WORDS, "--round", "adapt", "--json", *words) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)[0]["iou"]


@pytest.mark.parametrize(("detail", "words"), [(None, ()), (Detail(window=(32, 32)), (TWO,))])
def test_a_release_is_converted_and_scored_as_the_network_that_it_holds(detail, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    model = network(detail)
    content = released(model)
    torch.save(model.state_dict(), "ours.pt")
    torch.save(content, "iter_40000_relevant.pth")
    student = {key.removeprefix("model."): value for key, value in content["state_dict"].items() if key.startswith("model.")}
    torch.save(student, "bare.pth")
    assert uda("import", "--plugin", "mic", "iter_40000_relevant.pth", "imported.pt") == 0
    said = capsys.readouterr().out
    assert "layout 'mic' of plugin 'mic'" in said
    assert re.search(r"not converted: meta, optimizer, state_dict\.ema_model\.backbone\.\* \(\d+\), ", said)
    expected = score(capsys, *words, "--checkpoint", "ours.pt")
    for name in ("imported.pt", "iter_40000_relevant.pth", "bare.pth"):
        assert score(capsys, *words, "--checkpoint", name) == expected


@pytest.mark.parametrize(
    ("detail", "words", "expected"),
    [
        (None, (TWO,), "they are of a network of one scale (DAFormer), and this round's has two scales (HRDA, MIC)"),
        (Detail(window=(32, 32)), (), "they are of a network of two scales (HRDA, MIC), and this round's has one scale (DAFormer)"),
    ],
)
def test_a_release_of_the_wrong_of_the_three_is_one_line(detail, words, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    torch.save(released(network(detail)), "latest.pth")
    assert uda("eval", *WORDS, "--round", "adapt", *words, "--checkpoint", "latest.pth") == 2
    assert capsys.readouterr().err == f"error: latest.pth: weights that the model does not take: {expected}\n"
