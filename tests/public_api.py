"""What is public, one name a line: `python tests/public_api.py` prints it,
`--write` puts it into public_api.txt.

The file is the public interface of the version that its first line names. What differs from it must stand by
name in the newest section of CHANGELOG.md, in a line that was not there when the file was written (its second
line remembers them: a word that a release's own section happens to hold says nothing of a later change); else
it is not written, and the test that compares both fails.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click

import udacore
from udacore.cli import COMMANDS, uda
from udacore.config.describe import settings_table
from udacore.config.files import list_presets
from udacore.config.schema import Config
from udacore.methods.catalogue import Entry
from udacore.testing import pytest_plugin

MODULES = (
    *("udacore", "udacore.deprecation", "udacore.errors", "udacore.files", "udacore.options", "udacore.interface", "udacore.hookspecs", "udacore.ranks"),
    *("udacore.losses", "udacore.thresholds", "udacore.metrics", "udacore.inference", "udacore.pseudo_labels", "udacore.models"),
    *("udacore.labels", "udacore.datasets", "udacore.schedules"),
    *("udacore.testing", "udacore.testing.golden", "udacore.testing.runs", "udacore.testing.steps"),
)
SNAPSHOT = Path(__file__).with_name("public_api.txt")
CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"


def collect() -> list[str]:
    """The public interface, sorted: Python names with signatures, settings with types and
    defaults, commands with options."""
    lines = [line for module in MODULES for line in _module(importlib.import_module(module))]
    lines += [f"setting {row.name} ({row.type}) = {row.default}" for row in settings_table(Config)]
    lines += _fixtures()
    lines += [f"preset {name}" for name in list_presets("udacore")]
    lines += [f"uda plugins list --json {field.name}" for field in attrs.fields(Entry)]
    lines += [line for name in COMMANDS for line in _command(f"uda {name}", uda.get_command(click.Context(uda), name))]
    return sorted(set(lines))


def _fixtures() -> list[str]:
    """The fixtures for tests of methods, and what the one that is called takes and gives."""
    tree = ast.parse(inspect.getsource(pytest_plugin))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = [node.name for node in functions if "pytest.fixture" in [ast.unparse(mark) for mark in node.decorator_list]]
    outcome = [f"fixture run_uda() {line.rpartition('.')[2]}" for line in _class("Outcome", pytest_plugin.Outcome)][1:]
    return [f"fixture {name}" for name in names] + [f"fixture run_uda{_signature(pytest_plugin.RunUda.__call__)}", *outcome]


def _module(module: ModuleType) -> Iterator[str]:
    for name in public_names(module):
        path, value = f"{module.__name__}.{name}", getattr(module, name)
        home = getattr(value, "__module__", module.__name__)
        yield from [path] if home in MODULES and home != module.__name__ else _name(path, value)


def public_names(module: ModuleType) -> list[str]:
    """What `__all__` lists, else the classes and functions defined in the module and its constants."""
    if hasattr(module, "__all__"):
        return sorted(name for name in module.__all__ if not name.startswith("__"))
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__ or name.isupper()]
    return sorted(name for name in own if not name.startswith("_"))


def _name(path: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield from _class(path, value)
    elif inspect.isroutine(value):
        yield f"{path}{_signature(value)}"
    elif isinstance(value, str | int | float | bool | None) or path.isupper():
        yield f"{path} = {value!r}"
    else:
        yield path


def _class(path: str, cls: type) -> Iterator[str]:
    """A class with its fields, or what it is built with, and the public methods and properties written
    in it; nothing inherited."""
    if attrs.has(cls):
        yield path
        for field in attrs.fields(cls):
            yield f"{path}.{field.name}: {_text(field.type)}{_default(field)}"
    elif "__init__" in vars(cls) and not getattr(cls, "_is_protocol", False):
        yield f"{path}{_signature(cls)}"
    else:
        yield path
        yield from (f"{path}.{name}: {_text(kind)}" for name, kind in vars(cls).get("__annotations__", {}).items() if name[0] != "_")
    for name, member in vars(cls).items():
        function = getattr(member, "__func__", member)
        if name.startswith("_") or (attrs.has(cls) and name in attrs.fields_dict(cls)):
            continue
        if isinstance(member, property):
            yield f"{path}.{name}"
        elif inspect.isfunction(function):
            yield f"{path}.{name}{_signature(function)}"


def _default(field: attrs.Attribute[Any]) -> str:
    if field.default is attrs.NOTHING:
        return ""
    return " = made" if isinstance(field.default, attrs.Factory) else f" = {field.default!r}"  # type: ignore[arg-type]


def _signature(function: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(function))).replace("'", "")


def _text(kind: Any) -> str:
    return kind if isinstance(kind, str) else inspect.formatannotation(kind)


def _command(path: str, command: click.Command | None) -> Iterator[str]:
    assert command is not None
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _command(f"{path} {name}", inner)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (f"{path} {option}" for option in parameter.opts if option.startswith("--"))


def read_snapshot() -> tuple[str, list[str], frozenset[str]]:
    """The version that the file is of, its lines, and the digests of the lines that the changelog's
    newest section had then."""
    first, second, *lines = SNAPSHOT.read_text(encoding="utf-8").splitlines()
    return first.removeprefix("# udacore "), lines, frozenset(second.removeprefix("# told").split())


def newest_section(changelog: str) -> list[str]:
    """Its lines."""
    return re.split(r"^## ", changelog, flags=re.MULTILINE)[1].splitlines()


def digest(line: str) -> str:
    """A few letters for a line of the changelog."""
    return hashlib.sha256(line.strip().encode()).hexdigest()[:8]


def differences(before: Sequence[str], now: Sequence[str]) -> dict[str, list[str]]:
    """Name -> its lines that came (+) and went (-). A name is the last word of a path:
    `entropy`, `weight`, `--resume`."""
    found: dict[str, list[str]] = {}
    for sign, lines, others in (("-", before, set(now)), ("+", now, set(before))):
        for line in lines:
            if line not in others:
                found.setdefault(name_of(line), []).append(f"{sign} {line}")
    return found


def name_of(line: str) -> str:
    """`udacore.losses.entropy(...) -> Tensor` is `entropy`."""
    path = re.split(r" \(|\(|: | = ", line)[0]
    return path.split(" ")[-1] if path.startswith(("uda ", "fixture ", "preset ")) else path.split(" ")[-1].rpartition(".")[2]


def unmentioned(names: Iterable[str], changelog: str, told: Collection[str] = ()) -> list[str]:
    """Names that the newest section of the changelog does not have as a word, in a line whose
    digest is not in `told`."""
    newest = "\n".join(line for line in newest_section(changelog) if digest(line) not in told)
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", newest)]


def write() -> int:
    """Bring the file up to date, unless the changelog is silent about a change."""
    now, changelog = collect(), CHANGELOG.read_text(encoding="utf-8")
    if SNAPSHOT.exists():
        _, before, told = read_snapshot()
        changed = differences(before, now)
        silent = unmentioned(changed, changelog, told)
        if silent:
            print(f"not written: the newest section of {CHANGELOG.name} does not mention {', '.join(silent)}", file=sys.stderr)
            return 1
    told = " ".join(["# told", *(digest(line) for line in newest_section(changelog) if line.strip())])
    SNAPSHOT.write_text("\n".join([f"# udacore {udacore.__version__}", told, *now]) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        sys.exit(write())
    print("\n".join(collect()))
