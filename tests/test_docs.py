"""The documentation builds without a warning, misses no hook, setting, command or option, and mentions
none that does not exist."""

from __future__ import annotations

import html
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from udacore import ConfigError, hookspecs
from udacore.config.describe import Setting, settings_table
from udacore.config.schema import Config, RoundConfig
from udacore.methods.discovery import load_plugin
from udacore.plugins import hook_names

sys.path.append(str(Path(__file__).resolve().parent))

import docs_commands
import docs_pages
import public_api

sys.path.append(str(Path(__file__).resolve().parent.parent / "docs" / "_ext"))

import uda_architecture
import uda_formulas
import uda_layouts
import uda_results

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PLUGINS = ("source-only", *sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml") if "udacore.plugins" in path.read_text()))
COMMANDS = docs_commands.all_commands()
SETTINGS = [row for row in settings_table(Config) if not row.name.startswith("rounds.")] + settings_table(RoundConfig)
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]
LINES = [(str(page.relative_to(ROOT)), line) for page in PAGES for line in docs_commands.find_lines(page.read_text())]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages."""
    out = tmp_path_factory.mktemp("site")
    words = ["-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(out / "doctrees"), str(DOCS), str(out / "html")]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / "html"


def read_text(page: Path) -> str:
    """What a reader of a page sees, spaces and line ends made one."""
    article = re.search(r'<article role="main"[^>]*>(.*)</article>', page.read_text(), re.DOTALL)
    assert article is not None
    return simplify(html.unescape(re.sub(r"<[^>]+>", "", article[1])))


def simplify(text: str) -> str:
    """Text without backticks, each run of spaces as one."""
    return " ".join(text.replace("`", "").split())


def entries(page: Path) -> set[str]:
    """The names that have an entry of their own on a page, each as it is written there."""
    terms = re.findall(r"<dt\b[^>]*>(.*?)</dt>", page.read_text(), re.DOTALL)
    return {html.unescape(re.sub(r"<[^>]+>", "", term)).strip().removesuffix("¶").strip() for term in terms}


def test_every_hook_is_told_with_its_arguments(site: Path) -> None:
    told = entries(site / "reference/hooks.html")
    text = read_text(site / "reference/hooks.html")
    assert hook_names()
    for hook in hook_names():
        function = getattr(hookspecs, hook)
        arguments = inspect.signature(function).parameters
        assert f"{hook}({', '.join(arguments)})" in told
        assert all(f"{argument.name}: {argument.annotation}" in text for argument in arguments.values())
        assert simplify(str(inspect.getdoc(function)).split("\n\n")[0]) in text


def told_with(row: Setting, text: str) -> bool:
    """Whether the help of a setting stands on a page."""
    return simplify(row.help) in text


def test_every_setting_is_told_with_its_help(site: Path) -> None:
    page = site / "reference/settings.html"
    told, text = entries(page), read_text(page)
    assert not [row.name for row in SETTINGS if row.name not in told]
    assert not [row.name for row in SETTINGS if not told_with(row, text)]
    assert len(SETTINGS) > 100


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_method_has_a_page_with_all_its_settings(plugin: str, site: Path) -> None:
    page = site / f"methods/{plugin}.html"
    rows = settings_table(load_plugin(plugin).settings, "method")
    told, text = entries(page), read_text(page)
    assert not [row.name for row in rows if row.name not in told or not told_with(row, text)]


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_is_told_with_its_options(path: tuple[str, ...], site: Path) -> None:
    text = (site / "reference/commands.html").read_text()
    assert f'id="command-{"-".join(path[1:])}"'.replace("command--", "command-") in text or path == ("uda",)
    name = "-".join(path)
    for option in COMMANDS[path].params:
        if isinstance(option, click.Option) and not option.hidden:
            assert all(f'id="cmdoption-{name}-{word.lstrip("-")}"' in text or f'id="cmdoption-{name}{word}"' in text for word in option.opts), option.opts


@pytest.mark.parametrize("module", [name for name in public_api.MODULES if name not in ("udacore", "udacore.hookspecs")])
def test_every_public_function_and_class_is_told(module: str, site: Path) -> None:
    text = (site / "reference/api.html").read_text()
    found = importlib.import_module(module)
    own = {name: getattr(found, name) for name in public_api.public_names(found)}
    names = [name for name, value in own.items() if inspect.isroutine(value) or inspect.isclass(value)]
    assert names
    assert not [name for name in names if f'id="{module}.{name}"' not in text]


def test_a_section_that_a_docstring_cites_is_a_link(site: Path) -> None:
    text = (site / "reference/api.html").read_text()
    assert re.search(r'href="\.\./algorithms/proca\.html#cross-entropy">(<[^>]+>)*5\.1<', text)
    assert "algorithms/proca 5.1" not in text


def test_the_pages_mention_commands() -> None:
    assert len(LINES) > 40


@pytest.mark.parametrize(("page", "line"), LINES)
def test_every_command_that_is_shown_exists(page: str, line: str) -> None:
    docs_commands.check_line(line)


EXAMPLES = [(" ".join(path), line) for path, command in COMMANDS.items() for line in docs_commands.find_examples(command.help or "")]


@pytest.mark.parametrize(("command", "line"), EXAMPLES)
def test_every_example_in_a_help_text_exists(command: str, line: str) -> None:
    docs_commands.check_line(line)


@pytest.mark.parametrize(
    "line",
    [
        "uda rum --plugin proca",
        "uda run --plugins proca",
        "uda run --plugin proca streets rounds.adopt.steps=1",
        "uda run --plugin proca no-preset",
        "uda eval runs/a evaluate.target.flop=true",
        "uda run --plugin fada mine.yaml batchs=4",
        "uda run --plugin fada mine.yaml method.tau=4",
        "uda plugins remove fada",
        "torchrun --nproc-per-node=2 -m udacore run --round-trip",
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        docs_commands.check_line(line)
    assert not isinstance(caught.value, KeyError | IndexError | TypeError)


FENCED = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
YAML = [(str(page.relative_to(DOCS)), text) for page in sorted(DOCS.rglob("*.md")) for text in FENCED.findall(page.read_text())]


@pytest.mark.parametrize(("page", "text"), YAML)
def test_every_setting_in_a_file_that_is_shown_exists(page: str, text: str) -> None:
    docs_commands.check_file(text)


def test_a_setting_that_does_not_exist_is_found() -> None:
    for wrong in ("batchs: 4", "rounds: {adapt: {steps: 1, weight: previous}}", "source: {rooot: x}"):
        with pytest.raises(ValueError, match="no setting"):
            docs_commands.check_file(wrong)


def test_the_map_of_the_code_has_a_line_for_each_file() -> None:
    assert uda_architecture.update(uda_architecture.PAGE.read_text()) == uda_architecture.PAGE.read_text()


def test_the_page_on_the_code_names_files_and_rows_that_exist() -> None:
    text = uda_architecture.PAGE.read_text()
    before = text[: text.index("<!-- begin: files -->")]
    core = ROOT / "udacore"
    named = [name.removeprefix("udacore/") for name in re.findall(r"`([\w/]+(?:\.py|/))`", before) if not name.startswith(("tests/", "docs/"))]
    assert len(named) > 20
    assert [name for name in named if not (core / name).exists()] == []
    rows = [set(re.findall(r"`(\w+)`", row.split("|")[2])) for row in re.findall(r"^\| \d \|.*$", before, re.MULTILINE)]
    units = {path.stem for path in core.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} - {"__init__"}
    assert set().union(*rows) == units


FAULTY = """<!doctype html><html><head><link rel="stylesheet" href="https://styles.example/x.css">
<style>pre { overflow: hidden; width: 200px } h1, h2 { font-size: 20px }</style></head><body><article><h1>A</h1><h2>B</h2><h2>B</h2>
<p>Here $$x$$ is</p><span class="formula">\\frac{1}{2}</span><img src="nothing.png"><img src="https://pictures.example/y.png">
<pre>WIDE</pre><div style="width: 2000px">wide</div><div class="toctree-wrapper"><ul><li>x</li></ul></div>
<script>let r = new XMLHttpRequest();  // ends before the page is judged
r.open("GET", "https://data.example/z", false); try { r.send() } catch {}</script></article></body></html>""".replace("WIDE", "long " * 60)


def problems_of(site: Path) -> list[str]:
    """Where there is a Chromium, what it shows is judged too."""
    return docs_pages.problems_in_text(site) + (docs_pages.problems_in_browser(site) if docs_pages.BROWSER else [])


def test_pages_need_no_network_and_show_formulas_images_headings_and_bars_at_two_widths(site: Path) -> None:
    assert not problems_of(site)


def test_a_fault_of_a_page_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(FAULTY)
    text = docs_pages.problems_in_text(tmp_path)
    for words in ("styles.example", "nothing.png is missing", "pictures.example", "not rendered", "table of contents", "2 headings"):
        assert any(words in problem for problem in text), words
    seen = problems_of(tmp_path)[len(text) :]
    wanted = ("styles.example", "nothing.png is missing", "data.example", "not rendered", "table of contents", "look alike", "too wide", "no bar")
    for width in docs_pages.WIDTHS if docs_pages.BROWSER else ():
        for words in wanted:
            assert any(f"at {width}" in problem and words in problem for problem in seen), (words, width)


def test_two_pages_of_one_name_are_found(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.html").write_text("<article><h1>Rounds</h1></article>")
    assert docs_pages.problems_in_text(tmp_path) == ["2 pages are called 'Rounds'"]


def test_the_landing_page_has_images_and_the_table_of_results(site: Path) -> None:
    text = (site / "index.html").read_text()
    assert len(re.findall(r"<img\b[^>]*src=\"_images/", text)) == 2
    shown = simplify(read_text(site / "index.html").replace("\u00a0", " "))
    summary = uda_results.render_summary()
    assert summary in (ROOT / "README.md").read_text()
    for row in summary.splitlines()[2:]:
        assert simplify(row.replace("|", " ")) in shown


def test_every_formula_of_the_sources_is_drawn(site: Path) -> None:
    drawn = {page: page.read_text().count('class="formula"') for page in site.rglob("*.html")}
    assert sum(drawn.values()) > 300
    with pytest.raises(ValueError, match="Undefined control sequence"):
        uda_formulas.to_svg(r"\nonsense{x}", False)


LAYOUTS = uda_layouts.shipped_layouts()


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_every_layout_of_released_files_has_a_page_with_all_keys(name: str, site: Path) -> None:
    shown = read_text(site / f"layouts/{name}.html")
    for rules in LAYOUTS[name].layout.parts.values():
        assert all(before in shown and after in shown for before, after in rules.items())
    for lists in uda_layouts.LISTS[name].values():
        for entry, path in lists.items():
            for key, _, _ in uda_layouts.read_list(path):
                shape = re.escape(entry + key)
                assert re.search(re.sub(r"(?<=\.)\d+(?=\\)", r"(\\d+|\\{[\\d.,]+\\})", shape), shown), key


def test_every_page_of_a_layout_belongs_to_one() -> None:
    assert {path.stem for path in DOCS.glob("layouts/*.md")} == set(LAYOUTS) == set(uda_layouts.LISTS)


def test_a_key_that_a_layout_does_not_know_is_an_error() -> None:
    with pytest.raises(ConfigError, match="does not know"):
        list(uda_layouts.convert(LAYOUTS["fada"].layout, {"classifier.other.weight": (1,)}))
