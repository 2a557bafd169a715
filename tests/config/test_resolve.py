from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from udacore.config.counts import Count, parse_count
from udacore.config.dump import dump_config
from udacore.config.resolve import default_preset, load_config, peek_plugin
from udacore.config.schema import Config, PartConfig
from udacore.errors import ConfigError
from udacore.options import MethodSettings, option

THREE = """
plugin: proca
steps: 10
batch: 4
method: {weight: 0.5}
source: {transform: {flip: {probability: 0.1}, grey: {}}}
evaluate: {target: {every: 5}}
rounds:
  first: {method: {tau: 2}}
  second:
    steps: 20
    source: {transform: {flip: null, blur: true}}
    parts: {critic: {optimizer: Adam, lr: 1e-4}}
  third: {steps: 30 epochs, target: {labels: make}, weights: {critic: round second, segmenter: initial}, parts: {critic: {}}}
"""


@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    weight: float = option(0.1, "weight of the loss", at_least=0)
    tau: float = option(50.0, "temperature", above=0)


@attrs.frozen(kw_only=True)
class PairSettings(MethodSettings):
    low: float = option(2.0, "low")
    high: float = option(1.0, "high")

    def __attrs_post_init__(self) -> None:
        if self.high < self.low:
            raise ValueError("high must not be below low")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "three.yaml").write_text(THREE)
    return tmp_path / "three.yaml"


def load(path: Path, *overrides: str, settings: Any = Settings) -> Config:
    return load_config(str(path), overrides, method_settings=settings)


def problem_of(path: Path, *overrides: str, settings: Any = Settings) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, *overrides, settings=settings)
    return str(caught.value).removeprefix(f"{path}: ")


def test_each_round_is_laid_over_the_top_level(path: Path) -> None:
    rounds = load(path).rounds
    assert list(rounds) == ["first", "second", "third"]
    assert [entry.steps for entry in rounds.values()] == [10, 20, "30 epochs"]
    assert [entry.method for entry in rounds.values()] == [Settings(weight=0.5, tau=2.0), Settings(weight=0.5), Settings(weight=0.5)]
    assert [entry.weights for entry in rounds.values()] == ["initial", "previous", {"critic": "round second", "segmenter": "initial"}]
    assert [list(entry.source.transform) for entry in rounds.values()] == [["flip", "grey"], ["grey", "blur"], ["flip", "grey"]]
    assert list(rounds["second"].parts.items()) == [("segmenter", PartConfig()), ("critic", PartConfig(optimizer="Adam", lr=1e-4))]
    assert all(entry.evaluate["target"].every == 5 for entry in rounds.values())


def test_the_name_of_a_run_comes_from_plugin_and_file(path: Path) -> None:
    assert load(path).name == "proca-three"
    assert load(path, "plugin=./my/method.py").name == "method-three"
    assert load(path, "name=mine").name == "mine"


def test_a_dumped_configuration_loads_to_an_equal_one(path: Path, tmp_path: Path) -> None:
    changes = ("name='1e-4'", "source.label_map={7: road, 8: 1}", "parts.segmenter.options={betas: [0.9, 0.99]}", "amp=off", "folder='no'")
    config = load(path, *changes)
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load(tmp_path / "config.yaml") == config
    assert list(load(tmp_path / "config.yaml").rounds["second"].source.transform) == ["grey", "blur"]


def test_an_override_reaches_all_rounds_that_say_nothing(path: Path) -> None:
    rounds = load(path, "steps=7", "rounds.third.batch=6").rounds
    assert [entry.steps for entry in rounds.values()] == [7, 20, "30 epochs"]
    assert [entry.batch for entry in rounds.values()] == [4, 4, 6]


def test_null_removes_a_round(path: Path) -> None:
    assert list(load(path, "rounds.first=null").rounds) == ["second", "third"]


def test_null_in_a_round_brings_back_the_default(path: Path) -> None:
    rounds = load(path, "rounds.second.batch=null", "rounds.second.method=null").rounds
    assert [entry.batch for entry in rounds.values()] == [4, 8, 4]
    assert rounds["second"].method == Settings()


@pytest.mark.parametrize("override", ["rounds.second.steps=7", "steps=7", "source.transform.grey=null", "source={transform: {flip: true}}"])
def test_an_override_that_some_round_follows_is_taken(path: Path, override: str) -> None:
    assert load(path, override) != load(path)


def test_an_override_that_every_round_overrides_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text("rounds: {one: {steps: 1, source: {count: 2}}, two: {steps: 2, source: {count: 3}}}")
    expected = "steps: every round sets this itself (one, two), so 'steps=9' changes nothing; write rounds.one.steps=9 or rounds.two.steps=9"
    assert problem_of(path, "steps=9") == expected
    assert "source: every round sets this itself" in problem_of(path, "source={count: 9}")
    assert load(path, "source={count: 9, split: val}").rounds["one"].source.count == 2


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["stepz=3"], "stepz: unknown; did you mean 'steps'?"),
        (["tau=3"], "tau: unknown; did you mean method.tau?"),
        (["method.wieght=3"], "method.wieght: unknown; did you mean 'weight'?"),
        (["method.tau=0"], "method.tau: must be above 0, got 0.0"),
        (["method=3"], "method: must be a mapping with any of: weight, tau; got 3"),
        (["rounds.second.method.wieght=3"], "rounds.second.method.wieght: unknown; did you mean 'weight'?"),
        (["rounds.second.seed=3"], "rounds.second.seed: holds for the whole run; write it at the top level"),
        (["rounds.secnd.steps=3"], "rounds.secnd: unknown; did you mean 'second'?"),
        (["rounds.secnd=null"], "rounds.secnd: unknown; did you mean 'second'?"),
        (["evaluate.tagret.every=3"], "evaluate.tagret: unknown; did you mean 'target'?"),
        (["rounds.second.parts.critik.lr=3"], "rounds.second.parts.critik: unknown; did you mean 'critic'?"),
        (["rounds=null"], "rounds: a run needs at least one round"),
        (["rounds={a b: {}}"], "rounds.a b: the name of a round is made of letters, digits, - and _"),
        (["rounds={make: {}}"], "rounds.make: 'make' means something else where rounds are named; choose another name"),
        (["rounds=3"], "rounds: must be a mapping from the name of a round to its settings"),
        (["rounds.second=3"], "rounds.second: must be a mapping of settings ({} if it has none of its own)"),
        (["seed=-1"], "seed: must be at least 0, got -1"),
        (["compile='false'"], "compile: must be true or false, got 'false'; write true or false, without quotes"),
        (["batch=many"], "batch: must be a whole number, got 'many'"),
        (["draws=[both]"], "draws[0]: must be source or target, got 'both'"),
        (["source.transform.resize={}"], "source.transform.resize.size: is required: [whole number, whole number]"),
        (["source.transform.resiez={}"], "source.transform.resiez: unknown; did you mean 'resize'?"),
    ],
)
def test_a_slip_is_one_line_with_near_matches(path: Path, overrides: list[str], words: str) -> None:
    assert problem_of(path, *overrides) == words


def test_what_one_override_adds_a_later_one_may_change(path: Path) -> None:
    config = load(path, "parts.head={optimizer: Adam}", "parts.head.lr=0.5", "rounds.fourth={steps: 3}", "rounds.fourth.batch=2")
    assert (config.rounds["first"].parts["head"].optimizer, config.rounds["first"].parts["head"].lr) == ("Adam", 0.5)
    assert (config.rounds["fourth"].steps, config.rounds["fourth"].batch) == (3, 2)


def test_all_problems_are_told_at_once(path: Path) -> None:
    lines = problem_of(path, "stepz=3", "batch=x", "rounds.third.steps=9.5", "method.tau=a", "rounds.second.best_on=val").splitlines()
    assert lines == [
        f"5 problems in {path}:",
        "  stepz: unknown; did you mean 'steps'?",
        "  batch: must be a whole number, got 'x'",
        "  method.tau: must be a number, got 'a'",
        "  rounds.second.best_on: no set 'val' under evaluate; possible: target",
        "  rounds.third.steps: must be a whole number or text, got 9.5",
    ]


def test_settings_that_rounds_complete_may_be_incomplete_above_them(path: Path) -> None:
    complete = [f"rounds.{name}.source.transform.resize.size=[4,2]" for name in ("first", "second", "third")]
    assert load(path, "source.transform.resize.interpolation=bilinear", *complete).rounds["third"].source.transform["resize"].size == (4, 2)
    path.write_text("steps: 1\nrounds: {one: {method: {high: 3}}}")
    assert load(path, settings=PairSettings).rounds["one"].method == PairSettings(high=3.0)
    assert problem_of(path, "rounds.one.method.low=4", settings=PairSettings) == "rounds.one.method: high must not be below low"


def test_a_method_without_settings_takes_none(path: Path) -> None:
    assert "method.weight: unknown; nothing can be set here" in problem_of(path, settings=None)


def test_counts_are_steps_or_epochs() -> None:
    assert parse_count(100) == parse_count("100 steps") == Count(100, "steps")
    assert parse_count("1 epoch") == Count(1, "epochs")
    assert parse_count("2.5 epochs").steps(10) == 25
    assert (parse_count("0.01 epochs").steps(10), parse_count("0 epochs").steps(10)) == (1, 0)
    for wrong in (-1, "20epochs", "2.5 steps", "many", "-1 epochs", True):
        with pytest.raises(ConfigError, match="must be a number of steps, 0 or more, or such as '20 epochs'"):
            parse_count(wrong)


def test_the_plugin_is_known_before_anything_else(path: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: three.yaml\n")
    assert peek_plugin(str(path)) == peek_plugin(str(tmp_path / "mine.yaml")) == "proca"
    assert peek_plugin(str(path), ["plugin=fada", "plugin=bdl"]) == "bdl"
    assert peek_plugin("streets") is None
    assert peek_plugin(None) is None
    with pytest.raises(ConfigError, match="does not exist"):
        peek_plugin(str(tmp_path / "none.yaml"))


def test_without_a_file_a_method_gets_the_embedded_domains() -> None:
    assert list(load_config(None).rounds) == ["source"]
    adapting = load_config(None, ["plugin=./entropy.py"])
    assert [entry.draws for entry in adapting.rounds.values()] == [("source",), ("source", "target")]
    assert default_preset(("no_such_package", "udacore")) == "streets-adapt"


def test_configurations_are_read_without_torch() -> None:
    code = """
import sys
from udacore.config import checks, convert, describe, dump, files, resolve, transforms
describe.describe_config(resolve.load_config("streets"))
print([name for name in ("torch", "cv2", "numpy", "torchvision") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_what_depends_on_a_broken_value_is_not_blamed(path: Path) -> None:
    text = problem_of(path, "batch=x", "accumulation=3", "rounds.third.parts.critic.lr=fast")
    assert text.splitlines()[1:] == [
        "  batch: must be a whole number, got 'x'",
        "  rounds.third.parts.critic.lr: must be a number, got 'fast'",
    ]
