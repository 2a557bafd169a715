"""A round that is run again leaves nothing of its first time behind, and starts from what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from udacore.config.resolve import load_config
from udacore.engine.results.scoring import score_checkpoint
from udacore.errors import ConfigError
from udacore.methods.discovery import load_plugin

SOURCE = {"steps": 2, "draws": ["source"], "keep": "best"}
CHANGES: dict[str, Any] = {"rounds": {"source": SOURCE, "adapt": {"steps": 2, "target": {"labels": "make"}}, "more": {"steps": 1}}}


def labels(run: Path) -> dict[str, bytes]:
    folder = run / "rounds" / "0-source" / "labels"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def finished(make_workshop: Any) -> Any:
    workshop = make_workshop()
    workshop.run(CHANGES)
    return workshop


def test_labels_of_a_round_run_again_follow_its_new_settings(make_workshop: Any) -> None:
    again, fresh = make_workshop(), make_workshop()
    again.run(CHANGES)
    first = labels(again.path / "run")
    changed = {"rounds": {**CHANGES["rounds"], "source": {**SOURCE, "pseudo_labels": {"percent": 0.0}}}}
    again.run(changed, only="source", force=True)
    fresh.run(changed, only="source")
    assert labels(again.path / "run") == labels(fresh.path / "run") != first


def test_one_round_with_other_settings_of_an_earlier_one_is_refused(finished: Any) -> None:
    before = (finished.path / "run" / "config.yaml").read_text()
    for words, place in ((("rounds.source.batch=2",), "rounds.source.batch"), (("seed=9",), "seed")):
        with pytest.raises(ConfigError, match=f"--round more: .* other settings: {place}"):
            finished.run(CHANGES, *words, only="more", force=True)
    assert (finished.path / "run" / "config.yaml").read_text() == before


def test_a_round_that_passes_over_an_unfinished_one_says_so(make_workshop: Any) -> None:
    workshop = make_workshop()
    workshop.run(CHANGES, only="source")
    workshop.run(CHANGES, only="more")
    said = (workshop.path / "run" / "log.txt").read_text()
    assert "round 'more': part 'segmenter' does not begin with round 'adapt', which is not finished" in said


def test_the_protocol_says_everything_that_changes_the_number(finished: Any) -> None:
    path = finished.path / "run" / "config.yaml"
    plain = yaml.safe_load(path.read_text())
    assert plain["rounds"]["source"]["keep"] == "best"
    method = load_plugin("source-only")
    words = ("rounds.source.evaluate.target.window=[32,32]", "rounds.source.evaluate.target.stride=[16,16]", "amp=bf16")
    config = load_config(str(path), words, packages=(), method_settings=method.settings)
    (result,) = score_checkpoint(config, method, folder=finished.path / "run", only="source", checkpoint=None)
    expected = {"domain": "target", "pair": "W", "image_size": [64, 32], "stride": [16, 16], "precision": "bf16"}
    assert {key: result.protocol[key] for key in expected} == expected
    assert result.protocol["checkpoint"] == "0-source.pt, best on target"
