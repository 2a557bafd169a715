"""All rounds of the preset for the embedded domains, cut to a few steps and images; and of a published
one on miniature real data."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from udacore import DataError, UdaError
from udacore.data.tables import open_table
from udacore.labels import get_label_space
from udacore.testing.formats import write_cityscapes, write_gta5, write_synthia
from udacore.testing.interruption import DeathError, dying_in, find_differences
from udacore.testing.runs import configure, train

STEPS = {"source": 2, "translate-1": 4, "adapt-1": 2, "self-training-1": 2, "self-training-2": 1}
SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("count=3", "image_size=[64,32]")),
    *(f"rounds.{name}.steps={steps}" for name, steps in STEPS.items()),
    *("rounds.translate-1.source.transform.crop=null", "rounds.translate-1.target.transform.crop=null"),
    *("rounds.source.batch=2", "batch=2", "tensorboard=false", "log_every=1", "rounds.translate-1.method.pool_size=3"),
    *("rounds.translate-1.method.ngf=2", "rounds.translate-1.method.ndf=2", "rounds.translate-1.method.blocks=1", "evaluate.target.every=0"),
)


def configured(preset, *words):
    return configure("bdl", preset, words)


def run_small(folder, *words, resume=False, preset="streets"):
    config = configured(preset, *SMALL, f"folder={folder}", "name=run", *words)
    done = train("bdl", config, resume=resume)
    return done.folder, list(done.results)


def checkpoint(folder, name):
    return torch.load(folder / "checkpoints" / f"{name}.pt", weights_only=True)["model"]


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def changed(before, after, part):
    return [key for key, value in after.items() if key.startswith(part) and not torch.equal(value, before[key])]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_small(tmp_path_factory.mktemp("whole"))


def test_the_rounds_hand_images_labels_and_networks_on(whole):
    folder, results = whole
    assert [(result.round, result.set) for result in results] == [("self-training-2", "target")]
    pictures = sorted((folder / "rounds" / "1-translate-1" / "images").rglob("*.png"))
    assert [path.stem for path in pictures] == ["00000", "00001", "00002"]
    assert all(pixels(path).shape == (32, 64, 3) for path in pictures)
    for name in ("2-adapt-1", "3-self-training-1"):
        labels = sorted((folder / "rounds" / name / "labels").rglob("*.png"))
        assert len(labels) == 3
        assert {int(each) for path in labels for each in np.unique(pixels(path))} <= {*range(12), 255}


def test_a_translation_round_trains_translators_and_critics_and_leaves_the_segmenter_alone(whole):
    source, translated = (checkpoint(whole[0], name) for name in ("0-source", "1-translate-1"))
    assert all(torch.equal(value, translated[key]) for key, value in source.items())
    assert {key.split(".")[0] for key in translated} == {"backbone", "classifier", "translators", "critics", "pools"}
    assert translated["pools.fake_A.pictures"].shape == translated["pools.fake_B.pictures"].shape == (3, 3, 32, 64)


def test_later_rounds_train_segmenter_and_discriminator(whole):
    names = ("1-translate-1", "2-adapt-1", "3-self-training-1", "4-self-training-2")
    states = [checkpoint(whole[0], name) for name in names]
    assert changed(*states[:2], "backbone.") != []
    for before, after in itertools.pairwise(states[1:]):
        assert changed(before, after, "backbone.") != []
        assert changed(before, after, "discriminator.") != []
    rows = [json.loads(line) for line in (whole[0] / "metrics.jsonl").read_text().splitlines()]
    terms = {row["round"]: {key for key in row if key.startswith("loss/")} for row in rows if any(key.startswith("loss/") for key in row)}
    assert terms["source"] == {"loss/cross_entropy"}
    adversarial = {"loss/cross_entropy", "loss/adversarial", "loss/discriminator/source", "loss/discriminator/target"}
    assert terms["adapt-1"] == adversarial
    assert terms["self-training-1"] == terms["self-training-2"] == adversarial | {"loss/pseudo_label"}
    sides = {f"{kind}_{side}" for side in "AB" for kind in ("gan", "cycle", "identity", "semantic", "reconstruction")}
    assert terms["translate-1"] == {f"loss/translators/{name}" for name in sides} | {"loss/critics/D_A", "loss/critics/D_B"}


def test_resume_inside_translation_is_bit_identical_pool_included(whole, tmp_path):
    """With three images in each pool the second step meets a full one; stopped before and after that."""
    for moment in (1, 3):
        with dying_in("translate-1", step=moment), pytest.raises(DeathError):
            run_small(tmp_path, "save_every=1", resume=moment > 1)
    assert not list((tmp_path / "run" / "checkpoints").glob("1-*"))
    folder, _ = run_small(tmp_path, "save_every=1", resume=True)
    for name in ("1-translate-1", "4-self-training-2"):
        one, two = checkpoint(whole[0], name), checkpoint(folder, name)
        assert one.keys() == two.keys()
        assert [key for key, value in one.items() if not torch.equal(value, two[key])] == []
    for path in (whole[0] / "rounds").rglob("*.png"):
        assert path.read_bytes() == (folder / path.relative_to(whole[0])).read_bytes()


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.long if number else ()) for number, name in enumerate(STEPS)])
def test_a_run_that_dies_inside_a_round_goes_on_bit_for_bit(whole, tmp_path, name):
    with dying_in(name), pytest.raises(DeathError):
        run_small(tmp_path, "save_every=1")
    folder, _ = run_small(tmp_path, "save_every=1", resume=True)
    assert find_differences(whole[0], folder) == []


def test_the_control_learns_from_the_sources_own_images_under_the_same_rounds(whole, tmp_path):
    folder, _ = run_small(tmp_path, "control=true")
    config = configured("streets", *SMALL)
    table = open_table(config.rounds["source"].source, get_label_space("streets"), domain="source", labels=False)
    for index in range(3):
        picture = pixels(folder / "rounds" / "1-translate-1" / "images" / f"{table.names[index]}.png")
        assert np.array_equal(picture, table.read_image(index))
    plain, control = (checkpoint(path, "1-translate-1") for path in (whole[0], folder))
    assert changed(plain, control, "translators.") != []
    assert changed(plain, control, "backbone.") == []
    assert changed(checkpoint(whole[0], "2-adapt-1"), checkpoint(folder, "2-adapt-1"), "backbone.") != []


FOLDER = ("rounds.translate-1=null", "rounds.source.steps=1", "rounds.adapt-1.steps=1", "rounds.self-training-1=null", "rounds.self-training-2=null")
WITHOUT = tuple(word for word in SMALL if not word.startswith(("rounds.translate-1", "rounds.self-training", "rounds.adapt-1", "rounds.source.steps")))


def with_folder(folder, tmp_path):
    config = configured("streets", *WITHOUT, *FOLDER, f"rounds.adapt-1.source.images={folder}", f"folder={tmp_path}", "name=given")
    return train("bdl", config).results


def test_images_translated_elsewhere_may_have_another_size(whole, tmp_path):
    for path in (whole[0] / "rounds" / "1-translate-1" / "images").rglob("*.png"):
        (tmp_path / "given").mkdir(exist_ok=True)
        Image.fromarray(pixels(path)).resize((96, 48)).save(tmp_path / "given" / path.name)
    (result,) = with_folder(tmp_path / "given", tmp_path / "runs")
    assert (result.round, result.step) == ("adapt-1", 1)


def test_a_folder_of_images_that_lacks_some_is_refused(whole, tmp_path):
    path = next((whole[0] / "rounds" / "1-translate-1" / "images").rglob("*.png"))
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="given lacks 2 of 3 images: train/0000"):
        with_folder(tmp_path / "given", tmp_path / "runs")


SOURCES = [("synthia", write_synthia), ("gta5", write_gta5)]  # `make faults` takes both: they differ in the source alone


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("source", "write"), SOURCES)
def test_every_round_of_the_published_preset_runs_on_miniature_real_data(source, write, tmp_path):
    preset = f"{source}-cityscapes"
    write(tmp_path / source, 2)
    write_cityscapes(tmp_path / "cityscapes", {"train": 2, "val": 1})
    rounds = list(configured(preset).rounds)
    words = (
        *(f"rounds.{name}.steps={1 + name.startswith('translate')}" for name in rounds), "initial=random", "device=cpu", "workers=0",
        "source.transform.resize.size=[64,36]", "target.transform.resize.size=[64,36]", "evaluate.target.size=[64,32]", "tensorboard=false",
        *(f"{name}.root={tmp_path}/{data}" for name, data in (("source", source), ("target", "cityscapes"), ("evaluate.target", "cityscapes"))),
        *(f"rounds.translate-{k}.{word}" for k in (1, 2) for word in (
            "batch=2", "source.transform.resize.size=[64,36]", "source.transform.crop.size=[32,32]", "target.transform.crop.size=[32,32]",
            "method.ngf=2", "method.ndf=2", "method.blocks=1",
        )), "evaluate.target.every=0", f"folder={tmp_path}/runs", "name=mini",
    )  # fmt: skip
    config = configured(preset, *words)
    (result,) = train("bdl", config).results
    assert (result.round, len(result.scores.iou)) == ("self-training-4", 19)
    assert set(result.row().get("subsets", {})) == ({"synthia16", "synthia13"} if source == "synthia" else set())
    for index, name in ((1, "translate-1"), (5, "translate-2")):
        pictures = list((tmp_path / "runs" / "mini" / "rounds" / f"{index}-{name}" / "images").rglob("*.png"))
        assert [pixels(path).shape for path in pictures] == [(36, 64, 3)] * 2


def test_a_critic_that_is_not_finite_stops_the_run_with_its_name(tmp_path):
    with pytest.raises(UdaError, match=r"round 'translate-1', step 1: not finite: .*loss 'critics/D_A', .*; last good checkpoint: .*0-source.pt"):
        run_small(tmp_path, "parts.critics.lr=1e30", "rounds.source.steps=1")
