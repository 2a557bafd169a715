"""`uda plugins new`: a complete package for a new method, from templates or from a method in one file.

Templates are `string.Template` texts. What is written passes its own tests, ruff and mypy as it is.
"""

from __future__ import annotations

import ast
import datetime
import importlib.util
import json
import re
import shutil
import sys
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from importlib import metadata, resources
from pathlib import Path
from string import Template

import attrs

from udacore.deprecation import UDACORE_API
from udacore.errors import ConfigError, near_matches
from udacore.files import write_text
from udacore.methods.discovery import Method, list_plugins, load_plugin

HOME = "https://github.com/udacore/udacore"
LICENSES = ("MIT", "BSD-3-Clause", "Apache-2.0", "MPL-2.0", "GPL-3.0-or-later")
"""The licences whose text is at hand, by their SPDX names."""

FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "LICENSE": "licenses/{license}",
    ".gitignore": "gitignore",
    ".github/workflows/test.yml": "test.yml",
    "{module}/__init__.py": "method.py",
    "{module}/py.typed": None,
    "{module}/presets/streets.yaml": "streets.yaml",
    "{module}/presets/gta5-cityscapes.yaml": "gta5-cityscapes.yaml",
    "tests/conftest.py": "conftest.py",
    "tests/test_contract.py": "test_contract.py",
    "tests/test_method.py": "test_method.py",
}
"""What is written -> its template; None: an empty file."""

FILES_FROM_FILE = {**{path: name for path, name in FILES.items() if path != "tests/test_method.py"}, "{module}/__init__.py": "file.py"}
"""The same for a method that was one file: its tests are the contract."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_NAME = 100
"""Characters of a method's name: folders and wheels that carry it have names of at most 255."""

_CODING = re.compile(r"\A((?:.*\n)?[ \t\f]*#.*?coding[:=][ \t]*)[-\w.]+")
"""The line that says in what a file is written, one of the first two."""

_API_LINE = "UDACORE_API = {}  # the version of the hooks that this is written for; a core with another one says what to install\n"


@attrs.frozen(kw_only=True)
class Request:
    """What a new package is to be.

    name     what `--plugin` will take; small letters, digits and single hyphens
    license  one of LICENSES
    author   who holds the rights; None: "the NAME authors"
    file     a method in one file whose code the package takes over; None: the template's little method
    """

    name: str
    license: str = "MIT"
    author: str | None = None
    file: Path | None = None

    @property
    def distribution(self) -> str:
        """What pip installs."""
        return f"udacore-{self.name}"

    @property
    def module(self) -> str:
        """What Python imports."""
        return self.distribution.replace("-", "_")


def write_package(request: Request, parent: Path) -> list[Path]:
    """Write the package into `parent`/udacore-NAME and return its files, relative to `parent`.

    Everything or nothing: the folder appears when it is complete. Raises ConfigError for a name of a bad form, one that is
    taken by an installed plugin or by a folder, for an unknown licence and an author's name of more than one line; what
    is wrong with `file` is a PluginError or ConfigError.
    """
    check_name(request.name)
    folder = parent / request.distribution
    if folder.exists():
        raise ConfigError(f"{folder} exists; choose another name or another --folder")
    if request.license not in LICENSES:
        raise ConfigError(f"no text of the licence {request.license!r} is at hand{near_matches(request.license, LICENSES)}")
    if request.author is not None and not request.author.isprintable():
        raise ConfigError(f"the author's name must be one line, got {request.author!r}")
    words = _words(request)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{request.distribution}-", dir=parent))
    except OSError as error:
        raise ConfigError(f"nothing can be written into {parent}: {error.strerror}") from None
    try:
        building.chmod(0o755)
        written = [_write(building, path, template, request, words) for path, template in _files(request).items()]
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return [folder.relative_to(parent) / path for path in written]


def check_name(name: str) -> None:
    """Raise ConfigError if a method cannot have this name, or another one has it."""
    if len(name) > LONGEST_NAME:
        raise ConfigError(f"the name of a method has at most {LONGEST_NAME} characters, got {len(name)}")
    if not _NAME.fullmatch(name):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()  # letters without their accents
        simple = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", plain).lower()).strip("-").lstrip("0123456789-")
        said = f"a method cannot be called {name!r}: small letters, digits and single hyphens, a letter first"
        raise ConfigError(said + (f"; did you mean {simple!r}?" if _NAME.fullmatch(simple) else ""))
    if name.startswith("udacore-") or name == "udacore":
        raise ConfigError(f"a method is named without its prefix, got {name!r}; did you mean {name.removeprefix('udacore-')!r}?")
    for plugin in list_plugins():
        if plugin.name == name:
            raise ConfigError(f"the name {name!r} is taken by {plugin.distribution} {plugin.version}, which is installed; choose another")
    module = f"udacore_{name.replace('-', '_')}"
    if importlib.util.find_spec(module) is not None:
        raise ConfigError(f"the name {name!r} is taken: a module {module} can be imported; choose another")


def core_range(version: str) -> str:
    """The range of cores that a package made with this one states: from this minor version, below the next major one.

    >>> core_range("0.3.1")
    '>=0.3,<1'
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{major + 1}"


def _files(request: Request) -> Mapping[str, str | None]:
    return FILES if request.file is None else FILES_FROM_FILE


def _write(folder: Path, path: str, template: str | None, request: Request, words: Mapping[str, str]) -> Path:
    names = {"module": request.module, "license": request.license}
    place = Path(path.format(**names))
    text = "" if template is None else _template(template.format(**names)).substitute(words)
    if place.suffix == ".yaml":  # a word without value leaves its line empty
        text = re.sub(r"\n\n+", "\n", text)
    write_text(folder / place, text)
    return place


def _template(name: str) -> Template:
    return Template((resources.files("udacore.methods") / "templates" / f"{name}.tmpl").read_text(encoding="utf-8"))


def _words(request: Request) -> dict[str, str]:
    """What the templates leave open."""
    from udacore.config.describe import to_flow

    title = request.name.replace("-", " ").capitalize()
    author = request.author or f"the {request.distribution} authors"
    words = {
        "name": request.name,
        "name_yaml": to_flow(request.name),  # `null` and `on` are names, too
        "title": title,
        "distribution": request.distribution,
        "module": request.module,
        "license": request.license,
        "author": author,
        "author_toml": json.dumps(author, ensure_ascii=False),
        "description": json.dumps(f"{title}, as a plugin of udacore", ensure_ascii=False),
        "year": str(datetime.date.today().year),
        "home": HOME,
        "core_range": core_range(metadata.version("udacore")),
        "api": str(UDACORE_API),
        "requires": "",
        "parts": "",
        "ruff_rules": '"E", "F", "W", "I", "UP", "B"',
        "mypy_rules": "strict = true",
        "summary": "It asks the network to be certain on target images: the entropy of its predictions is a loss.",
        "settings": "| setting | default | |\n|---|---|---|\n| `weight` | 0.01 | weight of the entropy of the predictions on the target |",
        "implemented": "\n".join(
            (
                "| the entropy of the predictions on the target | yes; it stands here until your method does |",
                "| the network | the core's |",
                "| pseudo labels | the core's, where a round asks for some |",
                "| checkpoints of the authors | no |",
            )
        ),
    }
    return words if request.file is None else words | _words_from(request.file)


def _words_from(file: Path) -> dict[str, str]:
    """What a method in one file says for itself. Raises PluginError as a run with it would."""
    from udacore.plugins import build_hooks, hook_names, hooks_of

    method = load_plugin(file.as_posix() if "/" in file.as_posix() else f"./{file.as_posix()}")
    build_hooks(method)
    code = _CODING.sub(r"\1utf-8", importlib.util.decode_source(file.read_bytes()), count=1)  # whatever it was written in
    tree = ast.parse(code)
    _refuse_neighbours(file, tree)
    own = hooks_of(method)
    parts = "".join(f"\n  {part}: {{optimizer: Adam, lr: 1.0e-3}}   # a part with an optimiser of its own" for part in _parts(tree))
    states_api = hasattr(method.module, "UDACORE_API")
    words = {
        "requires": "".join(f", {json.dumps(name)}" for name in _requirements(tree)),
        "code": code if states_api else f"{code.rstrip()}\n\n{_API_LINE.format(UDACORE_API)}",
        "parts": f"parts:{parts}" if parts else "",
        "summary": (ast.get_docstring(tree) or f"From {file.name}.").partition("\n\n")[0],
        "settings": _settings(method),
        "implemented": "\n".join(f"| `{hook}` | {'yes' if hook in own else 'no: what the core does'} |" for hook in hook_names()),
        "ruff_rules": '"E9", "F63", "F7", "F82"',  # what cannot work; an import too many is no reason for a red mark
        "mypy_rules": "check_untyped_defs = true\nignore_missing_imports = true\ndisable_error_code = [\"no-redef\"]",
    }
    return words


def _settings(method: Method) -> str:
    from udacore.config.describe import settings_table

    cells = [[cell.replace("|", r"\|") for cell in (row.name, row.default, row.help)] for row in settings_table(method.settings)]
    rows = [f"| `{name}` | {default} | {help} |" for name, default, help in cells]
    return "\n".join(["| setting | default | |", "|---|---|---|", *rows]) if rows else "None."


def _refuse_neighbours(file: Path, tree: ast.Module) -> None:
    """One file is taken over: what it imports from beside itself would be missing."""
    for name in sorted(set(_imported(tree)) - set(sys.stdlib_module_names) - set(metadata.packages_distributions())):
        beside = file.parent / name
        if (file.parent / f"{name}.py").is_file() or (beside / "__init__.py").is_file():
            raise ConfigError(f"{file} imports {name}, which lies beside it; --from takes over one file: put what it needs into it")


def _imported(tree: ast.AST) -> Iterator[str]:
    """First words of all modules that a file imports, of `from . import x` the x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module.partition(".")[0]] if node.module else (alias.name for alias in node.names)


def _requirements(tree: ast.Module) -> list[str]:
    """Distributions that a file cannot do without and the core does not bring: not what it imports in a `try`."""
    optional = {name for node in ast.walk(tree) if isinstance(node, ast.Try) for line in node.body for name in _imported(line)}
    holders = metadata.packages_distributions()
    owners = {_normal(owner) for name in set(_imported(tree)) - optional for owner in holders.get(name, ())[:1]}
    brought = {_normal(re.split(r"[^\w.-]", text)[0]) for text in metadata.requires("udacore") or () if "extra ==" not in text}
    return sorted(owners - brought - {"udacore"})


def _normal(distribution: str) -> str:
    """The name by which pip compares distributions."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _parts(tree: ast.Module) -> list[str]:
    """Parts that a method names: the first half of a loss `part/name` that is also an attribute it sets on its model."""
    stored = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    if {"add_module", "setattr", "register_module"} & {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree)}:
        stored |= set(texts)
    return sorted({text.partition("/")[0] for text in texts if re.fullmatch(r"\w+/\w*", text)} & stored)
