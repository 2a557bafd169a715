"""Several named sets as one domain: what they inherit, their shares, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from udacore.config.describe import describe_config
from udacore.config.dump import dump_config
from udacore.config.quick import make_quick
from udacore.config.resolve import load_config
from udacore.config.schema import Config, RoundConfig, SetConfig
from udacore.config.sets import count_images, each_set, find_shares
from udacore.config.transforms import Crop, Flip, Resize
from udacore.errors import ConfigError

FILE = """
steps: 10
batch: 4
source:
  dataset: gta5
  root: /data/gta5
  list: package:list.txt
  images: own
  transform: {resize: {size: [64, 32]}, flip: {}}
  sampler: {name: rare_class}
  sets:
    gta5: {share: 0.5}
    synthia: {dataset: synthia, root: /data/synthia, transform: {resize: {size: [80, 40]}, crop: {size: [64, 32]}}}
    few: {dataset: cityscapes, count: 7, share: 1/4, transform: {flip: null}, sampler: {name: shuffle}}
rounds:
  one: {draws: [source]}
  two: {source: {sets: null}}
"""


def read(path: Path, text: str = FILE, *changes: str) -> Config:
    (path / "own.yaml").write_text(text)
    return load_config(str(path / "own.yaml"), changes)


def refuse(path: Path, *changes: str) -> str:
    """What is said of the file with these changes; one line a problem."""
    with pytest.raises(ConfigError) as error:
        read(path, FILE, *changes)
    return str(error.value).removeprefix(f"{path}/own.yaml: ")


def test_a_set_takes_what_it_does_not_say_from_its_domain(tmp_path: Path) -> None:
    sets = read(tmp_path).rounds["one"].source.sets
    assert (sets["gta5"].dataset, sets["gta5"].root, sets["gta5"].list_) == ("gta5", "/data/gta5", "package:list.txt")
    assert sets["gta5"].transform == {"resize": Resize(size=(64, 32)), "flip": Flip()}
    assert sets["gta5"].sampler.name == "rare_class"


def test_a_set_of_another_kind_takes_sampler_and_transform_alone(tmp_path: Path) -> None:
    sets = read(tmp_path).rounds["one"].source.sets
    assert (sets["synthia"].root, sets["synthia"].list_, sets["synthia"].sampler.name) == ("/data/synthia", None, "rare_class")
    assert sets["synthia"].transform == {"resize": Resize(size=(80, 40)), "flip": Flip(), "crop": Crop(size=(64, 32))}
    assert (sets["few"].root, sets["few"].list_, sets["few"].sampler.name) == (None, None, "shuffle")
    assert sets["few"].transform == {"resize": Resize(size=(64, 32))}


def test_null_brings_a_round_back_to_one_data_set(tmp_path: Path) -> None:
    source = read(tmp_path).rounds["two"].source
    assert (source.sets, source.dataset, list(source.transform)) == ({}, "gta5", ["resize", "flip"])
    assert each_set("source", source) == {"source": source}


@pytest.mark.parametrize("write", [dump_config, describe_config])
def test_what_is_written_reads_back_to_the_same_sets(tmp_path: Path, write: object) -> None:
    config = read(tmp_path)
    assert callable(write)
    (tmp_path / "again.yaml").write_text(write(config))
    again = load_config(str(tmp_path / "again.yaml"))
    assert again.rounds == config.rounds
    for name, settings in config.rounds["one"].source.sets.items():
        assert list(again.rounds["one"].source.sets[name].transform) == list(settings.transform)


def test_shares_are_exact_and_the_rest_is_divided() -> None:
    def shares(**given: float | str | None) -> list[Fraction]:
        return list(find_shares({name: SetConfig(share=share) for name, share in given.items()}).values())

    assert shares(a=0.1, b="1/3", c=None, d=None) == [Fraction(1, 10), Fraction(1, 3), Fraction(17, 60), Fraction(17, 60)]
    assert shares(a=0.5, b=0.25, c=0.25) == [Fraction(1, 2), Fraction(1, 4), Fraction(1, 4)]
    assert shares(a=None, b=None, c=None) == [Fraction(1, 3)] * 3
    assert count_images({name: SetConfig() for name in "abc"}, 12) == {"a": 4, "b": 4, "c": 4}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["batch=6"], "source.sets: shares 1/2, 1/4, 1/4 of a batch of 6 are no whole images; the smallest batch that works is 4, "
         "with accumulation in as many micro-batches as memory asks for"),
        (["batch=6", "accumulation=3"], "the smallest batch that works is 12"),
        (["source.sets.few.share=0.333"], "the smallest batch that works is 1000, with accumulation in as many micro-batches as "
         "memory asks for; a third is written 1/3"),
        (["source.sets.few.share=0.5"], "source.sets: shares 1/2 + 1/2 leave nothing for synthia; shares are 1 in all"),
        (["source.sets.synthia.share=0.5"], "source.sets: shares 1/2 + 1/2 + 1/4 are 5/4 in all, not 1; leave one out, and it is the rest"),
        (["source.sets.few.share=0"], "source.sets.few.share: must be above 0 and at most 1, got 0"),
        (["source.sets.few.share=a"], "source.sets.few.share: must be a number such as 0.25, or a fraction such as 1/3, got 'a'"),
        (["source.sets.few.share=1/0"], "source.sets.few.share: must be a number such as 0.25"),
        (["source.sets.few.root=''"], "source.sets.few.root: must be the name of a file or folder, or null, got an empty text"),
        (["source.sets={a.b: {}}", "batch=8"], "source.sets.a.b: the name of a set is made of letters, digits, - and _"),
        (["source.sets={few: 3}"], "source.sets.few: must be a mapping with any of: dataset, root"),
        (["source.sets.few.extras={depth: {folder: d}}"], "extras: sets of a domain have the same maps; gta5: none, few: {'depth': 'float'}"),
        (["source.sets.few.labels=make"], "source.sets.few.labels: unknown"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, words: list[str], said: str) -> None:
    message = refuse(tmp_path, *words)
    assert said in message
    assert len(message.splitlines()) == 1
    assert len(message) <= 400


@pytest.mark.parametrize("above", ["", "rounds.one."])
def test_a_slip_makes_no_new_set(tmp_path: Path, above: str) -> None:
    assert f"{above}source.sets.synthias: unknown; did you mean 'synthia'?" in refuse(tmp_path, f"{above}source.sets.synthias.share=0.1")


def test_a_fault_of_the_domain_is_told_where_it_stands(tmp_path: Path) -> None:
    assert "source.tranform: unknown; did you mean 'transform'?" in refuse(tmp_path, "source.tranform={}")


def test_shares_are_not_looked_at_where_the_domain_is_not_drawn(tmp_path: Path) -> None:
    text = FILE.replace("batch: 4", "batch: 3").replace("draws: [source]", "draws: [target]")
    assert read(tmp_path, text).rounds["one"].batch == 3


def test_new_sets_can_be_named_on_the_command_line(tmp_path: Path) -> None:
    config = load_config("streets", ["source.sets.clear.share=3/4", "source.sets.few.domain=target", "source.sets.few.count=25"])
    sets = config.rounds["source"].source.sets
    assert {name: settings.count for name, settings in sets.items()} == {"clear": None, "few": 25}
    assert list(sets["few"].transform) == ["flip", "zoom", "streets_jitter"]
    assert count_images(sets, 8) == {"clear": 6, "few": 2}


def test_a_rehearsal_cuts_each_set(tmp_path: Path) -> None:
    quick = make_quick(read(tmp_path, FILE.replace("[64, 32]", "[640, 320]")), 2)
    sets = quick.rounds["one"].source.sets
    assert {name: settings.count for name, settings in sets.items()} == {"gta5": 8, "synthia": 8, "few": 7}
    assert sets["gta5"].transform["resize"] == Resize(size=(256, 128))
    assert sets["few"].share == "1/4"


def test_a_round_without_sets_is_as_it_was() -> None:
    config = RoundConfig()
    assert (config.source.sets, config.target.sets) == ({}, {})
