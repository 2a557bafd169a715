"""Imports go one way, and what must be quick does not wait for torch."""

from __future__ import annotations

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import udacore
from udacore.cli import COMMANDS

CORE = Path(udacore.__file__).parent
PLUGINS = CORE.parent / "plugins"
ROWS = (
    ("", "api", "datasets", "deprecation", "errors", "exhaustion", "files", "options", "interface", "places", "ranks"),
    ("hookspecs", "config", "labels", "losses", "metrics", "schedules", "thresholds"),
    ("models", "data", "inference"),
    ("source_only", "plugins", "methods", "pseudo_labels"),
    ("engine",),
    ("cli", "testing", "__main__"),
)
ROW = {unit: number for number, units in enumerate(ROWS, start=1) for unit in units}
MODULES = {
    ".".join(path.relative_to(CORE.parent).with_suffix("").parts).removesuffix(".__init__"): path for path in sorted(CORE.rglob("*.py"))
}
QUICK = ["udacore.plugins", *(name for name in MODULES if name.startswith(("udacore.config", "udacore.cli")))]


def unit(module: str) -> str:
    """`udacore.labels` belongs to `data`; the package itself is ''."""
    return (*module.split("."), "")[1]


@functools.cache
def imported(path: Path) -> tuple[str, ...]:
    """Modules of the core that a file imports, anywhere in it, except for annotations only."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "udacore")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if str(node.module).partition(".")[0] == "udacore":
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (name if name in MODULES else str(node.module) for name in inner)


def test_every_module_has_a_row() -> None:
    assert {unit(module) for module in MODULES} <= set(ROW)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_own_row_or_above(module: str) -> None:
    below = [name for name in imported(MODULES[module]) if ROW[unit(name)] > ROW[unit(module)]]
    assert below == []


def test_no_module_imports_itself_in_a_circle() -> None:
    # `udacore.x` from `udacore` alone is what the package's own __init__ offers, which imports
    # nothing that imports it.
    graph = {module: {name for name in imported(path) if name not in (module, "udacore")} for module, path in MODULES.items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(MODULES)


def test_plugins_import_public_rows_only_and_the_core_imports_no_plugin() -> None:
    files = list(PLUGINS.glob("*/udacore_*/**/*.py"))
    assert files
    for path in files:
        assert [name for name in imported(path) if ROW[unit(name)] > 4] == [], path
    assert not [path for path in MODULES.values() if "import udacore_" in path.read_text() or "from udacore_" in path.read_text()]


def test_neither_plugins_nor_their_tests_import_the_engine_the_command_line_or_this_repository() -> None:
    files = [*PLUGINS.glob("*/udacore_*/**/*.py"), *PLUGINS.glob("*/tests/*.py"), *PLUGINS.parent.glob("examples/*/*/*.py")]
    assert {path.parent.name for path in files} >= {"tests", "udacore_clp", "udacore_daformer_lite"}
    for path in files:
        assert [name for name in imported(path) if unit(name) in ("engine", "cli")] == [], path
        assert ".parents[" not in path.read_text(), f"{path}: a plugin's folder must work where the repository is not"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_configuration_plugins_and_commands_do_without_torch() -> None:
    heavy = "{'torch', 'torchvision', 'cv2', 'numpy', 'tensorboardX'}"
    result = run("-c", f"import sys, {', '.join(QUICK)}; print(sorted({heavy} & set(sys.modules)))")
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")


def test_help_lists_the_commands_and_imports_nothing_slow() -> None:
    code = "import sys; from udacore.cli import main; main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    result = run("-c", code)
    listed = [line.split()[0] for line in result.stdout.partition("Commands:")[2].splitlines() if line.strip()]
    assert listed == list(COMMANDS)
    loaded = set(ast.literal_eval(result.stderr.splitlines()[-1]))
    assert "click" in loaded
    assert not loaded & {"torch", "torchvision", "numpy", "cv2", "PIL", "tensorboardX", "udacore.engine", "udacore.data"}
