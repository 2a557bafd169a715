"""What is said of installed methods without importing one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from udacore.errors import PluginError
from udacore.methods.catalogue import Entry, find_source, make_catalogue, spec_names
from udacore.methods.discovery import load_plugin
from udacore.plugins import hook_names, hooks_of

HOOK = "import udacore\nfrom udacore import hookimpl\n\n@hookimpl\ndef target_loss(step):\n    return {}\n"
Install = Callable[..., Path]


def entry(name: str) -> Entry:
    (found,) = (entry for entry in make_catalogue() if entry.name == name)
    return found


def test_the_names_of_the_hooks_are_read_as_they_are() -> None:
    assert spec_names() == hook_names()


@pytest.mark.parametrize("name", ["source-only", "proca", "fada", "bdl", "clp", "pycda"])
def test_what_is_read_is_what_an_import_finds(name: str) -> None:
    method = load_plugin(name)
    read = entry(name)
    assert read.hooks == hooks_of(method)
    assert read.api == getattr(method.module, "UDACORE_API", None)
    assert read.origin == method.module.__file__
    assert read.state == "installed"


def test_every_way_to_write_a_hook_is_seen(install: Install) -> None:
    files = {
        "udacore_way/__init__.py": "",
        "udacore_way/hooks.py": HOOK + "UDACORE_API = 1\n"
        "@udacore.hookimpl\ndef source_loss(step):\n    return {}\n\n"
        '@hookimpl(specname="on_round_end")\ndef finish(round):\n    return None\n\n'
        "from udacore_way.labels import make_pseudo_labels\nfrom other.networks import build_model\n\n"
        "@hookimpl\ndef no_hook(step):\n    return {}\n",
    }
    site = install("udacore-way", files, {"way": "udacore_way.hooks"})
    found = entry("way")
    assert found.hooks == ("source_loss", "target_loss", "on_round_end", "make_pseudo_labels")
    assert (found.api, found.origin) == (1, str(site / "udacore_way/hooks.py"))
    assert "udacore_way" not in sys.modules


def test_what_cannot_be_read_is_left_open(install: Install) -> None:
    install("udacore-torn", {"udacore_torn.py": "def broken(:\n"}, {"torn": "udacore_torn"})
    install("udacore-gone", {}, {"gone": "udacore_gone.inner", "lost": "udacore.no_such_module"})
    install("udacore-late", {"udacore_late.py": f"{HOOK}\nUDACORE_API = 1 + 0\n"}, {"late": "udacore_late"})
    assert (entry("torn").hooks, entry("torn").api, entry("torn").state) == (None, None, "installed")
    assert (entry("gone").hooks, entry("gone").origin, entry("gone").state) == (None, None, "its module is not found")
    assert entry("lost").state == "its module is not found"
    assert entry("late").api is None
    assert find_source("udacore.config") is not None
    assert find_source("udacore.config.files:read_file") is not None


def require(site: Path, distribution: str, *requirements: str) -> None:
    path = site / f"{distribution.replace('-', '_')}-0.1.dist-info" / "METADATA"
    path.write_text(path.read_text() + "".join(f"Requires-Dist: {each}\n" for each in requirements))


@pytest.mark.parametrize(("cores", "shown"), [(">=0.5,<1", "<1,>=0.5"), ("<0.1", "<0.1"), ("==9.*", "==9.*")])
def test_a_method_for_other_cores_is_refused_and_says_what_to_install(install: Install, cores: str, shown: str) -> None:
    site = install("udacore-far", {"udacore_far.py": "raise RuntimeError('imported')"}, {"far": "udacore_far"})
    require(site, "udacore-far", "numpy>=1", f"udacore{cores}")
    assert entry("far").cores == shown
    assert entry("far").state == f"needs udacore {shown}, not 0.1.0"
    with pytest.raises(PluginError) as caught:
        load_plugin("far")
    said = f"plugin 'far' (udacore-far 0.1) works with udacore {shown}, installed is 0.1.0; "
    assert str(caught.value) == said + f'pip install "udacore{shown}", or one for this core: pip install --upgrade udacore-far'


def test_a_range_that_holds_this_core_is_accepted_and_extras_do_not_count(install: Install) -> None:
    site = install("udacore-near", {"udacore_near.py": HOOK}, {"near": "udacore_near"})
    require(site, "udacore-near", "not a requirement !", "udacore>=9; extra == 'new'", "Udacore<1,>=0.1")
    assert entry("near").cores == "<1,>=0.1"
    assert load_plugin("near").name == "near"


def test_another_version_of_the_hooks_is_seen_before_the_import(install: Install) -> None:
    install("udacore-api", {"udacore_api.py": f"UDACORE_API = 2\n{HOOK}"}, {"api": "udacore_api"})
    assert entry("api").state == "for version 2 of the hooks, not 1"


def test_a_text_that_begins_with_a_byte_order_mark_is_read_like_any_other(install: Install) -> None:
    install("udacore-marked", {"udacore_marked.py": "\ufeffUDACORE_API = 1\n" + HOOK}, {"marked": "udacore_marked"})
    assert (entry("marked").api, entry("marked").hooks) == (1, ("target_loss",))
