"""The tutorial works: each of its blocks is carried out, in order, in an empty folder, as a reader would."""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import os
import re
import shlex
import site
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from udacore.cli import main

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"((?:[^\n]+\n)*)\n?```(python|yaml|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
OFFLINE = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--force-reinstall")


@attrs.frozen
class Block:
    """A block of a page: what kind it is, the paragraph before it, and its text."""

    kind: str
    lead: str
    text: str


def read_blocks(page: str) -> list[Block]:
    """All blocks of a page that is a lesson, in order."""
    return [Block(kind, " ".join(lead.split()), text) for lead, kind, text in BLOCK.findall(page)]


def merge(old: str, new: str) -> str:
    """A module with what a block adds: imports, and definitions in place of those of the same name."""
    kept = {name_of(node): ast.unparse(node) for node in ast.parse(old).body}
    kept |= {name_of(node): ast.unparse(node) for node in ast.parse(new).body}
    imports = [text for name, text in kept.items() if name.startswith("import ")]
    head = [kept["docstring"]] if "docstring" in kept else []
    return "\n\n\n".join([*head, "\n".join(imports), *(text for name, text in kept.items() if name != "docstring" and not name.startswith("import "))]) + "\n"


def name_of(node: ast.stmt) -> str:
    """What tells a statement of a module from the others."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Import | ast.ImportFrom):
        return f"import {ast.unparse(node)}"
    return ast.unparse(node.targets[0]) if isinstance(node, ast.Assign) else "docstring"


@attrs.define
class Reader:
    """Somebody who does what the page says."""

    folder: Path
    python: Path
    written: str = ""
    installed: bool = False

    def do(self, block: Block) -> None:
        """Save a file, or type commands and compare what they print."""
        if block.kind == "console":
            for command, expected in split_console(block.text):
                self.type(command, expected)
            return
        names = re.findall(r"`([\w/.-]+\.(?:py|yaml))`", block.lead)
        self.written = names[-1] if names else self.written
        path = self.folder / self.written
        text = merge(path.read_text(), block.text) if block.kind == "python" and path.exists() else block.text
        path.write_text(text)

    def type(self, command: str, expected: str) -> None:
        """Run a command; it fails if and only if the page shows that it does, and
        prints what the page shows."""
        words = shlex.split(command)
        if words[0] == "cd":
            self.folder = (self.folder / words[1]).resolve()
            return
        code, printed = call(words[1:], self.folder) if words[0] == "uda" and not self.installed else start(self.translate(words), self.folder)
        self.installed |= words[:2] == ["pip", "install"]
        fails = re.search(r"^(error|FAILED)", expected, re.MULTILINE) is not None
        assert (code != 0) == fails, f"$ {command}\n{printed}"
        if expected.strip():
            same = doctest.OutputChecker().check_output(plain(expected), plain(printed), FLAGS)
            assert same, f"$ {command}\n{printed}\nThe page says:\n{expected}"

    def translate(self, words: list[str]) -> list[str]:
        """The command for a machine without a network, where all that is needed is installed already."""
        run = [str(self.python), "-m"]
        match words:
            case ["uda", *rest]:
                return [*run, "udacore", *rest]
            case ["pip", "install", *rest]:
                return [*run, "pip", "install", *OFFLINE, *(word.partition("[")[0] for word in rest)]
            case ["pytest", *rest]:
                return [*run, "pytest", "-p", "no:cacheprovider", *rest]
            case ["python", "-m", "build", *rest]:
                return [*run, "build", "--no-isolation", *rest]
        raise AssertionError(f"the tutorial shows a command that this test does not know: {shlex.join(words)}")


def call(words: list[str], folder: Path) -> tuple[int, str]:
    """Exit code and output of `uda` in this process, which spares the imports."""
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(words)
    return code, printed.getvalue()


def start(words: list[str], folder: Path) -> tuple[int, str]:
    """Exit code and output of another program."""
    done = subprocess.run(words, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def environment() -> dict[str, str]:
    """Quiet and single-threaded, without what the calling test run has set."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    # The checks that run all rounds several times are left to the tests of the contract
    brief = "-k 'not (resume or same_seed or processes)'"
    return {**kept, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": brief}


def split_console(text: str) -> list[tuple[str, str]]:
    """Each command with the lines that it should print."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def plain(text: str) -> str:
    """Text whose numbers and sequences of dashes are all alike, without the checks that
    `environment` leaves out."""
    text = re.sub(r", \d+ deselected", "", text)
    return re.sub(r"[-+]?\d+(?:[.:]\d+)*(?:e[-+]?\d+)?|-{3,}", "#", text)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python of its own to install into, which sees what is installed for this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "environment")], check=True)
    (packages,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    (packages / "parent.pth").write_text(f"import site; site.addsitedir({site.getsitepackages()[0]!r})\n")
    return tmp_path / "environment" / "bin" / "python"


@pytest.mark.slow
def test_every_block_of_the_tutorial_works(tmp_path: Path, python: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    reader, blocks = Reader(folder, python), read_blocks((DOCS / "tutorial.md").read_text())
    assert len(blocks) > 15
    for block in blocks:
        reader.do(block)


def test_the_method_of_the_tutorial_begins_with_ten_lines() -> None:
    first = next(block for block in read_blocks((DOCS / "tutorial.md").read_text()) if block.kind == "python")
    assert len(first.text.splitlines()) <= 10


def test_the_network_in_the_questions_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (block for block in read_blocks((DOCS / "faq.md").read_text()) if "`lraspp.py`" in block.lead)
    (tiny,) = (block for block in read_blocks((DOCS / "tutorial.md").read_text()) if "`tiny.yaml`" in block.lead)
    (tmp_path / "lraspp.py").write_text(block.text)
    (tmp_path / "tiny.yaml").write_text(tiny.text)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--plugin", "./lraspp.py", "tiny.yaml", "rounds.source.steps=2", "rounds.adapt.steps=2", "tensorboard=false"]) == 0
    assert "mIoU" in capsys.readouterr().out


def test_the_losses_one_after_another_in_the_questions_keep_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = (block for block in read_blocks((DOCS / "faq.md").read_text()) if "`consistent.py`" in block.lead)
    (tiny,) = (block for block in read_blocks((DOCS / "tutorial.md").read_text()) if "`tiny.yaml`" in block.lead)
    (tmp_path / "consistent.py").write_text(block.text)
    (tmp_path / "tiny.yaml").write_text(tiny.text)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--plugin", "./consistent.py", "tiny.yaml", "rounds.source.steps=2", "rounds.adapt.steps=2", "tensorboard=false"]) == 0
    assert re.search(r"adapt 2/2 .* dark \d.* bright \d", capsys.readouterr().err)
    assert main(["plugins", "check", "./consistent.py", "tiny.yaml"]) == 0, capsys.readouterr().out


def test_the_teacher_in_the_questions_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (block for block in read_blocks((DOCS / "faq.md").read_text()) if "`teacher.py`" in block.lead)
    (tiny,) = (block for block in read_blocks((DOCS / "tutorial.md").read_text()) if "`tiny.yaml`" in block.lead)
    (tmp_path / "teacher.py").write_text(block.text)
    (tmp_path / "tiny.yaml").write_text(tiny.text)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--plugin", "./teacher.py", "tiny.yaml", "rounds.source.steps=2", "rounds.adapt.steps=2", "tensorboard=false"]) == 0
    assert re.search(r"adapt 2/2 .* teacher \d", capsys.readouterr().err)
    assert main(["plugins", "check", "./teacher.py", "tiny.yaml"]) == 0, capsys.readouterr().out
