"""Both rounds of the preset for the embedded domains, cut to a few steps and images."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from udacore import ConfigError
from udacore.testing.interruption import DeathError, dying_in, find_differences
from udacore.testing.runs import configure, train, uda

SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("count=4", "image_size=[64,32]")),
    *(f"rounds.{name}.{word}" for name in ("source", "associate") for word in ("batch=2", "steps=3")),
    *("tensorboard=false", "log_every=1", "save_every=1", "threads=1"),
)
AGGREGATED = ("evaluate.target.head=aggregated", "evaluate.target.upsample=probability")


def run_small(folder, *overrides, resume=False):
    words = (*SMALL, f"folder={folder}", "name=run", *overrides)
    config = configure("clp", "streets", words)
    done = train("clp", config, resume=resume)
    return done.folder, list(done.results)


def checkpoint(folder, name):
    return torch.load(folder / "checkpoints" / f"{name}.pt", weights_only=True)["model"]


def losses(folder):
    found = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.setdefault(row["round"], set()).update(key.removeprefix("loss/") for key in row if key.startswith("loss/"))
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run_small(tmp_path_factory.mktemp("plain"))


def test_each_round_has_its_losses(plain):
    found = losses(plain[0])
    assert found["source"] == {"cross_entropy", "lovasz"}
    assert found["associate"] >= {"cross_entropy", "lovasz", "association_probability"}
    assert [(result.round, result.set) for result in plain[1]] == [("associate", "target")]


@pytest.mark.parametrize("name", [pytest.param("source", marks=pytest.mark.long), "associate"])
def test_a_run_that_dies_inside_a_round_goes_on_bit_for_bit(plain, tmp_path, name):
    with dying_in(name), pytest.raises(DeathError):
        run_small(tmp_path)
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert (saved["round"], saved["step"]) == (name, 2)
    resumed, _ = run_small(tmp_path, resume=True)
    assert find_differences(plain[0], resumed) == []


OPTIONS = (
    "method.adversarial=true", "method.sampling=grid", "method.sampling_factor=0.5", "rounds.associate.model.batch_norm=domain",
    "rounds.associate.accumulation=2", "method.diagnostics=true",
)  # fmt: skip


def test_all_options_together_die_and_go_on_bit_for_bit(tmp_path):
    whole, _ = run_small(tmp_path / "whole", *OPTIONS)
    with dying_in("associate"), pytest.raises(DeathError):
        run_small(tmp_path / "dead", *OPTIONS)
    resumed, _ = run_small(tmp_path / "dead", *OPTIONS, resume=True)
    assert find_differences(whole, resumed) == []
    assert {"adversarial", "discriminator/domain"} <= losses(whole)["associate"]
    state = checkpoint(whole, "1-associate")
    assert not torch.equal(*(state[f"backbone.bn1.norm_layers.{domain}.running_mean"] for domain in (0, 1)))
    assert "cycles/features/pos_ratio" in (whole / "metrics.jsonl").read_text()


def test_the_control_differs_in_the_round_that_associates_only(plain, tmp_path):
    control, _ = run_small(tmp_path, "control=true")
    for name, is_equal in (("0-source", True), ("1-associate", False)):
        ours, theirs = checkpoint(plain[0], name), checkpoint(control, name)
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items()) == is_equal


def test_aggregated_inference_is_a_protocol_and_written_into_its_result(plain, capsys):
    assert uda("eval", str(plain[0]), *AGGREGATED, "--json") == 0
    (aggregated,) = json.loads(capsys.readouterr().out)
    assert (aggregated["protocol"]["head"], aggregated["protocol"]["upsample"]) == ("aggregated", "probability")
    assert uda("eval", str(plain[0]), "--json") == 0
    (usual,) = json.loads(capsys.readouterr().out)
    assert usual["protocol"]["head"] == "logits"
    assert aggregated["iou"] != usual["iou"]


def test_a_sample_that_leaves_nothing_to_associate_is_refused_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"sampling_factor 0\.01 leaves nothing of a map") as refusal:
        run_small(tmp_path, "method.sampling=grid", "method.sampling_factor=0.01")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("batch", "reason"), [(1, "batch norm cannot be trained on one image"), (2, "two pixels or more")])
def test_crops_that_leave_one_pixel_are_refused_in_one_line(batch, reason, tmp_path):
    crops = (f"{domain}.transform.{word}" for domain in ("source", "target") for word in ("zoom=null", "crop.size=[4,4]"))
    with pytest.raises(ConfigError, match=reason) as refusal:
        run_small(tmp_path, *crops, "evaluate.target=null", "rounds.source.steps=1", f"rounds.associate.batch={batch}")
    assert "\n" not in str(refusal.value)


def test_an_alpha_of_one_is_refused_with_its_range(tmp_path):
    with pytest.raises(ConfigError, match=r"method\.alpha: must be below 1"):
        run_small(tmp_path, "method.alpha=1")


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_end_alike_and_the_log_says_what_is_not_pooled(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = (*SMALL, f"folder={tmp_path}", "name=two", "device=cpu", "rounds.associate.model.batch_norm=train", "rounds.source.steps=1")
    environment = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "udacore", "run", "--plugin", "clp", "streets", *words]
    processes = [subprocess.Popen(command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    log = (tmp_path / "two" / "log.txt").read_text()
    assert log.count("round 'associate': cycles stay within a process") == 1
    assert "associate 3/3" in log
