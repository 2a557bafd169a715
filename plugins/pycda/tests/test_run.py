"""All rounds of the preset for the embedded domains, cut to a few steps and images;
every variant; resumed runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import udacore_pycda
from udacore_pycda.prior import write_counts

from udacore import ConfigError
from udacore.testing.interruption import DeathError, dying_in, find_differences
from udacore.testing.runs import configure, train, uda

STEPS = {"source": 2, "pyramid": 3, "convert": 2}
SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("count=3", "image_size=[64,32]")),
    *(f"rounds.{name}.steps={steps}" for name, steps in STEPS.items()),
    *("rounds.source.batch=2", "rounds.convert.batch=2", "batch=2", "tensorboard=false", "log_every=1", "evaluate.target.every=0"),
    "method.threshold=0.1",
)
PLAIN = tuple(f"rounds.pyramid.method.{word}" for word in ("lambda_spatial=0", "merge_pixels=false", "image_target=uniform"))
"""The variant without spatial ratio; the preset has it."""


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UDACORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run_small(folder, *words, resume=False):
    words = (*SMALL, f"folder={folder}", "name=run", *words)
    config = configure("pycda", "streets", words)
    done = train("pycda", config, resume=resume)
    return done.folder, list(done.results)


def checkpoint(folder, name):
    return torch.load(folder / "checkpoints" / f"{name}.pt", weights_only=True)["model"]


def is_statistic(name):
    return any(part in name for part in ("running_", "num_batches_tracked"))


def terms(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["round"]: {key.removeprefix("loss/") for key in row if key.startswith("loss/")} for row in rows if "lr/segmenter" in row}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_small(tmp_path_factory.mktemp("whole"))[0]


def test_each_round_has_its_losses(whole):
    assert terms(whole) == {"source": {"cross_entropy"}, "pyramid": {"cross_entropy", "image", "region", "spatial"}, "convert": set()}


def test_the_source_round_ends_with_what_its_labels_tell(whole):
    model = checkpoint(whole, "0-source")
    assert model["source_statistics.histogram"].sum().item() == pytest.approx(1)
    assert model["source_statistics.size"].tolist() == [32, 64]
    for side in (4, 8):
        assert model[f"source_statistics.spatial_prior_{side}"].shape == (12, 32 // side, 64 // side)
    with np.load(whole / "rounds" / "0-source" / udacore_pycda.STATISTICS_FILE) as kept:
        assert kept["counts"].shape == (32, 64, 12)
        assert 0 < kept["counts"].sum() <= 3 * 32 * 64


def test_conversion_changes_statistics_alone_and_leaves_the_round_before_as_it_was(whole):
    before, after = checkpoint(whole, "1-pyramid"), checkpoint(whole, "2-convert")
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(is_statistic(name) for name in changed)


def test_reset_forgets_what_training_saw(whole, tmp_path):
    folder, _ = run_small(tmp_path, "rounds.convert.method.reset=true")
    kept, fresh = (checkpoint(each, "2-convert") for each in (whole, folder))
    iterations = [name for name in fresh if name.endswith("_running_iter")]
    assert {round(fresh[name].item(), 3) for name in iterations} == {1.999}
    assert all(kept[name] > 2 for name in iterations)


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "pyramid" else pytest.mark.long) for name in STEPS])
def test_a_run_that_dies_inside_a_round_goes_on_bit_for_bit(whole, tmp_path, name):
    with dying_in(name), pytest.raises(DeathError):
        run_small(tmp_path, "save_every=1")
    folder, _ = run_small(tmp_path, "save_every=1", resume=True)
    assert find_differences(whole, folder) == []


def test_a_run_that_dies_while_counting_counts_again(whole, tmp_path, monkeypatch):
    def die(*_):
        raise DeathError

    with monkeypatch.context() as patch:
        patch.setattr(udacore_pycda, "write_counts", die)
        with pytest.raises(DeathError):
            run_small(tmp_path)
    folder, _ = run_small(tmp_path, resume=True)
    assert find_differences(whole, folder) == []


def test_adabn_is_a_source_round_with_target_forwards(whole, tmp_path):
    words = ("rounds.source.draws=[source,target]", "rounds.source.update=alternate", "rounds.source.method.adapt=statistics")
    folder, _ = run_small(tmp_path, *words, "rounds.pyramid=null", "rounds.convert=null")
    plain, mixed = (checkpoint(each, "0-source") for each in (whole, folder))
    assert terms(folder) == {"source": {"cross_entropy"}}
    assert all(torch.equal(value, mixed[name]) for name, value in plain.items() if not is_statistic(name))  # batch statistics train, not stored ones
    moved = [name for name in plain if name.endswith("running_mean") and not torch.equal(plain[name], mixed[name])]
    assert moved
    assert {mixed[name].item() > 4 for name in mixed if name.endswith("_running_iter")} == {True}


def test_the_pyramid_without_spatial_ratio_runs_and_resumes(tmp_path):
    folder, _ = run_small(tmp_path / "whole", *PLAIN)
    assert terms(folder)["pyramid"] == {"cross_entropy", "image", "pixel", "region"}
    with dying_in("pyramid"), pytest.raises(DeathError):
        run_small(tmp_path / "cut", *PLAIN, "save_every=1")
    again, _ = run_small(tmp_path / "cut", *PLAIN, "save_every=1", resume=True)
    assert find_differences(folder, again) == []


def test_a_control_sees_the_same_batches_and_learns_nothing_from_the_target(whole, tmp_path):
    folder, _ = run_small(tmp_path, "control=true")
    assert terms(folder) == terms(whole)
    assert find_differences(whole, folder) != []
    assert all(torch.equal(value, checkpoint(whole, "0-source")[name]) for name, value in checkpoint(folder, "0-source").items())


def test_a_prior_for_inputs_of_another_size_is_refused_before_anything_is_learned(tmp_path):
    write_counts(tmp_path / "other.npz", np.ones((32, 60, 12), np.int32))
    with pytest.raises(ConfigError, match=r"round 'pyramid': the spatial prior is for inputs of 60 x 32, but the target's are 64 x 32"):
        run_small(tmp_path, f"method.prior={tmp_path / 'other.npz'}")


def test_a_dry_run_tries_every_round_before_anything_was_counted(tmp_path, capsys):
    words = (*SMALL, f"folder={tmp_path}", "name=run")
    assert uda("run", "--plugin", "pycda", "streets", *words, "--dry-run") == 0
    table = capsys.readouterr().out
    assert [line.split()[0] for line in table.splitlines()[1:]] == [*STEPS, "total"]


def test_squares_need_no_side(tmp_path):
    folder, _ = run_small(tmp_path, "method.box_sizes=[]", *PLAIN)
    assert terms(folder)["pyramid"] == {"cross_entropy", "image", "pixel"}


def test_the_published_network_runs_at_a_small_size(tmp_path):
    folder, _ = run_small(tmp_path, "method.network=ppm", "method.encoder=tiny", "method.batch_norm=cumulative")
    assert terms(folder)["pyramid"] == {"cross_entropy", "auxiliary", "image", "region", "spatial"}
