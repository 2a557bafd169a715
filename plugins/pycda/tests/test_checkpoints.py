"""Released files: two state_dicts side by side, or one of both (algorithms/pycda 13)."""

from __future__ import annotations

import json

import pytest
import torch
from udacore_pycda.checkpoints import LAYOUTS, PAIR, WHOLE
from udacore_pycda.normalization import CumulativeBatchNorm2d
from udacore_pycda.ppm import build_ppm

from udacore import ConfigError
from udacore.models import load_state
from udacore.models.layouts import convert_checkpoint, join_files, recognize_layout
from udacore.testing.runs import uda

PARTS = {"encoder": "backbone.", "decoder": "classifier."}


def network(seed=0, classes=5):
    """A network whose batch norm has seen something."""
    torch.manual_seed(seed)
    model = build_ppm("tiny", classes, CumulativeBatchNorm2d)
    model.train()(torch.randn(2, 3, 24, 32))
    return model.eval()


def released(model, prefix=""):
    """The two files' contents, as the authors' program saves them."""
    state = model.state_dict()
    return {part: {prefix + key.removeprefix(ours): value for key, value in state.items() if key.startswith(ours)} for part, ours in PARTS.items()}


def save(folder, contents):
    paths = [folder / f"{part}_i_itermodel_best.pth.tar" for part in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        torch.save(content, path, _use_new_zipfile_serialization=False)  # as PyTorch 0.4 did
    return paths


def import_(*words):
    return uda("import", "--plugin", "pycda", *map(str, words))


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("order", [1, -1])
def test_a_pair_of_files_is_imported_in_any_order_with_the_sums_of_batch_norm(tmp_path, capsys, prefix, order):
    model = network()
    paths = save(tmp_path, released(model, prefix))[::order]
    assert import_(*paths, tmp_path / "ours.pt", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    counts = {part: len(state) for part, state in released(model).items()}
    assert (told["layout"], told["converted"], told["left"]) == ("pycda", counts, [])
    content = torch.load(tmp_path / "ours.pt", weights_only=True)
    assert content["imported"]["file"] == ", ".join(path.name for path in paths)
    fresh = network(seed=1)
    assert not load_state(fresh, content["model"], where="ours.pt").missing
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in fresh.state_dict().items())
    image = torch.randn(1, 3, 24, 32)
    assert torch.equal(fresh(image).logits, model(image).logits)


def test_one_file_of_both_is_imported(tmp_path):
    model = network()
    whole = {f"{part}.{key}": value for part, state in released(model).items() for key, value in state.items()}
    assert recognize_layout(whole, LAYOUTS) is WHOLE
    torch.save(whole, tmp_path / "both.pth")
    assert import_(tmp_path / "both.pth", tmp_path / "ours.pt") == 0
    state = torch.load(tmp_path / "ours.pt", weights_only=True)["model"]
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert set(state) == set(model.state_dict())


@pytest.mark.parametrize("part", PARTS)
def test_one_of_the_two_alone_is_told_apart_from_something_else(tmp_path, capsys, part):
    (path,) = save(tmp_path, {part: released(network())[part]})
    assert import_(path, tmp_path / "ours.pt") == 2
    err = capsys.readouterr().err
    assert f"it is the '{part}' of layout 'pycda' alone; give `uda import` the file of each entry (encoder, decoder)" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("case", ["twice", "foreign"])
def test_files_that_make_no_pair_are_refused_in_one_line(tmp_path, capsys, case):
    contents = released(network())
    if case == "twice":
        contents["decoder"] = contents["encoder"]
    else:
        contents["decoder"]["extra.weight"] = torch.zeros(1)
    encoder, decoder = save(tmp_path, contents)
    assert import_(encoder, decoder, tmp_path / "ours.pt") == 2
    err = capsys.readouterr().err
    assert "no known layout has one entry for each of these files" in err
    assert len(err.splitlines()) == 1


def test_sums_and_counts_may_be_missing():
    contents = released(network())
    plain = {part: {key: value for key, value in state.items() if not key.rpartition(".")[2].startswith(("_", "num_"))} for part, state in contents.items()}
    fresh = network(seed=1)
    load_state(fresh, convert_checkpoint(join_files(plain, LAYOUTS), PAIR), where="a pair")
    assert fresh.backbone.bn1._running_iter.tolist() == [1]
    assert torch.equal(fresh.backbone.bn1.running_mean, contents["encoder"]["bn1.running_mean"])


def test_another_number_of_classes_is_refused_by_name():
    state = convert_checkpoint(join_files(released(network(classes=5)), LAYOUTS), PAIR)
    with pytest.raises(ConfigError, match=r"another shape: classifier\.conv_last\.4\.weight, \(5, 8, 1, 1\) there and \(7, 8"):
        load_state(network(classes=7), state, where="a pair")
