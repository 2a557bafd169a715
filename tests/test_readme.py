"""The README says nothing that does not work."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest

from udacore import hookspecs
from udacore.cli import COMMANDS, main
from udacore.cli.arguments import read_run
from udacore.plugins import hook_names

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMAND_LINES = [line.strip() for line in README.splitlines() if re.match(r"    (uda|torchrun) ", line)]
RUNS = [line for line in COMMAND_LINES if " run " in line and "entropy.py" not in line]
TINY = ("image_size=[48,32]", "count=8")
QUICK = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target", "evaluate.source") for word in TINY),
    "rounds.source.steps=2", "rounds.adapt.steps=2", "rounds.adapt.batch=2", "batch=2", "tensorboard=false", "device=cpu",
)  # fmt: skip


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_line_names_a_command(line: str) -> None:
    words = shlex.split(line.split("#")[0].partition("-m udacore")[2] or line.split("#")[0].partition("uda")[2])
    assert words[0] in COMMANDS


@pytest.mark.parametrize("line", RUNS)
def test_every_run_has_a_complete_configuration(line: str) -> None:
    words = shlex.split(line.split("#")[0])
    words = words[words.index("run") + 1 :]
    plugin = words[words.index("--plugin") + 1] if "--plugin" in words else None
    method, config = read_run(plugin, [word for word in words if not word.startswith("--") and word != plugin])
    assert config.rounds
    assert method.name == (plugin or "source-only")


def test_the_method_on_the_page_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    (tmp_path / "entropy.py").write_text(code.group(1))
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--plugin", "./entropy.py", "method.weight=0.01", *QUICK]) == 0
    assert "mIoU" in capsys.readouterr().out
    assert "target" in (tmp_path / "runs" / "entropy-streets-adapt" / "log.txt").read_text()


@pytest.mark.parametrize("hook", sorted(hook_names()))
def test_every_hook_stands_with_its_arguments(hook: str) -> None:
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert f"`{hook}({arguments})`" in README


def published_figures() -> list[dict[str, str]]:
    """The table of published figures: a mapping from the head of a column to the cell, for each row."""
    head, _, *rows = README[README.index("| plugin | GTA5") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (head, *rows)]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]


def test_every_published_figure_has_a_source_and_stands_on_its_methods_page() -> None:
    rows = published_figures()
    registered = {path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml") if "udacore.plugins" in path.read_text()}
    assert {row["plugin"].strip("`") for row in rows} == registered
    legend = re.findall(r"\[(\w)\] [a-z]", README)
    for row in rows:
        page = (ROOT / "docs/methods" / f"{row['plugin'].strip('`')}.md").read_text()
        for cell in list(row.values())[1:]:
            figures = re.findall(r"\d\d\.\d", cell)
            marks = re.findall(r"\d\d\.\d \[(\w)\]", cell)
            assert len(figures) == len(marks)
            assert figures or cell == "-"
            assert set(marks) <= set(legend)
            assert all(figure in page for figure in figures)


def test_each_column_of_published_figures_has_one_protocol() -> None:
    heads = list(published_figures()[0])[1:]
    assert len(set(heads)) == 6
    for head in heads:
        assert re.fullmatch(r"(GTA5|SYNTHIA), (19|16|13) classes, (one scale|several scales and mirrored)", head)


def test_every_link_leads_somewhere() -> None:
    targets = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    missing = [link for link in targets if not (ROOT / link).exists()]
    assert targets
    assert not missing


def test_the_page_for_contributors_names_files_and_commands_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r"`((?:udacore|docs|benchmarks|tests/bad)[\w/.]*/[\w.]+)`", text)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
    commands = re.findall(r"`make ([\w-]+)`", text)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(commands) > 5
    assert set(commands) <= set(targets)
