"""`uda plugins` and `uda hooks`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from udacore.cli import main
from udacore.plugins import hook_names, hooks_of, load_plugin
from udacore.testing import checks

ENTROPY = '''"""Entropy minimisation: ask the network to be certain on target images."""
import attrs
import torch.nn.functional as F
from udacore import MethodSettings, hookimpl, option

@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    weight: float = option(0.001, "weight of the entropy term")

@hookimpl
def target_loss(step):
    log_probability = F.log_softmax(step.model(step.target.image).logits, dim=1)
    entropy = -(log_probability.exp() * log_probability).sum(dim=1)
    return step.settings.weight * entropy.mean()
'''
Capture = pytest.CaptureFixture[str]
Install = Callable[..., Path]


@pytest.fixture
def entropy(tmp_path: Path) -> str:
    path = tmp_path / "entropy.py"
    path.write_text(ENTROPY)
    return str(path)


def test_list_is_a_table_or_json_and_imports_nothing(install: Install, capsys: Capture) -> None:
    install("udacore-bad", {"udacore_bad.py": "raise RuntimeError"}, {"bad": "udacore_bad", "same": "udacore_bad"})
    install("udacore-other", {}, {"same": "udacore_other"})
    assert main(["plugins", "list"]) == 0
    rows = [re.split("  +", line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["NAME", "VERSION", "DISTRIBUTION", "MODULE", "CORES", "API", "STATE", "HOOKS"]
    row = next(row for row in rows if row[0] == "bad")
    assert row[1:] == ["0.1", "udacore-bad", "udacore_bad", "-", "-", "installed", "-"]
    assert next(row for row in rows if row[0] == "proca")[4:6] == ["<1,>=0.2", "-"]
    assert [row[6] for row in rows if row[0] == "same"] == ["name claimed twice"] * 2
    assert main(["plugins", "list", "--json"]) == 0
    found = {(entry["name"], entry["distribution"]): entry for entry in json.loads(capsys.readouterr().out)}
    bad = found["bad", "udacore-bad"]
    assert (bad["version"], bad["module"], bad["duplicate"], bad["state"]) == ("0.1", "udacore_bad", False, "installed")
    assert (bad["api"], bad["hooks"], bad["origin"]) == (None, None, None)
    assert "udacore_bad" not in sys.modules


def test_list_with_check_imports_and_says_what_is_broken(install: Install, capsys: Capture) -> None:
    install("udacore-bad", {"udacore_bad.py": "raise RuntimeError('on purpose')"}, {"bad": "udacore_bad"})
    assert main(["plugins", "list", "--check", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    said = "broken: plugin 'bad' (udacore-bad 0.1) does not import: RuntimeError: on purpose"
    assert found["bad"]["state"].startswith(said)
    assert (found["bad"]["hooks"], found["source-only"]["state"]) == (None, "ok")
    for name in ("source-only", "proca", "fada", "bdl", "clp", "pycda", "mic"):
        method = load_plugin(name)
        assert found[name]["hooks"] == list(hooks_of(method))
        assert found[name]["api"] == getattr(method.module, "UDACORE_API", None)
        assert found[name]["origin"] == method.module.__file__


def try_out(name: str) -> checks.CheckResult:
    """The last of the checks without a network: the first that is bad, if one is."""
    subject = checks.Subject(name)
    results = (checks.run_check(check, lambda look=look: look(subject)) for check, look in checks.STATIC.items())  # type: ignore[misc]
    for result in results:
        if not result.ok:
            break
    return result


NOISY = "print('hello from the import')\n" + ENTROPY


def test_json_is_json_whatever_a_method_prints_when_it_is_imported(install: Install, capsys: Capture) -> None:
    install("udacore-noisy", {"udacore_noisy.py": NOISY, "udacore_noisy_too.py": NOISY}, {"noisy": "udacore_noisy", "noisy-too": "udacore_noisy_too"})
    assert main(["plugins", "list", "--check", "--json"]) == 0
    said = capsys.readouterr()
    assert {entry["state"] for entry in json.loads(said.out) if entry["name"].startswith("noisy")} == {"ok"}
    assert "hello from the import" in said.err
    for name in ("udacore_noisy", "udacore_noisy_too"):
        del sys.modules[name]
    assert main(["plugins", "show", "noisy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "noisy"


ODD_ENTRIES = {
    "nowhere": "udacore_nowhere", "no-part": "udacore_odd:Nothing.here", "empty": "", "dots": "..", "deep": "udacore_odd.deeper", "fine": "udacore_odd"
}  # fmt: skip


def test_entry_points_to_nowhere_are_listed_and_told_and_harm_no_other(install: Install, capsys: Capture) -> None:
    site = install("udacore-odd", {"udacore_odd.py": ENTROPY}, ODD_ENTRIES)
    (site / "udacore_bare-1.dist-info").mkdir()
    (site / "udacore_bare-1.dist-info" / "entry_points.txt").write_text("[udacore.plugins]\nbare = udacore_odd\n")
    for words in (["list"], ["list", "--json"], ["list", "--check"]):
        assert main(["plugins", *words]) == 0
        assert capsys.readouterr().out
    assert main(["plugins", "list", "--check", "--json"]) == 0
    states = {entry["name"]: entry["state"] for entry in json.loads(capsys.readouterr().out)}
    assert states["fine"] == "ok"
    for name in ODD_ENTRIES.keys() - {"fine"}:
        assert states[name].startswith(f"broken: plugin '{name}' (udacore-odd 0.1) does not import: "), name
        assert main(["plugins", "show", name]) == 4
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("weight: float", "weight: list[float]"), "setting weight has the type list[float]; possible: bool, int"),
        (("weight: float", "weight: Weight"), "the types of Settings cannot be read: name 'Weight' is not defined"),
        (("weight: float", "weight"), "setting weight has no type; write weight: TYPE = option(...)"),
    ],
)
def test_a_setting_that_no_file_can_hold_is_one_line(entropy: str, change: tuple[str, str], said: str, capsys: Capture) -> None:
    Path(entropy).write_text("from __future__ import annotations\n" + ENTROPY.replace(*change))
    for words in (["plugins", "show", entropy], ["run", "--plugin", entropy], ["config", "--plugin", entropy], ["plugins", "new", "--from", entropy]):
        assert main(words) == 4
        told = capsys.readouterr().err
        assert told.startswith(f"error: plugin 'entropy': {said}")
        assert told.count("\n") == 1
    bad = try_out(entropy)
    assert (bad.check, bad.ok, said in bad.message) == ("settings", False, True)


def test_a_setting_within_a_setting_needs_a_line_of_help_too(entropy: str) -> None:
    inner = "@attrs.frozen(kw_only=True)\nclass Inner:\n    speed: float = option(1.0)\n\n@attrs"
    Path(entropy).write_text(ENTROPY.replace("@attrs", inner, 1).replace("    weight:", "    inner: Inner = option(factory=Inner, help='inner')\n    weight:"))
    bad = try_out(entropy)
    assert not bad.ok
    assert bad.message.startswith("settings without help: inner.speed; write")


def test_the_name_of_a_distribution_is_understood(capsys: Capture) -> None:
    assert main(["run", "--plugin", "udacore-proca"]) == 4
    assert capsys.readouterr().err == "error: the plugin is called 'proca', not 'udacore-proca'\n"
    assert main(["run", "--plugin", "udacore-no-such-one"]) == 4
    assert capsys.readouterr().err.endswith("; to install it: pip install udacore-no-such-one\n")


MISSING = (["plugins", "show"], ["plugins", "check"], ["run", "--plugin"], ["config", "--plugin"], ["eval", "streets", "--checkpoint", "x.pt", "--plugin"])


@pytest.mark.parametrize("words", MISSING)
def test_a_method_that_is_not_installed_prints_the_line_that_installs_it(words: list[str], capsys: Capture) -> None:
    assert main([*words, "no-such-one"]) == (2 if words == ["plugins", "check"] else 4)
    said = capsys.readouterr()
    assert "; to install it: pip install udacore-no-such-one\n" in said.out + said.err


def test_a_method_that_a_file_names_prints_it_too(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "cfg.yaml").write_text("extends: streets\nplugin: no-such-one\n")
    assert main(["run", str(tmp_path / "cfg.yaml")]) == 4
    assert "; to install it: pip install udacore-no-such-one\n" in capsys.readouterr().err


def test_show_tells_what_a_method_is_and_offers(entropy: str, capsys: Capture) -> None:
    assert main(["plugins", "show", entropy]) == 0
    shown = capsys.readouterr().out
    assert "Entropy minimisation: ask the network" in shown
    assert "Hooks: target_loss" in shown
    assert "weight: 0.001  (a number)\n      weight of the entropy term" in shown


def test_show_ends_with_the_citation(install: Install, capsys: Capture) -> None:
    stated = 'UDACORE_API = 1\nCITATION = """\n  @misc{me,\n    year = 2026\n  }\n"""\n'
    install("udacore-cited", {"udacore_cited.py": f"{ENTROPY}\n{stated}"}, {"cited": "udacore_cited"})
    assert main(["plugins", "show", "cited"]) == 0
    shown = capsys.readouterr().out
    assert shown.endswith("Citation:\n@misc{me,\n  year = 2026\n}\n")
    assert "Written for version 1 of the hooks\n" in shown


@pytest.mark.parametrize("name", ["proca", "fada", "bdl", "clp", "pycda", "mic"])
def test_the_methods_here_state_their_paper_and_the_version_of_the_hooks(name: str, capsys: Capture) -> None:
    assert main(["plugins", "show", name, "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["citation"].startswith("@inproceedings{")
    assert about["api"] == 1
    assert about["presets"]


def test_show_as_json(capsys: Capture) -> None:
    assert main(["plugins", "show", "source-only", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["distribution"], about["settings"], about["hooks"]) == ("udacore", [], list(hook_names()))


def test_check_passes_a_sound_method(entropy: str, capsys: Capture) -> None:
    assert main(["plugins", "check", entropy]) == 0
    assert "FAILED" not in capsys.readouterr().out


ADVERSARY = """
from torch import nn
from udacore.models import build_segmenter

@hookimpl
def build_model(architecture, round):
    model = build_segmenter(architecture, len(round.classes))
    model.judge = nn.Conv2d(len(round.classes), 1, 1)
    return model

@hookimpl
def source_loss(step):
    return {"judge/source": step.settings.weight * step.model.judge(step.model(step.source.image).logits).square().mean() * step.source.valid.any()}
"""


def test_check_takes_a_configuration_and_changes_as_run_does(entropy: str, tmp_path: Path, capsys: Capture) -> None:
    Path(entropy).write_text(ENTROPY + ADVERSARY)
    (tmp_path / "parts.yaml").write_text("extends: streets-adapt\nparts: {judge: {optimizer: Adam, lr: 1e-3}}\n")
    assert main(["plugins", "check", entropy]) == 4
    assert "under `parts:`" in capsys.readouterr().out
    for words in (["parts.judge={optimizer: Adam, lr: 1e-3}"], [str(tmp_path / "parts.yaml"), "method.weight=0.1"]):
        assert main(["plugins", "check", entropy, *words]) == 0
        assert "ok      losses_parts" in capsys.readouterr().out
    assert main(["plugins", "check", entropy, "method.wieght=1"]) == 4
    assert "did you mean 'weight'?" in capsys.readouterr().out
    assert main(["plugins", "check", entropy, "one.yaml", "two.yaml"]) == 2
    assert "only one configuration is possible" in capsys.readouterr().err


STERN = '''"""FADA, with the entropy of its target predictions where it is asked for."""
import attrs
import udacore_fada
from udacore import hookimpl, option
from udacore.losses import entropy
from udacore_fada import build_model, make_pseudo_labels, source_loss

@attrs.frozen(kw_only=True)
class Settings(udacore_fada.Settings):
    entropy_weight: float = option(0.0, "weight of the entropy of target predictions", at_least=0)
    forgotten: int = option(3, "read by nothing")

@hookimpl
def target_loss(step):
    losses = dict(udacore_fada.target_loss(step))
    if step.settings.entropy_weight > 0:
        losses["entropy"] = step.settings.entropy_weight * entropy(step.model(step.target.image).logits)
    return losses
'''


def test_check_tries_the_preset_of_the_method_built_on_and_says_what_it_did_not_reach(install: Install, capsys: Capture) -> None:
    install("udacore-stern", {"udacore_stern/__init__.py": STERN}, {"stern": "udacore_stern"})
    assert main(["plugins", "check", "stern"]) == 0
    assert capsys.readouterr().out.splitlines()[-5:] == [
        "preset: fada/streets, since stern has none and builds on fada",
        "settings never read: forgotten",
        "settings never changed: temperature, clip, discriminator_weight, entropy_weight, forgotten",
        "losses seen: cross_entropy, discriminator/source, discriminator/target, adversarial, pseudo_label",
        "losses and numbers never seen: entropy",
    ]


def test_check_of_a_preset_that_cannot_be_read_says_which_it_was(install: Install, capsys: Capture) -> None:
    install("udacore-stern", {"udacore_stern/__init__.py": STERN}, {"stern": "udacore_stern"})
    assert main(["plugins", "check", "stern", "method.penalty=1"]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("FAILED  presets")
    assert lines[-1] == "preset: fada/streets, since stern has none and builds on fada, with method.penalty=1"


def test_check_loads_every_preset(install: Install, capsys: Capture) -> None:
    presets = {
        "udacore_entropy/presets/good.yaml": "steps: 3\nrounds: {adapt: {}}\n",
        "udacore_entropy/presets/wrong.yaml": "rounds: {adapt: {stepps: 3}}\n",
    }
    install("udacore-entropy", {"udacore_entropy/__init__.py": ENTROPY, **presets}, {"entropy": "udacore_entropy"})
    bad = try_out("entropy")
    assert (bad.check, bad.ok) == ("presets", False)
    assert bad.message.startswith("preset 'wrong': ")
    assert "did you mean 'steps'?" in bad.message
    assert main(["plugins", "check", "entropy"]) == 4
    assert "FAILED  presets " in capsys.readouterr().out


def test_the_presets_of_the_core_load() -> None:
    result = try_out("source-only")
    assert (result.check, result.ok) == ("presets", True)
    assert "gta5-cityscapes, " in result.message


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (("import attrs", "import no_such_module"), "entry_point"),
        (("import attrs", "import attrs\nUDACORE_API = 9"), "api"),
        (("(MethodSettings)", ""), "settings"),
        ((', "weight of the entropy term"', ""), "settings"),
        (("def target_loss", "def target_los"), "hooks"),
        (("(step):", "(step, batch):"), "hooks"),
    ],
)
def test_check_finds_what_is_wrong_and_exits_with_4(entropy: str, change: tuple[str, str], failed: str, capsys: Capture) -> None:
    Path(entropy).write_text(ENTROPY.replace(*change))
    assert (try_out(entropy).check, try_out(entropy).ok) == (failed, False)
    assert main(["plugins", "check", entropy]) == 4
    assert f"FAILED  {failed} " in capsys.readouterr().out


def test_check_of_an_unknown_name_is_a_slip_and_no_failed_check(capsys: Capture) -> None:
    assert main(["plugins", "check", "entrpy"]) == 2
    assert "pip install udacore-entrpy" in capsys.readouterr().err


def test_hooks_prints_each_hook_with_its_signature(capsys: Capture) -> None:
    assert main(["hooks"]) == 0
    shown = capsys.readouterr().out
    for name in hook_names():
        assert f"\n{name}(" in shown
    assert main(["hooks", "target_loss"]) == 0
    one = capsys.readouterr().out
    assert one.startswith("target_loss(step: Step) -> Losses | Iterator[Losses]\n    The loss on a target batch")
    assert one in shown


def test_hooks_refuses_an_unknown_one(capsys: Capture) -> None:
    assert main(["hooks", "targetloss"]) == 2
    assert "did you mean 'target_loss'?" in capsys.readouterr().err
