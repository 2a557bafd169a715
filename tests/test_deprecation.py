"""A hook or an argument that will go is warned about for a version, at the plugin's own
line, and works meanwhile."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from udacore import HookDeprecation, hookspecs
from udacore.deprecation import deprecate
from udacore.interface import Losses, Step
from udacore.plugins import build_hooks, load_plugin

OLD = '''from udacore import hookimpl

@hookimpl
def target_loss(step, batch):
    return {"seen": batch}
'''


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hooks of a later core, in which `target_loss` is about to lose an argument."""
    gone = deprecate("the argument 'batch' of target_loss", "step.target", since="0.2", gone="0.3")

    @hookspecs.hookspec(firstresult=True, warn_on_impl_args={"batch": gone})
    def target_loss(step: Step, batch: Any) -> Losses:
        """The loss on a target batch."""

    monkeypatch.setattr(hookspecs, "target_loss", target_loss)


@pytest.mark.usefixtures("later")
def test_a_plugin_that_asks_for_a_deprecated_argument_is_warned_and_still_served(tmp_path: Path) -> None:
    path = tmp_path / "old.py"
    path.write_text(OLD)
    with pytest.warns(HookDeprecation) as caught:
        hooks = build_hooks(load_plugin(str(path)))
    (warning,) = caught
    said = "the argument 'batch' of target_loss is deprecated since udacore 0.2 and will be gone in 0.3; use step.target"
    assert str(warning.message) == said
    assert (warning.filename, warning.lineno) == (str(path), 3)
    assert hooks.target_loss(step=None, batch=7) == {"seen": 7}


@pytest.mark.usefixtures("later")
def test_a_plugin_that_leaves_the_argument_out_hears_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new.py"
    path.write_text(OLD.replace(", batch)", ")").replace('"seen": batch', ""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hooks = build_hooks(load_plugin(str(path)))
    assert hooks.target_loss(step=None, batch=7) == {}


def test_a_deprecated_hook_is_warned_about_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = deprecate("the hook on_round_end", "on_finish", since="0.2", gone="0.3")
    monkeypatch.setattr(hookspecs, "on_round_end", hookspecs.hookspec(firstresult=True, warn_on_impl=gone)(lambda round: None))
    path = tmp_path / "old.py"
    path.write_text(OLD.replace("target_loss(step, batch)", "on_round_end(round)").replace('{"seen": batch}', "{}"))
    with pytest.warns(HookDeprecation, match="the hook on_round_end is deprecated since udacore 0.2") as caught:
        build_hooks(load_plugin(str(path)))
    assert str(path) in {warning.filename for warning in caught}


@pytest.mark.usefixtures("later")
def test_the_line_is_the_authors_own_also_under_a_decorator_of_somebody_elses(tmp_path: Path) -> None:
    path = tmp_path / "old.py"
    path.write_text("import torch\n" + OLD.replace("@hookimpl\n", "@hookimpl\n@torch.no_grad()\n"))
    with pytest.warns(HookDeprecation) as caught:
        hooks = build_hooks(load_plugin(str(path)))
    (warning,) = caught
    assert (warning.filename, warning.lineno) == (str(path), 4)
    assert hooks.target_loss(step=None, batch=7) == {"seen": 7}


def test_users_see_the_warning_without_asking_for_it() -> None:
    """Unlike a DeprecationWarning, which Python shows to the main program only."""
    code = "import udacore.deprecation as api, warnings; warnings.warn_explicit(api.deprecate('x', 'y', since='1', gone='2'), None, 'plugin.py', 3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("plugin.py:3: HookDeprecation: x is deprecated since udacore 1 and will be gone in 2; use y")
