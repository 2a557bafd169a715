"""Streams and passes over several named sets: exact shares, one order for ranks, workers and resumed
runs, and classes that meet by name."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from PIL import Image

from udacore.config.resolve import load_config
from udacore.config.schema import (
    DataConfig,
    ExtraConfig,
    MarginConfig,
    PixelConfig,
    SamplerConfig,
    SetConfig,
    SourceConfig,
    TargetConfig,
)
from udacore.config.transforms import Crop, Flip, StreetsJitter
from udacore.data.loading import pass_sets, stream_batches
from udacore.data.mixture import Mixture, join_sets, open_lanes, spread_sets
from udacore.data.randomness import StreamKey
from udacore.data.replacements import with_extras, with_labels
from udacore.data.tables import open_table
from udacore.errors import ConfigError, DataError
from udacore.interface import SourceBatch
from udacore.labels import LabelSpace, get_label_space

SPACE = get_label_space("streets")
STEPS: dict[str, Any] = {"flip": Flip(), "streets_jitter": StreetsJitter()}
SETS = {
    "clear": SetConfig(count=9, image_size=(32, 16), transform=STEPS),
    "palette": SetConfig(count=5, image_size=(32, 16), pair="P", share="1/6", transform={}),
    "few": SetConfig(count=3, image_size=(32, 16), domain="target", share="1/3", transform=STEPS, sampler=SamplerConfig(name="rare_class", min_pixels=1)),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where counts of classes are kept."""
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def mix(sets: dict[str, SetConfig], *, labels: bool = True, space: LabelSpace = SPACE) -> Mixture:
    tables = {name: open_table(entry, space, domain="source", labels=labels) for name, entry in sets.items()}
    return join_sets(tables, "source.sets")


def stream(sets: dict[str, SetConfig] | None = None, table: Any = None, **choices: Any) -> list[SourceBatch]:
    arguments: dict[str, Any] = {"seed": 1, "round": "adapt", "domain": "source", "batch": 6, "steps": 4, "share": (0, 1)}
    sets = SETS if sets is None else sets
    entry = (TargetConfig if choices.get("domain") == "target" else SourceConfig)(sets=sets)
    return list(stream_batches(table or mix(sets), entry, PixelConfig(), space=SPACE, **(arguments | choices)))


def assert_same(first: list[SourceBatch], second: list[SourceBatch]) -> None:
    """The same samples, however they are cut into batches."""
    for field in ("image", "label", "valid"):
        assert torch.equal(*(torch.cat([getattr(batch, field) for batch in batches]) for batches in (first, second)))
    for field in ("name", "set"):
        assert [x for batch in first for x in getattr(batch, field)] == [x for batch in second for x in getattr(batch, field)]


@pytest.mark.parametrize("counts", [[1, 1], [3, 1], [1, 3, 2], [6, 0, 1], [5, 5, 5, 1]])
def test_a_batch_holds_what_it_shall_and_each_set_is_spread(counts: list[int]) -> None:
    pattern = spread_sets(counts)
    assert [pattern.count(number) for number in range(len(counts))] == counts
    for end in range(len(pattern)):
        for number, count in enumerate(counts):
            assert abs(pattern[:end].count(number) - end * count / sum(counts)) < 1 + 1e-9


def test_every_batch_has_each_share_and_each_sample_knows_its_set(cache: Path) -> None:
    for batch in stream():
        assert Counter(batch.set) == {"clear": 3, "palette": 1, "few": 2}
        assert [name.partition("/")[0] for name in batch.name] == list(batch.set)


def test_each_set_comes_in_its_own_order_each_image_once_an_epoch(cache: Path) -> None:
    names = [name for batch in stream(steps=6) for name in batch.name]
    clear, palette = ([name for name in names if name.startswith(key)] for key in ("clear", "palette"))
    assert len(set(clear[:9])) == len(set(clear[9:])) == 9
    assert len(set(palette[:5])) == 5
    assert clear[:9] != sorted(clear[:9])
    alone = stream({"clear": SETS["clear"]}, batch=3, steps=6)
    assert [name for batch in alone for name in batch.name] == clear  # other sets change nothing in its order


def test_each_set_has_its_own_transform(cache: Path) -> None:
    steps = {**SETS, "palette": SetConfig(count=5, image_size=(48, 16), pair="P", share="1/6", transform={"crop": Crop(size=(32, 16))})}
    assert {batch.image.shape for batch in stream(steps)} == {(6, 3, 16, 32)}


@pytest.mark.parametrize(
    "choices", [{"workers": 2}, {"accumulation": 2}, {"accumulation": 3}, {"accumulation": 6}], ids=str
)
def test_workers_and_micro_batches_change_nothing(cache: Path, choices: dict[str, int]) -> None:
    assert_same(stream(), stream(**choices))


def test_what_workers_get_can_be_pickled(cache: Path) -> None:
    key = StreamKey(seed=1, round="adapt", domain="source")
    lanes, _ = open_lanes(mix(SETS), SourceConfig(sets=SETS), SPACE, key, 6)
    again = pickle.loads(pickle.dumps(lanes))
    assert [(lane.name, len(lane.table), lane.steps) for lane in again] == [(lane.name, len(lane.table), lane.steps) for lane in lanes]


def test_ranks_deal_out_the_same_samples(cache: Path) -> None:
    ranks = [stream(share=(rank, 3)) for rank in range(3)]
    assert_same(stream(), [batch for step in zip(*ranks, strict=True) for batch in step])


def test_a_stream_that_starts_later_goes_on_as_if_uninterrupted(cache: Path) -> None:
    assert_same(stream()[3:], stream(start=3))


def test_a_domain_of_one_data_set_is_named_by_the_domain() -> None:
    entry = SourceConfig(count=4, image_size=(32, 16))
    table = open_table(entry, SPACE, domain="source", labels=True)
    (batch,) = stream_batches(table, entry, PixelConfig(), space=SPACE, seed=0, round="a", domain="source", batch=4, steps=1)
    assert batch.set == ("source",) * 4


def test_a_pass_shows_each_image_once_set_by_set() -> None:
    entry = SourceConfig(sets=SETS)
    shares = [list(pass_sets(mix(SETS), entry, PixelConfig(), batch=2, share=(rank, 2))) for rank in range(2)]
    names = [name for batches in shares for batch in batches for name in batch.name]
    assert sorted(names) == sorted(mix(SETS).names)
    assert len(names) == 17
    sets = [name for batch in shares[0] for name in batch.set]
    assert sets == ["clear"] * 5 + ["palette"] * 3 + ["few"] * 2


def test_pseudo_labels_are_found_below_the_name_of_their_set(tmp_path: Path) -> None:
    table = mix(SETS, labels=False)
    for name in table.names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 32), list(SETS).index(name.partition("/")[0]), np.uint8)).save(tmp_path / f"{name}.png")
    labelled = Mixture({name: with_labels(member, tmp_path) for name, member in table.members.items()})
    for batch in stream({**SETS, "few": SetConfig(share="1/3")}, labelled, domain="target"):
        assert batch.pseudo_label is not None  # type: ignore[attr-defined]
        assert [int(label.max()) for label in batch.pseudo_label] == [list(SETS).index(name) for name in batch.set]  # type: ignore[attr-defined]


def test_replacements_are_found_by_base_name_within_the_folder_of_their_set_alone(tmp_path: Path) -> None:
    table = mix({"clear": SETS["clear"], "palette": SETS["palette"]}, labels=False)
    for name in table.names:
        key, _, base = name.partition("/train/")
        (tmp_path / key).mkdir(exist_ok=True)
        Image.fromarray(np.full((16, 32), key == "palette", np.uint8)).save(tmp_path / key / f"{base}.png")
        Image.fromarray(np.full((16, 32), 7, np.uint8)).save(tmp_path / f"{base}.png")  # of no set
    for number, member in enumerate(table.members.values()):
        labelled = with_labels(member, tmp_path)
        assert {int(labelled.read_label(index).max()) for index in range(len(member))} == {number}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two folders of one image whose labels have the classes [sky, road] and [car, road]; the upper half
    is class 0, the lower half class 1."""
    for name, classes in {"one": "[sky, road]", "other": "[thing, road]", "apart": "[car, bus]", "alien": "[tram, boat]"}.items():
        for kind in ("images", "labels"):
            (tmp_path / name / kind).mkdir(parents=True)
        label = np.repeat(np.array([0, 1], np.uint8), 8)[:, None].repeat(32, axis=1)
        Image.fromarray(label).save(tmp_path / name / "labels" / "a.png")
        Image.fromarray(np.zeros((16, 32, 3), np.uint8)).save(tmp_path / name / "images" / "a.png")
        (tmp_path / f"{name}.yaml").write_text(f"classes: {classes}\n")
    return tmp_path


def folder(own: Path, name: str) -> SetConfig:
    return SetConfig(dataset="folder", root=str(own / name), label_space=str(own / f"{name}.yaml"))


def test_classes_meet_by_name(own: Path) -> None:
    sets = {"one": folder(own, "one"), "other": folder(own, "other")}
    batch = stream(sets, batch=2, steps=1)[0]
    sky, road = SPACE.classes.index("sky"), SPACE.classes.index("road")
    assert batch.set == ("one", "other")
    assert batch.label[:, 0, 0].tolist() == [sky, 255]
    assert batch.label[:, 15, 0].tolist() == [road, road]


def test_a_set_without_a_class_of_the_round_is_refused(own: Path) -> None:
    with pytest.raises(ConfigError, match=r"label space alien has no class of streets, which has road, sidewalk, building and 9 more"):
        mix({"alien": folder(own, "alien")})


def test_sets_without_common_classes_are_refused(own: Path) -> None:
    with pytest.raises(ConfigError, match=r"source.sets.one: has no class in common with apart; its classes are road, sky"):
        mix({"one": folder(own, "one"), "apart": folder(own, "apart")})


def test_a_scored_set_may_have_classes_of_its_own(own: Path) -> None:
    config = DataConfig(dataset="folder", root=str(own / "other"), label_space=str(own / "other.yaml"))
    label = open_table(config, SPACE, domain="target", labels=True).read_label(0)
    assert set(np.unique(label).tolist()) == {SPACE.classes.index("road"), 255}


def test_the_key_for_caches_tells_sets_apart_and_knows_nothing_of_their_names_in_a_table() -> None:
    table = open_table(SETS["clear"], SPACE, domain="source", labels=True)
    joined = mix(SETS)
    assert joined.members["clear"].source_hash() == table.source_hash()
    keys = {joined.source_hash(), mix({"clear": SETS["clear"]}).source_hash(), mix({"few": SETS["clear"]}).source_hash()}
    assert len(keys) == 3
    assert [joined.size(index) for index in (0, 8, 9, 16)] == [(16, 32)] * 4


def test_each_set_has_margins_and_redraws_of_its_own(cache: Path) -> None:
    crop = {"crop": Crop(size=(8, 8))}
    sets = {
        "low": SetConfig(count=6, image_size=(32, 16), transform=crop, extras={"trusted": ExtraConfig(kind="margins", margins=MarginConfig(bottom=15))}),
        "rare": SetConfig(
            count=6, image_size=(32, 16), transform=crop, extras={"trusted": ExtraConfig(kind="margins", margins=MarginConfig(top=1))},
            sampler=SamplerConfig(name="rare_class", min_pixels=4, min_crop_ratio=1.0, temperature=0.05),
        ),
    }  # fmt: skip
    plain = {**sets, "rare": attrs.evolve(sets["rare"], sampler=attrs.evolve(sets["rare"].sampler, min_crop_ratio=0.0))}
    tables = {name: with_extras(open_table(own, SPACE, domain="source", labels=True), own.extras, f"source.sets.{name}") for name, own in sets.items()}
    table = join_sets(tables, "source.sets")
    found, once = stream(sets, table), stream(plain, table)
    for batch in found:
        for name, mask in zip(batch.set, batch.extra["trusted"], strict=True):
            assert (int(mask.sum()) <= 8) is (name == "low")
    of_low = [torch.cat([batch.image[[name == "low" for name in batch.set]] for batch in batches]) for batches in (found, once)]
    assert torch.equal(*of_low)
    assert any(not torch.equal(one.image, other.image) for one, other in zip(found, once, strict=True))
    assert_same(found, stream(sets, table, workers=2))
    assert_same(found[2:], stream(sets, table, start=2))


def test_what_does_not_fit_names_the_set(cache: Path) -> None:
    crop = {"crop": Crop(size=(8, 8), max_share=0.5)}
    sets = {"one": SetConfig(count=3, image_size=(32, 16)), "two": SetConfig(count=3, image_size=(32, 16), transform=crop)}
    with pytest.raises(ConfigError, match=r"target\.sets\.two\.transform\.crop\.max_share needs labels, and there are none"):
        stream(sets, mix(sets, labels=False), domain="target")
    rare = {"name": "rare_class", "min_pixels": 100, "min_crop_ratio": 1.0}
    words = [f"source.sets={{one: {{}}, two: {{sampler: {rare}, transform: {{crop: {{size: [8, 8]}}}}}}}}"]
    with pytest.raises(ConfigError, match=r"source\.sets\.two\.sampler\.min_crop_ratio: asks for more than 100 pixels of a class, and a crop has 64"):
        load_config("streets", words)
    narrow = ExtraConfig(kind="margins", margins=MarginConfig(left=32))
    table = with_extras(open_table(sets["one"], SPACE, domain="target", labels=False), {"edge": narrow}, "target.sets.one")
    with pytest.raises(DataError, match=r"target\.sets\.one\.extras\.edge\.margins leave nothing of image"):
        table.extras["edge"].read(0)
