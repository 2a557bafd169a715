"""Of several processes one shows the results, also when they have parted already."""

from __future__ import annotations

import json

import numpy as np
import pytest

from udacore.cli.run import show_results
from udacore.engine.evaluation import Result
from udacore.metrics import score


@pytest.mark.parametrize(("rank", "speaks"), [(None, True), ("0", True), ("1", False)])
def test_the_first_process_shows_the_results(rank: str | None, speaks: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    result = Result(round="adapt", step=1, set="val", scores=score(np.eye(2)), classes=("road", "sky"), protocol={})
    show_results([result], as_json=True)
    shown = capsys.readouterr().out
    assert json.loads(shown)[0]["miou"] == 1.0 if speaks else not shown
