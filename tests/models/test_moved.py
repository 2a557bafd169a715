"""Names that left `udacore.models` are found for one minor version."""

from __future__ import annotations

import sys

import pytest
import udacore_pycda.pyramid_pooling

from udacore import models


@pytest.mark.parametrize("name", ["PyramidHead", "PyramidSegmenter"])
def test_an_old_name_works_and_says_where_it_is(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{name} moved to udacore_pycda.pyramid_pooling"):
        found = getattr(models, name)
    assert found is getattr(udacore_pycda.pyramid_pooling, name)


def test_an_old_name_whose_plugin_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "udacore_pycda.pyramid_pooling", None)
    with pytest.raises(AttributeError, match=r"PyramidHead moved to udacore_pycda.pyramid_pooling, which is not installed"):
        _ = models.PyramidHead
