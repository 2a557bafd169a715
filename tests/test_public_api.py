"""A public name does not change in silence: what differs from public_api.txt stands in the changelog."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import Tensor

import udacore
from udacore import interface, losses

SCRIPT = Path(__file__).with_name("public_api.py")
LOG = "# Changes\n\n## udacore 0.2 (soon)\n\n- `entropy` takes a `base`, uda run got --quick.\n\n## udacore 0.1\n\n- `upsample`.\n"


@pytest.fixture(scope="module")
def api() -> ModuleType:
    spec = importlib.util.spec_from_file_location("public_api", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_change_since_the_last_version_is_in_the_changelog(api: Any) -> None:
    version, lines, told_then = api.read_snapshot()
    changed = api.differences(lines, api.collect())
    silent = api.unmentioned(changed, api.CHANGELOG.read_text(), told_then)
    told = "\n".join(line for name in silent for line in changed[name])
    assert not silent, f"public names changed; name each in a new line of the newest section of CHANGELOG.md, or leave them as they were:\n{told}"
    assert version == udacore.__version__, "a new version: python tests/public_api.py --write"


def test_hooks_types_losses_settings_and_commands_are_all_in_it(api: Any) -> None:
    lines = api.read_snapshot()[1]
    for expected in (
        "udacore.hookspecs.target_loss(step: Step) -> Losses | Iterator[Losses]",
        "udacore.interface.Step.kept: dict[str, Any] = made",
        "udacore.losses.entropy(logits: Tensor, valid: Tensor | None = None) -> Tensor",
        "udacore.ranks.all_sum(x: Tensor) -> Tensor",
        "udacore.hookimpl",
        "udacore.deprecation.UDACORE_API = 1",
        "setting rounds.NAME.batch (a whole number) = 8",
        "uda run --resume",
        "uda plugins new --from",
        "fixture tiny_cityscapes",
        "preset streets-adapt",
        "uda plugins list --json state",
        "fixture run_uda(self, *words: Any, process: bool = False, processes: int = 1, timeout: float = 120) -> Outcome",
        "fixture run_uda() code: int",
    ):
        assert expected in lines
    assert any(line.startswith("udacore.testing.MethodContract") for line in lines)
    assert lines == sorted(set(lines))


def test_a_changed_signature_is_found_by_its_name(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def entropy(logits: Tensor, valid: Tensor | None = None, base: float = 2.0) -> Tensor:
        return logits

    entropy.__module__ = losses.__name__
    before = api.collect()
    monkeypatch.setattr(losses, "entropy", entropy)
    monkeypatch.delattr(losses, "upsample")
    monkeypatch.setattr(interface, "IGNORE", 254)
    changed = api.differences(before, api.collect())
    assert set(changed) == {"entropy", "upsample", "IGNORE"}
    assert changed["entropy"] == [
        "- udacore.losses.entropy(logits: Tensor, valid: Tensor | None = None) -> Tensor",
        "+ udacore.losses.entropy(logits: Tensor, valid: Tensor | None = None, base: float = 2.0) -> Tensor",
    ]
    assert api.unmentioned(changed, LOG) == ["IGNORE", "upsample"] or api.unmentioned(changed, LOG) == ["upsample", "IGNORE"]


def test_only_the_newest_section_counts_and_only_whole_words(api: Any) -> None:
    assert api.unmentioned(["entropy", "base", "--quick", "run"], LOG) == []
    assert api.unmentioned(["upsample", "quick", "bas", "ase", "--qui", "entropy_2"], LOG) == ["upsample", "quick", "bas", "ase", "--qui", "entropy_2"]


def test_a_line_that_was_there_when_the_file_was_written_says_nothing_of_a_later_change(api: Any) -> None:
    told = {api.digest(line) for line in api.newest_section(LOG)}
    assert api.unmentioned(["entropy"], LOG, told) == ["entropy"]
    assert api.unmentioned(["entropy"], LOG.replace("--quick.\n", "--quick.\n- `entropy` in bits.\n"), told) == []
    section = api.newest_section(api.CHANGELOG.read_text())
    held = [word for word in ("check", "image", "record", "names") if not api.unmentioned([word], api.CHANGELOG.read_text())]
    assert api.unmentioned(held, api.CHANGELOG.read_text(), {api.digest(line) for line in section}) == held


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("fixture run_uda(self, *words: Any) -> Outcome", "run_uda"),
        ("fixture run_uda() code: int", "run_uda"),
        ("fixture tiny_gta5", "tiny_gta5"),
        ("preset gta5-cityscapes", "gta5-cityscapes"),
        ("udacore.losses.entropy(logits: Tensor) -> Tensor", "entropy"),
        ("udacore.interface.Step.kept: dict[str, Any] = made", "kept"),
        ("udacore.deprecation.UDACORE_API = 1", "UDACORE_API"),
        ("udacore.hookimpl", "hookimpl"),
        ("setting rounds.NAME.parts.NAME.schedule.from (a whole number or text) = 0", "from"),
        ("uda run --dry-run", "--dry-run"),
        ("uda data check", "check"),
    ],
)
def test_the_name_of_a_line(api: Any, line: str, name: str) -> None:
    assert api.name_of(line) == name


def test_the_file_is_not_written_over_a_silent_change(api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot, log = tmp_path / "public_api.txt", tmp_path / "CHANGELOG.md"
    monkeypatch.setattr(api, "SNAPSHOT", snapshot)
    monkeypatch.setattr(api, "CHANGELOG", log)
    log.write_text(LOG)
    assert api.write() == 0
    assert api.read_snapshot()[:2] == (udacore.__version__, api.collect())
    snapshot.write_text(snapshot.read_text().replace("valid: Tensor | None = None", "valid: Tensor"))
    before = snapshot.read_text()
    assert api.write() == 1  # the log speaks of entropy, but did so before
    log.write_text(LOG.replace("`entropy`", "something"))
    assert api.write() == 1
    assert "does not mention entropy" in capsys.readouterr().err
    assert snapshot.read_text() == before
    log.write_text(LOG.replace("--quick.\n", "--quick.\n- `entropy` asks for `valid`.\n"))
    assert api.write() == 0
    assert api.read_snapshot()[1] == api.collect()
