"""Names that were moved or renamed are found for one minor version."""

from __future__ import annotations

import importlib
import sys

import pytest
import udacore_pycda.pyramid_pooling

from udacore import labels, models


@pytest.mark.parametrize("name", ["PyramidHead", "PyramidSegmenter"])
def test_an_old_name_works_and_says_where_it_is(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"udacore.models.{name} is now udacore_pycda.pyramid_pooling.{name}"):
        found = getattr(models, name)
    assert found is getattr(udacore_pycda.pyramid_pooling, name)


@pytest.mark.parametrize(
    ("module", "name", "place"),
    [
        ("udacore.models", "domain", "udacore.models.use_domain"),
        ("udacore.api", "deprecate", "udacore.deprecation.deprecate"),
        *(("udacore.data.labels", name, f"udacore.labels.{name}") for name in ("IGNORE", "LabelSpace", "colorize")),
    ],
)
def test_an_old_place_works_and_names_the_new_one(module: str, name: str, place: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is now {place}; the old name goes in udacore 0.3") as caught:
        found = getattr(importlib.import_module(module), name)
    new, _, word = place.rpartition(".")
    assert found is getattr(importlib.import_module(new), word)
    assert caught[0].filename == __file__


def test_every_public_name_of_the_label_spaces_is_found_at_its_old_place() -> None:
    old = importlib.import_module("udacore.data.labels")
    names = [name for name, value in vars(labels).items() if not name.startswith("_") and getattr(value, "__module__", labels.__name__) == labels.__name__]
    with pytest.warns(DeprecationWarning, match="is now udacore.labels"):
        new = [name for name in names if name.isupper() or callable(getattr(labels, name)) if not hasattr(old, name)]
    assert new == ["LOVEDA_COLOURS", "ISPRS_COLOURS", "raw_ids"]


def test_an_old_name_whose_plugin_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "udacore_pycda.pyramid_pooling", None)
    with pytest.raises(AttributeError, match=r"PyramidHead moved to udacore_pycda.pyramid_pooling, which is not installed"):
        _ = models.PyramidHead
