"""Which preset a method is tried with, and what of its settings and losses the checks reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from udacore import MethodSettings, option
from udacore.config.dump import to_plain
from udacore.config.schema import RoundConfig
from udacore.testing.checks import FAST, Subject, Trial, watch_check
from udacore.testing.checks.builds_on import find_bases
from udacore.testing.checks.loss_names import find_loss_names, find_missing
from udacore.testing.checks.reach import Reach, try_labels

Install = Callable[..., Path]
pytest_plugins = ["pytester"]

STERN = '''"""FADA, and a penalty on large logits."""
import attrs
import udacore_fada
from udacore import hookimpl, option
from udacore_fada import build_model, make_pseudo_labels, source_loss

@attrs.frozen(kw_only=True)
class Settings(udacore_fada.Settings):
    penalty: float = option(0.001, "weight of the squared logits", at_least=0)
    forgotten: int = option(3, "read by nothing")

@hookimpl
def target_loss(step):
    losses = dict(udacore_fada.target_loss(step))
    if step.settings.penalty > 1:
        losses["huge"] = losses["adversarial"]
    return losses
'''
OWN = """import attrs
from udacore import MethodSettings, hookimpl, option
{imports}

@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    weight: float = option(0.5, "weight of the loss")

@hookimpl
def target_loss(step):
    return {{"small": step.settings.weight * step.model(step.target.image).logits.square().mean()}}
"""
BASE = "steps: 5\nextends: streets-adapt\n{more}"


def test_a_method_without_presets_is_tried_with_those_of_the_method_that_it_derives_its_settings_from(install: Install) -> None:
    install("udacore-stern", {"udacore_stern/__init__.py": STERN}, {"stern": "udacore_stern"})
    subject = Subject("stern")
    assert find_bases(subject.method) == ["fada"]
    assert subject.tried == "fada/streets, since stern has none and builds on fada"
    assert list(subject.config.rounds) == ["source", "adversarial", "distill"]
    assert subject.config.rounds["adversarial"].method.adversarial
    assert Subject("stern", overrides=("method.penalty=2",)).tried.endswith("builds on fada, with method.penalty=2")
    assert Subject("stern", preset="streets-adapt").tried == "streets-adapt"


def test_its_own_preset_comes_first_and_a_file_builds_on_methods_too(install: Install, tmp_path: Path) -> None:
    install(
        "udacore-stern", {"udacore_stern/__init__.py": STERN, "udacore_stern/presets/streets.yaml": BASE.format(more="")}, {"stern": "udacore_stern"}
    )
    assert Subject("stern").tried == "stern/streets"
    assert Subject("stern").config.rounds.keys() == {"source", "adapt"}
    (tmp_path / "mine.py").write_text(STERN.replace("udacore_fada", "udacore_stern").replace("penalty", "fine"))
    mine = Subject(str(tmp_path / "mine.py"))
    assert find_bases(mine.method) == ["stern", "fada"]
    assert mine.tried == "stern/streets, since mine has none and builds on stern"


def test_a_method_further_down_gives_its_preset_where_the_nearest_has_none(install: Install, tmp_path: Path) -> None:
    install("udacore-stern", {"udacore_stern/__init__.py": STERN}, {"stern": "udacore_stern"})
    (tmp_path / "mine.py").write_text(STERN.replace("udacore_fada", "udacore_stern").replace("penalty", "fine"))
    assert Subject(str(tmp_path / "mine.py")).tried.startswith("fada/streets, since mine has none")


@pytest.mark.parametrize(
    ("imports", "tried"),
    [
        ("import udacore_kin", "kin/streets, since mine has none and builds on kin"),
        ("from udacore_kin.parts import half", "kin/streets, since mine has none and builds on kin"),
        ("import udacore_fada", "streets-adapt of the core"),  # its preset has settings that this method lacks
        ("import udacore.source_only", "streets-adapt of the core"),
        ("", "streets-adapt of the core"),
    ],
)
def test_a_method_that_imports_another_is_tried_with_its_preset_if_it_fits(imports: str, tried: str, install: Install, tmp_path: Path) -> None:
    files = {
        "udacore_kin/__init__.py": OWN.format(imports=""), "udacore_kin/parts.py": "def half(x):\n    return x / 2\n",
        "udacore_kin/presets/streets.yaml": BASE.format(more="method: {weight: 0.25}\n"),
    }  # fmt: skip
    install("udacore-kin", files, {"kin": "udacore_kin"})
    (tmp_path / "mine.py").write_text(OWN.format(imports=imports))
    subject = Subject(str(tmp_path / "mine.py"))
    assert subject.tried == tried
    assert subject.config.rounds["adapt"].method.weight == (0.25 if "kin" in tried else 0.5)


@pytest.mark.parametrize("name", ["fada", "proca", "clp", "bdl", "pycda", "mic"])
def test_the_methods_here_build_on_no_other(name: str) -> None:
    assert find_bases(Subject(name).method) == []
    assert Subject(name).tried == f"{name}/streets"


def test_what_nothing_reads_and_what_never_came_is_said(install: Install) -> None:
    install("udacore-stern", {"udacore_stern/__init__.py": STERN}, {"stern": "udacore_stern"})
    subject = Subject("stern")
    trial = Trial(subject)
    watch_check(FAST["losses_finite"], trial)
    assert trial.reach.describe(subject) == [
        "preset: fada/streets, since stern has none and builds on fada",
        "settings never read: forgotten",
        "settings never changed: temperature, clip, discriminator_weight, penalty, forgotten",
        "losses seen: cross_entropy, discriminator/source, discriminator/target, adversarial, pseudo_label",
        "losses and numbers never seen: huge",
    ]
    idle = Subject("stern", preset="streets-adapt", overrides=("method.penalty=2", "rounds.adapt.draws=[source]"))
    trial = Trial(idle)
    watch_check(FAST["losses_finite"], trial)
    assert trial.reach.describe(idle) == [
        "preset: streets-adapt, with method.penalty=2, rounds.adapt.draws=[source]",
        "settings never read: temperature, clip, adversarial_weight, discriminator_weight, width, penalty, forgotten",
        "settings never changed: adversarial, temperature, clip, adversarial_weight, discriminator_weight, width, forgotten",
        "losses seen: cross_entropy",
        "losses and numbers never seen: huge, pseudo_label, discriminator/source, discriminator/target, adversarial",
    ]


LABELS = '''
import numpy as np

@hookimpl
def make_pseudo_labels(round):
    for batch in round.target():
        for name, size in zip(batch.name, batch.size):
            yield name, np.full(size, int(round.settings.weight > 0), np.uint8)
'''


def test_settings_that_only_labels_need_are_read_by_making_them(tmp_path: Path) -> None:
    source = OWN.format(imports="").replace("step.settings.weight * ", "") + LABELS
    (tmp_path / "mine.py").write_text(source)
    (tmp_path / "two.yaml").write_text("extends: streets-adapt\nrounds: {again: {draws: [source, target], target: {labels: make}, weights: previous}}\n")
    trial = Trial(Subject(str(tmp_path / "mine.py"), preset=str(tmp_path / "two.yaml")))
    watch_check(FAST["losses_finite"], trial)
    assert trial.reach.read == set()
    watch_check(try_labels, trial)
    assert trial.reach.read == {"weight"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py", "two.yaml"]


@attrs.frozen(kw_only=True)
class Kept(MethodSettings):
    weight: float = option(1.0, "one")
    width: int = option(4, "another")

    def _find_problems(self, round: Any) -> tuple[()]:
        assert self.width
        return ()


def test_what_the_core_does_with_settings_is_no_reading() -> None:
    reach, kept = Reach(), Kept()
    with reach.watching(Kept):
        round = RoundConfig(method=kept)  # type: ignore[call-arg]
        assert to_plain(kept) == {"weight": 1.0, "width": 4}
        assert attrs.evolve(round, batch=2).method is kept
        kept._find_problems(round)
        assert reach.read == set()
        assert kept.weight == 1.0
        assert reach.read == {"weight"}
        assert attrs.asdict(kept)["width"] == 4
    assert reach.read == {"weight", "width"}
    assert "__getattribute__" not in vars(Kept)
    with Reach().watching(MethodSettings):
        assert "__getattribute__" not in vars(MethodSettings)


def first(step: Any) -> Any:
    step.kept["features"] = 1
    step.record("accuracy", 0)
    options = {"alpha": 1}
    return {f"match_{name}": value for name, value in helper(step, **options).items()} | {"plain": 0}


def helper(step: Any, alpha: int) -> Any:
    losses = {"near": 0, f"{step}/{alpha}": 1}
    losses["critic/far"] = 2
    return losses


def test_names_of_losses_are_read_from_the_hooks_and_what_they_call() -> None:
    names = find_loss_names([first], [__name__])
    assert set(names) == {"match_*", "plain", "accuracy", "near", "critic/far"}
    assert find_loss_names([first], []) == [name for name in names if name not in ("near", "critic/far")]
    assert find_loss_names([len], ["builtins"]) == []
    assert find_missing(names, ["match_near", "plain"]) == [name for name in names if name in ("accuracy", "critic/far")]
    assert find_missing(["entropy"], ["cross_entropy"]) == ["entropy"]


def test_the_contract_shows_it_when_all_is_done(install: Install, pytester: pytest.Pytester) -> None:
    install("udacore-stern", {"udacore_stern/__init__.py": STERN}, {"stern": "udacore_stern"})
    pytester.makepyfile(
        'from udacore.testing import MethodContract\n\nclass TestStern(MethodContract):\n    method = "stern"\n'
    )
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-k", "losses_finite or entry_point")
    result.assert_outcomes(passed=2)
    lines = [line for line in result.outlines if line.startswith("TestStern: ")]
    assert lines[:2] == ["TestStern: preset: fada/streets, since stern has none and builds on fada", "TestStern: settings never read: forgotten"]
