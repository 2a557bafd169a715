"""PyCDA's presets, all rounds, on miniatures of the real data sets in exactly their format; sizes,
lists and steps are cut."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from udacore_pycda.normalization import CumulativeBatchNorm2d
from udacore_pycda.ppm import build_ppm

from udacore.testing.formats import write_cityscapes, write_gta5, write_synthia
from udacore.testing.interruption import DeathError, dying_in, find_differences
from udacore.testing.runs import uda

ODD = (131, 67)
TINY = ("method.encoder=tiny", "initial=random")
CUT = (
    "steps=2", "batch=2", "source.transform.resize.size=[96,54]", "source.transform.crop.size=[56,48]", "target.transform.resize.size=[96,48]",
    "target.transform.crop.size=[56,48]", "method.prior_size=[96,48]", "method.threshold=0.2", "evaluate.target.size=[96,48]",
    "evaluate.selection.size=[96,48]", "log_every=1", "device=cpu", "workers=0", "threads=1", "tensorboard=false",
)  # fmt: skip
CONVERT = "rounds.convert.steps=3"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A user's machine: the data sets, and a folder to work in; one training
    image of the target is held out."""
    gta5 = tmp_path / "data" / "gta5"
    write_gta5(gta5)
    for folder in ("images", "labels"):
        shutil.copy(gta5 / folder / "00001.png", gta5 / folder / "15188.png")
    names = write_cityscapes(tmp_path / "data" / "cityscapes", size=ODD)["train"]
    here = tmp_path / "here"
    here.mkdir()
    (here / "held-out.txt").write_text(f"{names[1]}.png\n")
    monkeypatch.chdir(here)
    monkeypatch.setenv("UDACORE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def run(preset, *words):
    """The exit status of a run with the cut preset."""
    lists = ("target.except=held-out.txt", "evaluate.selection.list=held-out.txt")
    return uda("run", "--plugin", "pycda", preset, *CUT, *lists, *words)


def folder(place, preset):
    return place / "here" / "runs" / f"pycda-{preset}"


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def terms(run):
    found = {}
    for row in rows(run):
        found.setdefault(row["round"], set()).update(key.removeprefix("loss/") for key in row if key.startswith("loss/"))
    return found


def model_of(run, name):
    return torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)["model"]


SOURCE = {"cross_entropy", "auxiliary"}
PYRAMID = SOURCE | {"image", "pixel", "region"}


def test_gta5_to_cityscapes_runs_whole(place):
    assert run("gta5-cityscapes", *TINY, CONVERT) == 0
    done = folder(place, "gta5-cityscapes")
    assert terms(done) == {"adabn": SOURCE, "pyramid": PYRAMID, "convert": set()}
    used = json.loads((done / "env.json").read_text())["data"]
    assert {name.partition(", from")[0] for name in used} == {
        "images and labels of gta5, 3 as source", "images of cityscapes, 2 as target",  # neither 15188 nor what is held out
        "images and labels of cityscapes, 2 as target", "images and labels of cityscapes, 1 as target",
    }  # fmt: skip
    protocols = {(row["set"], *map(str, (row["protocol"][key] for key in ("size", "align_corners", "interpolation")))) for row in rows(done) if "miou" in row}
    assert protocols == {(name, "[96, 48]", "True", "bilinear") for name in ("target", "selection")}
    before, after = model_of(done, "1-pyramid"), model_of(done, "2-convert")
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert {key.rpartition(".")[2] for key in changed} == {"running_mean", "running_var", "_tmp_running_mean", "_tmp_running_var", "_running_iter"}
    # 1 at first; two domains in each of 2 + 2 steps, then 3 batches of the target alone
    for model, count in ((before, 8), (after, 11)):
        expected = 0.999**count + sum(0.999**k for k in range(count))
        counts = {float(value) for key, value in model.items() if key.endswith("_running_iter")}
        assert list(counts) == [pytest.approx(expected, rel=1e-5)]


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("gta5-cityscapes-spatial", {"adabn": SOURCE, "pyramid": SOURCE | {"image", "region", "spatial"}, "convert": set()}),
        ("gta5-cityscapes-adabn", {"adabn": SOURCE, "convert": set()}),
        ("gta5-cityscapes-source-only", {"source": SOURCE}),
        ("synthia-cityscapes", {"adabn": SOURCE, "pyramid": PYRAMID, "convert": set()}),
        ("synthia-cityscapes-spatial", {"adabn": SOURCE, "pyramid": SOURCE | {"image", "region", "spatial"}, "convert": set()}),
    ],
)
def test_the_other_variants_run_whole(place, preset, expected):
    words = [*TINY]
    if "convert" in expected:
        words.append(CONVERT)
    if preset.endswith("spatial"):
        words += ["rounds.pyramid.batch=2", "rounds.convert.batch=2"]
    if preset.startswith("synthia"):
        write_synthia(place / "data" / "synthia")
    assert run(preset, *words) == 0
    done = folder(place, preset)
    assert terms(done) == expected
    last = [row for row in rows(done) if row.get("set") == "target"][-1]
    assert len(last["iou"]) == (16 if preset.startswith("synthia") else 19)
    assert set(last["subsets"]) == ({"synthia13"} if preset.startswith("synthia") else set())


@pytest.mark.long
def test_a_run_killed_in_any_round_is_resumed_bit_by_bit(place):
    words = (*TINY, CONVERT, "save_every=1")
    assert run("gta5-cityscapes", *words, "name=whole") == 0
    for name in ("adabn", "pyramid", "convert"):
        with dying_in(name), pytest.raises(DeathError):
            run("gta5-cityscapes", *words, f"name={name}")
        assert run("gta5-cityscapes", *words, f"name={name}", "--resume") == 0
        assert find_differences(*(place / "here" / "runs" / which for which in ("whole", name))) == []


def test_the_best_model_by_held_out_labels_is_kept_on_demand_and_the_run_says_so(place, capsys):
    assert run("gta5-cityscapes-adabn", *TINY, CONVERT, "keep=best") == 0
    said = capsys.readouterr().err
    assert "best on 'selection', chosen by labels of the target" in said
    done = folder(place, "gta5-cityscapes-adabn")
    assert {row["protocol"]["checkpoint"] for row in rows(done) if "miou" in row} == {"last", "best on selection"}


def test_a_split_that_names_missing_images_is_refused_with_the_first_of_them(place, capsys):
    # One of the 500 is there, so `except` has something to leave out; the labelled set of
    # all 500 is not complete.
    assert uda("run", "--plugin", "pycda", "gta5-cityscapes", *CUT, *TINY, CONVERT) == 3
    err = capsys.readouterr().err
    assert "list udacore_pycda:lists/cityscapes_train_val500.txt: no image hanover/hanover_000000_046954_leftImg8bit.png in" in err
    assert "(498 more missing)" in err
    assert len(err.splitlines()) == 1
    (place / "here" / "none.txt").write_text("ulm/ulm_000001_000019_leftImg8bit.png\n")
    assert run("gta5-cityscapes", *TINY, CONVERT, "target.except=none.txt") == 3
    err = capsys.readouterr().err
    assert "except none.txt: none of its 1 names is among the images, the first is ulm/ulm_000001_000019_leftImg8bit.png" in err
    assert len(err.splitlines()) == 1


def test_the_file_of_weights_that_a_preset_needs_is_named_with_its_family(place, capsys):
    assert run("gta5-cityscapes", CONVERT) == 2
    err = capsys.readouterr().err
    assert "resnet101-imagenet.pth: no such file of weights; expected deep-stem ResNet-101, stem of 64, 64, 128 channels" in err
    assert len(err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.long
def test_the_published_network_begins_with_a_file_of_its_family(place):
    torch.manual_seed(0)
    backbone = build_ppm("resnet101", 2, torch.nn.BatchNorm2d).backbone
    torch.save({**backbone.state_dict(), "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, place / "imagenet.pth")
    words = (f"initial={place / 'imagenet.pth'}", "steps=1", "parts.segmenter.lr=0", "rounds.pyramid=null", "rounds.convert=null")
    assert run("gta5-cityscapes", *words) == 0
    model = model_of(folder(place, "gta5-cityscapes"), "0-adabn")
    for key, parameter in backbone.named_parameters():
        assert torch.equal(model[f"backbone.{key}"], parameter)
    assert model["classifier.conv_last.4.weight"].shape == (19, 512, 1, 1)


def test_authors_files_are_imported_and_evaluated(place, capsys):
    torch.manual_seed(1)
    model = build_ppm("tiny", 19, CumulativeBatchNorm2d)
    model.train()(torch.randn(2, 3, 24, 32))
    for part, ours in (("encoder", "backbone."), ("decoder", "classifier.")):
        state = {key.removeprefix(ours): value for key, value in model.state_dict().items() if key.startswith(ours)}
        torch.save(state, f"{part}_i_itermodel_best.pth.tar")
    assert uda("import", "--plugin", "pycda", "encoder_i_itermodel_best.pth.tar", "decoder_i_itermodel_best.pth.tar", "pycda.pt") == 0
    capsys.readouterr()
    words = [*CUT, *TINY, CONVERT, "target.except=null", "evaluate.selection=null", "best_on=null"]
    assert uda("eval", "gta5-cityscapes", "--plugin", "pycda", "--checkpoint", "pycda.pt", "--json", *words) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert 0 <= result["miou"] < 0.2
    assert result["protocol"]["align_corners"] is True
    start = ("rounds.adabn=null", "rounds.convert=null", "rounds.pyramid.weights=pycda.pt", "parts.segmenter.lr=0", "rounds.pyramid.parts.segmenter.lr=0")
    assert run("gta5-cityscapes", *TINY, *start) == 0
    went_on = model_of(folder(place, "gta5-cityscapes"), "0-pyramid")
    assert torch.equal(went_on["backbone.conv1.weight"], model.backbone.conv1.weight)
    assert went_on["backbone.bn1._running_iter"].item() == pytest.approx(sum(0.999**k for k in range(6)), rel=1e-4)  # 1, 1 more here, 4 there
