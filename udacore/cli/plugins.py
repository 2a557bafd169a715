"""`uda plugins`: which methods are installed, what one offers, whether one keeps the contract."""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import click

from udacore.discovery import list_plugins, load_plugin


@click.group()
def plugins() -> None:
    """Look at methods: installed ones, or a Python file.

    \b
    Example:
      uda plugins list
      uda plugins show source-only
      uda plugins check ./my_method.py
    """


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
def list_(as_json: bool) -> None:
    """List the installed methods. Reads metadata and imports none of them.

    \b
    Example:
      uda plugins list --json
    """
    found = list_plugins()
    if as_json:
        click.echo(json.dumps([attrs.asdict(plugin) for plugin in found], indent=2))
        return
    rows = [("NAME", "VERSION", "DISTRIBUTION", "MODULE")]
    for plugin in found:
        mark = "  (name claimed twice)" if plugin.duplicate else ""
        rows.append((plugin.name, plugin.version, plugin.distribution, plugin.module + mark))
    _print_table(rows)


@plugins.command()
@click.argument("name", metavar="NAME|FILE")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of text.")
def show(name: str, as_json: bool) -> None:
    """Show what a method is, and its hooks, settings and presets.

    \b
    Example:
      uda plugins show source-only
    """
    from udacore.config.describe import settings_table
    from udacore.config.files import list_presets
    from udacore.plugins import hooks_of

    method = load_plugin(name)
    about = {
        "name": method.name,
        "distribution": method.distribution,
        "version": method.version,
        "origin": method.origin,
        "doc": inspect.getdoc(method.module) or "",
        "hooks": list(hooks_of(method)),
        "settings": [attrs.asdict(row) for row in settings_table(method.settings)],
        "presets": list_presets(method.package) if method.package else [],
    }
    click.echo(json.dumps(about, indent=2) if as_json else _text(about))


@plugins.command()
@click.argument("name", metavar="NAME|FILE")
def check(name: str) -> None:
    """Check that a method loads and keeps the contract of the hooks.

    Trains nothing. Exit code 4 if a check fails.

    \b
    Example:
      uda plugins check ./my_method.py
    """
    from udacore.plugins import check_plugin

    results = check_plugin(name)
    _print_table([("ok" if result.ok else "FAILED", result.check, result.message) for result in results])
    if not all(result.ok for result in results):
        click.get_current_context().exit(4)


@plugins.command()
@click.argument("name", required=False)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=".", help="Where udacore-NAME is made.  [default: here]")
@click.option("--license", "license_", default="MIT", metavar="SPDX", help="Licence of the package, MIT if not given.")
@click.option("--author", help="Who holds the rights.  [default: the udacore-NAME authors]")
@click.option("--from", "file", type=click.Path(path_type=Path), help="A method in one Python file: its code goes into the package.")
def new(name: str | None, folder: Path, license_: str, author: str | None, file: Path | None) -> None:
    """Write a complete package for a new method: settings, all hooks,
    presets, tests, CI. It trains and passes its own tests as it is.

    Licences: MIT, BSD-3-Clause, Apache-2.0, MPL-2.0, GPL-3.0-or-later.

    \b
    Example:
      uda plugins new my-method
      uda plugins new my-method --license Apache-2.0 --author "Ada Lovelace"
      uda plugins new my-method --from my_method.py
    """
    from udacore.cli.scaffold import Request, write_package

    if name is None and file is None:
        raise click.UsageError("give the method a name, such as: uda plugins new my-method")
    name = name or str(file.stem if file else "").replace("_", "-")
    request = Request(name=name, license=license_, author=author, file=file)
    for path in write_package(request, folder):
        click.echo(folder / path)
    place = folder / request.distribution
    click.echo(f"next: cd {shlex.quote(str(place))} && pip install -e '.[dev]' && pytest && uda run --plugin {name}", err=True)


def _text(about: dict[str, Any]) -> str:
    lines = [f"{about['name']}: {about['origin']}", ""]
    if about["doc"]:
        lines += [about["doc"], ""]
    lines.append(f"Hooks: {', '.join(about['hooks']) or 'none'}")
    lines.append(f"Presets: {', '.join(about['presets']) or 'none'}")
    lines.append("Settings (write method.NAME=VALUE):" if about["settings"] else "Settings: none")
    for row in about["settings"]:
        lines += [f"  {row['name']}: {row['default']}  ({row['type']})", f"      {row['help']}"]
    return "\n".join(lines)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their longest entry; the last one runs free."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
