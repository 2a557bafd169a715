"""The list of installed methods, made without importing one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from udacore.errors import PluginError
from udacore.methods.catalogue import Entry, make_catalogue
from udacore.methods.discovery import load_plugin

VERSION = metadata.version("udacore")
HOOK = "import udacore\nfrom udacore import hookimpl\n\n@hookimpl\ndef target_loss(step):\n    return {}\n"
Install = Callable[..., Path]


def entry(name: str) -> Entry:
    (found,) = (entry for entry in make_catalogue() if entry.name == name)
    return found


@pytest.mark.parametrize("name", ["source-only", "proca", "fada", "bdl", "clp", "pycda", "mic"])
def test_what_only_an_import_can_tell_is_left_open(name: str) -> None:
    found = entry(name)
    assert (found.api, found.hooks, found.origin, found.state) == (None, None, None, "installed")


def test_only_the_outermost_package_is_looked_for_and_nothing_imported(install: Install) -> None:
    install("udacore-torn", {"udacore_torn.py": "def broken(:\n"}, {"torn": "udacore_torn:hooks"})
    install("udacore-deep", {"udacore_deep/__init__.py": "raise RuntimeError"}, {"deep": "udacore_deep.a.b"})
    install("udacore-gone", {}, {"gone": "udacore_gone.inner", "dots": ".."})
    assert [entry(name).state for name in ("torn", "deep")] == ["installed"] * 2
    assert [entry(name).state for name in ("gone", "dots")] == ["its module is not found"] * 2
    assert not {"udacore_torn", "udacore_deep"} & set(sys.modules)


def require(site: Path, distribution: str, *requirements: str) -> None:
    path = site / f"{distribution.replace('-', '_')}-0.1.dist-info" / "METADATA"
    path.write_text(path.read_text() + "".join(f"Requires-Dist: {each}\n" for each in requirements))


@pytest.mark.parametrize(("cores", "shown"), [(">=0.5,<1", "<1,>=0.5"), ("<0.1", "<0.1"), ("==9.*", "==9.*")])
def test_a_method_for_other_cores_is_refused_and_says_what_to_install(install: Install, cores: str, shown: str) -> None:
    site = install("udacore-far", {"udacore_far.py": "raise RuntimeError('imported')"}, {"far": "udacore_far"})
    require(site, "udacore-far", "numpy>=1", f"udacore{cores}")
    assert entry("far").cores == shown
    assert entry("far").state == f"needs udacore {shown}, not {VERSION}"
    with pytest.raises(PluginError) as caught:
        load_plugin("far")
    said = f"plugin 'far' (udacore-far 0.1) works with udacore {shown}, installed is {VERSION}; "
    assert str(caught.value) == said + f'pip install "udacore{shown}", or one for this core: pip install --upgrade udacore-far'


def test_a_range_that_holds_this_core_is_accepted_and_extras_do_not_count(install: Install) -> None:
    site = install("udacore-near", {"udacore_near.py": HOOK}, {"near": "udacore_near"})
    require(site, "udacore-near", "not a requirement !", "udacore>=9; extra == 'new'", "Udacore<1,>=0.1")
    assert entry("near").cores == "<1,>=0.1"
    assert load_plugin("near").name == "near"


def test_another_version_of_the_hooks_is_refused_when_it_is_loaded(install: Install) -> None:
    install("udacore-api", {"udacore_api.py": f"UDACORE_API = 2\n{HOOK}"}, {"api": "udacore_api"})
    assert entry("api").state == "installed"
    with pytest.raises(PluginError, match="plugin 'api' is written for version 2 of the hooks"):
        load_plugin("api")
