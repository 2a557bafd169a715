"""All rounds of the preset for the embedded domains, cut to a few steps and images."""

from __future__ import annotations

import json

import pytest
import torch

from udacore import ConfigError, UdaError
from udacore.testing.interruption import DeathError, dying_in, find_differences
from udacore.testing.runs import configure, train

SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("count=4", "image_size=[64,32]")),
    *(f"rounds.{name}.batch=2" for name in ("source", "adversarial", "distill")),
    *("rounds.source.steps=3", "rounds.adversarial.steps=4", "rounds.distill.steps=2", "method.width=8"),
    *("tensorboard=false", "log_every=1", "save_every=1", "threads=1"),
)


def small(folder, *overrides):
    words = (*SMALL, f"folder={folder}", "name=run", *overrides)
    return configure("fada", "streets", words)


def run_small(folder, *overrides, resume=False):
    config = small(folder, *overrides)
    done = train("fada", config, resume=resume)
    return done.folder, list(done.results)


def checkpoint(folder, name):
    return torch.load(folder / "checkpoints" / f"{name}.pt", weights_only=True)["model"]


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = {}
    for row in rows:
        found.setdefault(row["round"], set()).update(key.removeprefix("loss/") for key in row if key.startswith("loss/"))
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder, results = run_small(tmp_path_factory.mktemp("plain"))
    return folder, results, {name: config.steps for name, config in small(folder).rounds.items()}


def test_each_round_has_its_losses_and_the_last_its_labels(plain):
    folder, results, _ = plain
    assert losses(folder) == {
        "source": {"cross_entropy"},
        "adversarial": {"cross_entropy", "adversarial", "discriminator/source", "discriminator/target"},
        "distill": {"cross_entropy", "pseudo_label"},
    }
    manifest = json.loads((folder / "rounds" / "1-adversarial" / "labels" / "manifest.json").read_text())
    assert manifest["numbers"]["labelled"] == 1  # no threshold: every pixel
    assert len(manifest["names"]) == 4
    assert [(result.round, result.set) for result in results] == [("distill", "target")]


def test_the_discriminator_lives_in_its_round_only(plain):
    has = ["discriminator.source.weight" in checkpoint(plain[0], name) for name in ("0-source", "1-adversarial", "2-distill")]
    assert has == [False, True, False]


def test_the_control_differs_in_nothing_but_the_weight_of_the_target(plain, tmp_path):
    control, _ = run_small(tmp_path, "control=true")
    for name, equal in (("0-source", True), ("1-adversarial", False)):
        pair = checkpoint(plain[0], name), checkpoint(control, name)
        assert all(torch.equal(value, pair[1][key]) for key, value in pair[0].items()) == equal


@pytest.mark.parametrize("name", ["adversarial", *(pytest.param(name, marks=pytest.mark.long) for name in ("source", "distill"))])
def test_a_run_that_dies_inside_a_round_goes_on_bit_for_bit(plain, tmp_path, name):
    with dying_in(name), pytest.raises(DeathError):
        run_small(tmp_path)
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert (saved["round"], saved["step"]) == (name, plain[2][name] - 1)
    resumed, _ = run_small(tmp_path, resume=True)
    assert find_differences(plain[0], resumed) == []


def test_a_discriminator_that_collapses_stops_the_run_and_is_named(tmp_path):
    with pytest.raises(UdaError, match=r"round 'adversarial', step \d: not finite: .*loss 'adversarial'.*last good checkpoint") as stop:
        run_small(tmp_path, "rounds.adversarial.parts.discriminator.lr=1e30")
    assert "\n" not in str(stop.value)
    assert "discriminator/source" in str(stop.value)


def test_a_discriminator_of_another_width_or_number_of_classes_is_refused_in_one_line(plain, tmp_path):
    source, aligned = (plain[0] / "checkpoints" / f"{name}.pt" for name in ("0-source", "1-adversarial"))
    weights = {"segmenter": str(source), "discriminator": str(aligned)}
    words = ("rounds.source.steps=0", f"rounds.source.weights={source}", f"rounds.adversarial.weights={json.dumps(weights)}", "method.width=6")
    with pytest.raises(ConfigError, match=r"1-adversarial\.pt: weights of another architecture: of another shape: discriminator\.") as refusal:
        run_small(tmp_path, *words)
    assert "\n" not in str(refusal.value)


def test_a_discriminator_in_the_weights_is_gone_on_with(plain, tmp_path):
    aligned = plain[0] / "checkpoints" / "1-adversarial.pt"
    words = ("rounds.source.steps=0", f"rounds.source.weights={aligned}", f"rounds.adversarial.weights={aligned}")
    folder, _ = run_small(tmp_path, *words, "rounds.adversarial.parts.discriminator.lr=0")
    before, after = checkpoint(plain[0], "1-adversarial"), checkpoint(folder, "1-adversarial")
    assert all(torch.equal(value, after[key]) for key, value in before.items() if key.startswith("discriminator."))
