"""`uda plugins new`: a complete package for a new method, from templates or from a method in one file.

Templates are `string.Template` texts. What is written from templates alone passes its own
tests, ruff and mypy as it is.
"""

from __future__ import annotations

import datetime
import importlib.util
import inspect
import json
import re
import shutil
import tempfile
import unicodedata
from importlib import metadata, resources
from pathlib import Path
from string import Template

import attrs

from udacore.deprecation import UDACORE_API
from udacore.errors import ConfigError
from udacore.files import write_bytes
from udacore.methods.beside import list_beside
from udacore.methods.discovery import Method, list_plugins, load_plugin

HOME = "https://github.com/udacore/udacore"
FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "LICENSE": "other-license",
    ".gitignore": "gitignore",
    ".github/workflows/test.yml": "test.yml",
    "{module}/__init__.py": "method.py",
    "{module}/presets/streets.yaml": "streets.yaml",
    "{module}/presets/gta5-cityscapes.yaml": "gta5-cityscapes.yaml",
    "tests/conftest.py": "conftest.py",
    "tests/test_contract.py": "test_contract.py",
    "tests/test_method.py": "test_method.py",
}
"""What is written -> its template."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_NAME = 100
"""Characters of a method's name: folders and wheels that carry it have names of at most 255."""

_API_LINE = f"UDACORE_API = {UDACORE_API}  # the version of the hooks that this is written for\n"


@attrs.frozen(kw_only=True)
class Request:
    """What a new package is to be.

    name     what `--plugin` will take; small letters, digits and single hyphens
    license  its name, or an expression of names, as SPDX writes it
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

    Everything or nothing: the folder appears when it is complete. Raises ConfigError for a name of a bad
    form, one that is taken by an installed plugin or by a folder, for a licence that SPDX does not know, an
    author's name of more than one line, and a `file` that imports what lies beside it; what is wrong with its
    method is a PluginError.
    """
    check_name(request.name)
    folder = parent / request.distribution
    if folder.exists():
        raise ConfigError(f"{folder} exists; choose another name or another --folder")
    if request.author is not None and not request.author.isprintable():
        raise ConfigError(f"the author's name must be one line, got {request.author!r}")
    contents = _contents(request)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{request.distribution}-", dir=parent))
    except OSError as error:
        raise ConfigError(f"nothing can be written into {parent}: {error.strerror}") from None
    try:
        building.chmod(0o755)
        for path, content in contents.items():
            write_bytes(building / path, content)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return [folder.relative_to(parent) / path for path in contents]


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
    """The range of cores that a package made with this one states: from this minor version,
    below the next major one.

    >>> core_range("0.3.1")
    '>=0.3,<1'
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{major + 1}"


def _contents(request: Request) -> dict[str, bytes]:
    """What is written -> its content."""
    words = _words(request)
    templates = FILES | ({"LICENSE": "MIT"} if words["license"] == "MIT" else {})
    contents = {path.format(**words): _template(name).substitute(words).encode() for path, name in templates.items()}
    contents[f"{request.module}/py.typed"] = b""
    if request.file is not None:
        del contents["tests/test_method.py"]  # the tests of a method that was one file are the contract
        contents[f"{request.module}/__init__.py"] = _code(request.file)
    return contents


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
        "license": _license(request.license),
        "author": author,
        "author_toml": json.dumps(author, ensure_ascii=False),
        "description": json.dumps(f"{title}, as a plugin of udacore", ensure_ascii=False),
        "year": str(datetime.date.today().year),
        "home": HOME,
        "core_range": core_range(metadata.version("udacore")),
        "api": str(UDACORE_API),
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


def _license(name: str) -> str:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return canonicalize_license_expression(name)
    except InvalidLicenseExpression as error:
        raise ConfigError(f"--license takes the name of a licence as SPDX writes it, such as Apache-2.0: {error}") from None


def _load(file: Path) -> Method:
    return load_plugin(file.as_posix() if "/" in file.as_posix() else f"./{file.as_posix()}")


def _code(file: Path) -> bytes:
    """The file as it is, with the version of the hooks where it states none."""
    code = file.read_bytes()
    return code if hasattr(_load(file).module, "UDACORE_API") else code + b"\n\n" + _API_LINE.encode()


def _words_from(file: Path) -> dict[str, str]:
    """What a method in one file says for itself. Raises PluginError as a run with it would."""
    from udacore.plugins import build_hooks, hook_names, hooks_of

    method = _load(file)
    build_hooks(method)
    for name in list_beside(file.resolve().parent):
        raise ConfigError(f"{file} imports {name}, which lies beside it; --from takes over one file: put what it needs into it")
    own = hooks_of(method)
    return {
        "summary": (inspect.getdoc(method.module) or f"From {file.name}.").partition("\n\n")[0],
        "settings": _settings(method),
        "implemented": "\n".join(f"| `{hook}` | {'yes' if hook in own else 'no: what the core does'} |" for hook in hook_names()),
        "ruff_rules": '"E9", "F63", "F7", "F82"',  # what cannot work; an import too many is no reason for a red mark
        "mypy_rules": "check_untyped_defs = true\nignore_missing_imports = true\ndisable_error_code = [\"no-redef\"]",
    }


def _settings(method: Method) -> str:
    from udacore.config.describe import settings_table

    cells = [[cell.replace("|", r"\|") for cell in (row.name, row.default, row.help)] for row in settings_table(method.settings)]
    rows = [f"| `{name}` | {default} | {help} |" for name, default, help in cells]
    return "\n".join(["| setting | default | |", "|---|---|---|", *rows]) if rows else "None."
