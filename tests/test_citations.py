"""Every section of docs/algorithms that a file names exists, and its pages are numbered without gaps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = {path.stem: path for path in sorted((ROOT / "docs" / "algorithms").glob("*.md")) if path.stem != "index"}
SUFFIXES = (".py", ".yaml", ".md", ".txt", ".toml", ".css", ".tmpl")
FOLDERS = ("udacore", "plugins", "tests", "docs", "examples", "benchmarks", ".ci", ".github")
LEFT_OUT = {"_build", "__pycache__", ".venv", "build", "dist"}

HEADING = re.compile(r"^(?:##|###) (\d+(?:\.\d+)?) \S", re.MULTILINE)
NUMBER = r"\d+(?:\.\d+)?"
NUMBERS = rf"{NUMBER}(?:(?:, | and | to ){NUMBER})*"
CITATION = re.compile(rf"(?<![/\w])(?<!\{{doc\}}`)algorithms/(?!index\b)([a-z-]+)\b(?!\.md)(?: ({NUMBERS}))?")
"""`algorithms/clp 5.2, 5.3`: a page, and its sections on the same line. A path such as
docs/algorithms/clp.md is none, nor a link to the page."""
BETWEEN_PAGES = re.compile(rf"\{{doc\}}`(?:\.\./algorithms/)?([a-z]+)`\s({NUMBERS})")
WITHIN_PAGE = re.compile(rf"(?<!\w)\(({NUMBER})\)")
OLD = re.compile(r"\bspec[ /](?:bdl|clp|datasets|demo-domains|fada|proca|pycda)\b")
FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`", re.DOTALL)


def read_sections(text: str) -> list[str]:
    """The numbers of a page's headings, in its order."""
    return HEADING.findall(text)


SECTIONS = {page: read_sections(path.read_text(encoding="utf-8")) for page, path in PAGES.items()}


def find_problems(text: str) -> list[str]:
    """The citations of a text that name no page, no section of it, or one that does not exist."""
    problems = []
    for found in CITATION.finditer(text):
        page, numbers = found.groups()
        if page not in SECTIONS:
            problems.append(f"{found[0]}: no page {page!r}")
        elif numbers is None:
            problems.append(f"{found[0]}: no section is named")
        else:
            problems += [f"{found[0]}: no section {number}" for number in re.findall(NUMBER, numbers) if number not in SECTIONS[page]]
    return problems


def text_files() -> Iterator[Path]:
    """Files that may hold citations."""
    for folder in (ROOT / name for name in FOLDERS):
        for path in sorted(folder.rglob("*")):
            inside = set(path.relative_to(ROOT).parts)
            if path.suffix in SUFFIXES and path != Path(__file__) and not inside & LEFT_OUT and path.is_file():
                yield path
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "pyproject.toml"))


TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in text_files()}


def test_every_citation_names_a_section_that_exists() -> None:
    problems = [f"{name}: {problem}" for name, text in TEXTS.items() for problem in find_problems(text)]
    assert problems == []
    assert sum(len(CITATION.findall(text)) for text in TEXTS.values()) > 100


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("(algorithms/clp 5.2)", 0),
        ("(algorithms/clp 5.2, 5.3, algorithms/bdl 7)", 0),
        ("algorithms/datasets 1 to 4 and more", 0),
        ("see docs/algorithms/clp.md", 0),
        ("see {doc}`algorithms/clp`", 0),
        ("(algorithms/clp 5.99)", 1),
        ("(algorithms/clp 5.2, 5.98 and 5.99)", 2),
        ("(algorithms/clop 5.2)", 1),
        ("# as algorithms/clp says", 1),
    ],
)
def test_a_citation_of_what_is_not_there_is_found(text: str, count: int) -> None:
    assert len(find_problems(text)) == count


def test_nothing_cites_a_text_outside_of_the_repository() -> None:
    assert [f"{name}: {found[0]}" for name, text in TEXTS.items() for found in OLD.finditer(text)] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_sections_of_a_page_are_numbered_without_gaps(page: str) -> None:
    chapter = part = 0
    for number in SECTIONS[page]:
        if "." in number:
            part += 1
        else:
            chapter, part = chapter + 1, 0
        assert number == (f"{chapter}.{part}" if part else f"{chapter}")
    assert chapter > 1


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_refer_to_sections_that_exist(page: str) -> None:
    text = PAGES[page].read_text(encoding="utf-8")
    assert [number for number in WITHIN_PAGE.findall(FORMULA.sub("", text)) if number not in SECTIONS[page]] == []
    wrong = []
    for other, numbers in BETWEEN_PAGES.findall(text):
        wrong += [f"{other} {number}" for number in re.findall(NUMBER, numbers) if number not in SECTIONS[other]]
    assert wrong == []


REGISTERED = [path.parent for path in ROOT.glob("plugins/*/pyproject.toml") if "udacore.plugins" in path.read_text()]
MANIFESTS = [folder / "tests/golden/manifest.json" for folder in sorted(REGISTERED)]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parts[-4])
def test_every_reference_vector_names_the_section_that_defines_it(path: Path) -> None:
    page = path.parts[-4]
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert {row["section"] for row in rows} <= set(SECTIONS[page])


TITLES = dict(re.findall(r"^## (\d+) (.*)$", PAGES["datasets"].read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("name", ["gta5", "synthia", "cityscapes"])
def test_a_data_set_cites_the_section_about_itself(name: str) -> None:
    first = (ROOT / "udacore" / "data" / "sets" / f"{name}.py").read_text().partition("\n")[0]
    (number,) = re.findall(r"algorithms/datasets (\d)", first)
    assert TITLES[number].lower() == name
