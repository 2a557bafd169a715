"""Methods are found without an import, loaded by name or file, and what is wrong with
one is said in one line."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from udacore import MethodSettings, PluginError, source_only
from udacore.methods.discovery import list_plugins, load_plugin
from udacore.plugins import build_hooks, hook_names, hooks_of, label_errors

GOOD = """
    '''Entropy minimisation.'''
    import attrs
    from udacore import MethodSettings, hookimpl, option

    @attrs.frozen(kw_only=True)
    class Settings(MethodSettings):
        weight: float = option(0.001, "weight of the entropy term", at_least=0)

    @hookimpl
    def target_loss(step):
        return step.settings.weight
"""
HOOK = "from udacore import hookimpl\n\n@hookimpl\ndef target_loss(step):\n    return {}\n"


def fail(name: str, *, hooks: bool = False) -> str:
    """The one line that a user reads, after checking that it is one."""
    with pytest.raises(PluginError) as caught:
        build_hooks(load_plugin(name)) if hooks else load_plugin(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_listing_imports_nothing_and_marks_no_duplicate(install: Callable[..., Path]) -> None:
    install("udacore-bad", {"udacore_bad.py": "raise RuntimeError('imported')"}, {"bad": "udacore_bad"}, version="0.3")
    listed = {plugin.name: plugin for plugin in list_plugins()}
    assert (listed["bad"].distribution, listed["bad"].version, listed["bad"].module, listed["bad"].duplicate) == (
        "udacore-bad",
        "0.3",
        "udacore_bad",
        False,
    )
    assert listed["source-only"].distribution == "udacore"
    assert "udacore_bad" not in sys.modules


def test_loading_gives_settings_version_and_origin(install: Callable[..., Path]) -> None:
    install("udacore-good", {"udacore_good/__init__.py": GOOD, "udacore_good/presets/a.yaml": ""}, {"good": "udacore_good"})
    method = load_plugin("good")
    assert method.settings().weight == 0.001
    assert (method.name, method.package, method.distribution, method.version) == ("good", "udacore_good", "udacore-good", "0.1")
    assert method.origin == "udacore_good (udacore-good 0.1)"
    assert hooks_of(method) == ("target_loss",)


def test_the_object_of_an_entry_point_may_be_inside_a_module(install: Callable[..., Path]) -> None:
    text = """
        from udacore import hookimpl

        class Plugin:
            @hookimpl
            def source_loss(self, step):
                return step

        plugin = Plugin()
    """
    install("udacore-inner", {"inner_one.py": text}, {"inner": "inner_one:plugin"})
    method = load_plugin("inner")
    assert method.settings is MethodSettings
    assert method.package is None
    assert build_hooks(method).source_loss(step=7) == 7


def test_the_core_answers_where_a_method_is_silent(install: Callable[..., Path]) -> None:
    install("udacore-one", {"udacore_one.py": HOOK}, {"one": "udacore_one"})
    hooks = build_hooks(load_plugin("one"))
    order = [implementation.function.__module__ for implementation in hooks.target_loss.get_hookimpls()]
    assert order == ["udacore.source_only", "udacore_one"]  # pluggy asks the last one first
    assert [i.function for i in hooks.source_loss.get_hookimpls()] == [source_only.source_loss]


def test_two_methods_never_meet(install: Callable[..., Path]) -> None:
    install("udacore-one", {"udacore_one.py": HOOK}, {"one": "udacore_one"})
    first, second = build_hooks(load_plugin("one")), build_hooks(load_plugin("source-only"))
    assert len(first.target_loss.get_hookimpls()) == 2
    assert len(second.target_loss.get_hookimpls()) == 1


def test_source_only_is_an_installed_plugin_with_all_hooks() -> None:
    method = load_plugin("source-only")
    assert method.package == "udacore"
    assert hooks_of(method) == hook_names() == ("build_model", "source_loss", "target_loss", "on_round_end", "make_pseudo_labels")


def test_unknown_name_gives_near_matches_and_the_line_to_install(install: Callable[..., Path]) -> None:
    install("udacore-entropy", {"udacore_entropy.py": HOOK}, {"entropy": "udacore_entropy"})
    said = fail("entrpy")
    assert "did you mean 'entropy'?" in said
    assert said.endswith("pip install udacore-entrpy")
    assert "source-only" in fail("zzz")
    assert "pip install" not in fail("a b")


def test_unknown_name_points_at_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(HOOK)
    assert "--plugin ./mine.py" in fail("mine")


def test_a_name_claimed_twice_names_both_and_is_marked(install: Callable[..., Path]) -> None:
    install("udacore-one", {"udacore_one.py": HOOK}, {"same": "udacore_one"})
    install("someones-one", {"someones_one.py": HOOK}, {"same": "someones_one"}, version="2.0")
    said = fail("same")
    assert "udacore-one 0.1" in said
    assert "someones-one 2.0" in said
    assert [plugin.duplicate for plugin in list_plugins() if plugin.name == "same"] == [True, True]


def test_the_same_distribution_seen_twice_is_one(install: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = install("udacore-one", {"udacore_one.py": HOOK}, {"same": "udacore_one"})
    again = tmp_path / "again"
    again.mkdir()
    (again / "udacore_one-0.1.dist-info").symlink_to(site / "udacore_one-0.1.dist-info")
    monkeypatch.syspath_prepend(again)
    assert load_plugin("same").distribution == "udacore-one"


def test_a_broken_plugin_says_its_cause_and_stops_no_other(install: Callable[..., Path]) -> None:
    install("udacore-bad", {"udacore_bad/__init__.py": "import attrs\nimport no_such_module\n"}, {"bad": "udacore_bad"})
    install("udacore-exit", {"udacore_exit.py": "raise SystemExit(0)"}, {"exit": "udacore_exit"})
    install("udacore-one", {"udacore_one.py": HOOK}, {"one": "udacore_one"})
    site = install("garbled", {}, {})
    (site / "garbled-0.1.dist-info" / "entry_points.txt").write_text("[udacore.plugins]\nno equals sign\n")
    assert load_plugin("one").name == "one"
    said = fail("bad")
    assert "(udacore-bad 0.1) does not import: ModuleNotFoundError: No module named 'no_such_module'" in said
    assert "(udacore_bad/__init__.py, line 2)" in said
    assert "SystemExit" in fail("exit")
    with pytest.raises(PluginError) as caught:
        load_plugin("bad")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_missing_module_or_attribute_is_no_traceback(install: Callable[..., Path]) -> None:
    install("udacore-gone", {"udacore_here.py": HOOK}, {"gone": "udacore_gone", "none": "udacore_here:nothing"})
    assert "No module named 'udacore_gone'" in fail("gone")
    assert "has no attribute 'nothing'" in fail("none")


def test_a_misspelt_hook_names_the_near_match(install: Callable[..., Path]) -> None:
    install("udacore-spelt", {"udacore_spelt.py": HOOK.replace("target_loss", "targetloss")}, {"spelt": "udacore_spelt"})
    assert fail("spelt", hooks=True) == "plugin 'spelt': there is no hook 'targetloss'; did you mean 'target_loss'?"


def test_a_wrong_argument_shows_both_signatures(install: Callable[..., Path]) -> None:
    install("udacore-arg", {"udacore_arg.py": HOOK.replace("(step)", "(steps, extra=1)")}, {"arg": "udacore_arg"})
    said = fail("arg", hooks=True)
    assert said == "plugin 'arg': target_loss(steps) asks for 'steps', but the hook is target_loss(step); did you mean 'step'?"


def test_an_optional_hook_of_another_version_is_passed_over(install: Callable[..., Path]) -> None:
    text = HOOK + "@hookimpl(optionalhook=True)\ndef on_step_end(step):\n    return {}\n"
    install("udacore-next", {"udacore_next.py": text}, {"next": "udacore_next"})
    method = load_plugin("next")
    assert hooks_of(method) == ("target_loss",)
    assert build_hooks(method).target_loss(step=None) == {}


def test_a_wrapper_that_is_no_generator_is_one_line_too(install: Callable[..., Path]) -> None:
    install("udacore-wrap", {"udacore_wrap.py": HOOK.replace("@hookimpl", "@hookimpl(wrapper=True)")}, {"wrap": "udacore_wrap"})
    assert "not a generator" in fail("wrap", hooks=True)


def test_a_hook_without_its_mark_or_no_hook_at_all_is_refused(install: Callable[..., Path]) -> None:
    bare = "def target_loss(step):\n    return {}\n"
    install("udacore-bare", {"udacore_bare.py": bare}, {"bare": "udacore_bare"})
    install("udacore-empty", {"udacore_empty.py": "x = 1\n"}, {"empty": "udacore_empty"})
    files = {"udacore_helper.py": HOOK + "from helper_losses import source_loss\n", "helper_losses.py": bare.replace("target", "source")}
    install("udacore-helper", files, {"helper": "udacore_helper"})
    assert "target_loss would never be called; mark it with @udacore.hookimpl" in fail("bare", hooks=True)
    assert "implements no hook" in fail("empty", hooks=True)
    assert hooks_of(load_plugin("helper")) == ("target_loss",)
    assert build_hooks(load_plugin("helper")).target_loss(step=None) == {}


OTHER_VERSIONS = [("2", 'pip install "udacore>'), ("0", 'pip install "udacore-api>0.1"'), ("'1'", "whole number"), ("True", "whole number")]


@pytest.mark.parametrize(("stated", "words"), OTHER_VERSIONS)
def test_another_version_of_the_hooks_says_what_to_install(install: Callable[..., Path], stated: str, words: str) -> None:
    install("udacore-api", {"udacore_api.py": f"UDACORE_API = {stated}\n{HOOK}"}, {"api": "udacore_api"})
    said = fail("api")
    assert words in said
    assert "has version 1" in said


def test_the_same_version_of_the_hooks_is_accepted(install: Callable[..., Path]) -> None:
    install("udacore-api", {"udacore_api.py": f"UDACORE_API = 1\n{HOOK}"}, {"api": "udacore_api"})
    assert load_plugin("api").name == "api"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("Settings = {'weight': 1}", "must be a class that derives from udacore.MethodSettings"),
        ("class Settings:\n    weight = 1", "must be a class that derives from udacore.MethodSettings"),
        ("from udacore import MethodSettings\nclass Settings(MethodSettings):\n    weight = 1", "must be decorated"),
    ],
)
def test_settings_that_are_none_are_refused(install: Callable[..., Path], settings: str, words: str) -> None:
    install("udacore-set", {"udacore_set.py": f"{HOOK}\n{settings}\n"}, {"set": "udacore_set"})
    assert words in fail("set")


def test_a_file_is_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "entropy.py"
    path.write_text(dedent(GOOD))
    method = load_plugin(str(path))
    assert (method.name, method.package, method.distribution, method.version, method.origin) == ("entropy", None, None, None, str(path))
    assert pickle.loads(pickle.dumps(method.settings(weight=2.0))) == method.settings(weight=2.0)  # found again through sys.modules
    assert load_plugin(str(path)).settings is method.settings
    assert [file.name for file in tmp_path.iterdir()] == ["entropy.py"]  # no byte code beside it


def test_a_file_that_changed_is_loaded_anew(tmp_path: Path) -> None:
    path = tmp_path / "entropy.py"
    path.write_text(dedent(GOOD))
    first = load_plugin(str(path))
    path.write_text(dedent(GOOD).replace("0.001", "0.002"))
    assert load_plugin(str(path)).settings().weight == 0.002
    assert first.settings().weight == 0.001


def test_files_that_cannot_be_loaded_say_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "entropy.py").write_text("def broken(:\n")
    (tmp_path / "raises.py").write_text("x = 1\ny = x / 0\n")
    assert "does not import: SyntaxError" in fail(str(tmp_path / "entropy.py"))
    assert "ZeroDivisionError: division by zero" in fail(str(tmp_path / "raises.py"))
    assert "raises.py, line 2)" in fail(str(tmp_path / "raises.py"))
    assert "did you mean" in fail(str(tmp_path / "entrpy.py"))
    assert "no such Python file" in fail(f"{tmp_path}/")
    assert not [name for name in sys.modules if name.startswith("udacore_file_raises")]


def test_an_exception_gains_plugin_hook_round_and_step() -> None:
    with pytest.raises(ZeroDivisionError) as caught, label_errors("entropy", "target_loss", "adapt", 12):
        _ = 1 / 0
    assert caught.value.__notes__ == ["in hook target_loss of plugin 'entropy', round 'adapt', step 12"]
