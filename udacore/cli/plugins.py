"""`uda plugins`: list, show, check and create methods."""

from __future__ import annotations

import contextlib
import inspect
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import attrs
import click

from udacore.cli.arguments import split_words
from udacore.cli.words import FileWord, refuse_empty, say
from udacore.errors import ConfigError, UdaError, spell_out
from udacore.methods.catalogue import Entry, make_catalogue
from udacore.methods.discovery import Method, UnknownPluginError, list_plugins, load_plugin, look_up


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
@click.option("--check", "check_too", is_flag=True, help="Import each method too, and say which are broken.")
def list_(as_json: bool, check_too: bool) -> None:
    """List the installed methods, from the metadata of their distributions:
    none is imported. With --check each one is, which adds the version of the
    hooks that it is written for and the hooks that it implements.

    \b
    Example:
      uda plugins list --json
      uda plugins list --check
    """
    from udacore.metrics import align

    found = [_checked(entry) if check_too else entry for entry in make_catalogue()]
    if as_json:
        click.echo(json.dumps([attrs.asdict(entry) for entry in found], indent=2))
        return
    rows = [("NAME", "VERSION", "DISTRIBUTION", "MODULE", "CORES", "API", "STATE", "HOOKS")]
    for entry in found:
        api, hooks = entry.api or "-", "-" if entry.hooks is None else ", ".join(entry.hooks)
        line = entry.name, entry.version, entry.distribution, entry.module, entry.cores or "-", str(api), entry.state
        rows.append((*line, hooks))
    say(align(rows, right=False))


def _checked(entry: Entry) -> Entry:
    """The entry with what an import says of it."""
    from udacore.plugins import build_hooks, hooks_of

    try:
        method = _load(entry.name)
        build_hooks(method)
    except UdaError as error:
        return attrs.evolve(entry, state=f"broken: {error}")
    api = getattr(method.module, "UDACORE_API", None)
    origin = getattr(sys.modules[entry.module.partition(":")[0].strip()], "__file__", None)
    return attrs.evolve(entry, api=api, hooks=hooks_of(method), origin=origin, state="ok")


def _load(name: str) -> Method:
    """The method; what it prints when it is imported is no part of the answer."""
    with contextlib.redirect_stdout(sys.stderr):
        return load_plugin(name)


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
    from udacore.config.presets import list_presets
    from udacore.plugins import hooks_of

    method = _load(name)
    about = {
        "name": method.name,
        "distribution": method.distribution,
        "version": method.version,
        "origin": method.origin,
        "api": getattr(method.module, "UDACORE_API", None),
        "cores": next((plugin.cores for plugin in list_plugins() if plugin.name == method.name and method.distribution), ""),
        "doc": inspect.getdoc(method.module) or "",
        "hooks": list(hooks_of(method)),
        "settings": [attrs.asdict(row) for row in settings_table(method.settings)],
        "presets": list_presets(method.package) if method.package else [],
        "citation": inspect.cleandoc(str(getattr(method.module, "CITATION", ""))),
    }
    say(json.dumps(about, indent=2) if as_json else _text(about))


@plugins.command()
@click.argument("name", metavar="NAME|FILE")
@click.argument("words", nargs=-1, metavar="[CFG] [KEY=VALUE]...")
def check(name: str, words: tuple[str, ...]) -> None:
    """Check that a method keeps the contract of the hooks: what can be seen
    without a run, a line for each check as it is done, in some seconds on the
    CPU. Trains nothing, writes nothing. Exit code 4 if a check fails, 2 if
    there is no such method.

    Tried are the rounds of CFG, a preset or file, with the changes that
    follow, as for uda run; else those of the preset streets of the method, of
    the installed method that it builds on, or of the core (streets-adapt). A
    file whose model has further parts needs an optimiser for each of them
    here, as it does to be trained. Printed at last: the preset, the settings
    that were never read or changed, the losses that were seen or not.

    \b
    Example:
      uda plugins check ./my_method.py
      uda plugins check ./my_method.py mine.yaml method.weight=0.1
      uda plugins check ./gan.py 'parts.critic={optimizer: Adam, lr: 1e-3}'
    """
    from udacore.testing import fast_checks

    refuse_unknown(name)
    preset, overrides = split_words(words)
    is_sound, reached = True, list[str]()
    for result in fast_checks(name, preset=preset, overrides=overrides, reached=reached):
        say(f"{'ok' if result.ok else 'FAILED':6}  {result.check:30}  {result.message}".rstrip())
        is_sound = is_sound and result.ok
    for line in reached:
        say(line)
    if not is_sound:
        click.get_current_context().exit(4)


def refuse_unknown(name: str) -> None:
    """ConfigError where no method has this name: then nothing was checked, so that no check has failed."""
    try:
        look_up(name)
    except UnknownPluginError as error:
        raise ConfigError(str(error)) from None


@plugins.command()
@click.argument("name", required=False)
@click.option("--folder", type=FileWord(), default=".", help="Where udacore-NAME is made.  [default: here]")
@click.option("--license", "license_", default="MIT", metavar="SPDX", help="Licence of the package, by its SPDX name.  [default: MIT]")
@click.option("--author", help="Who holds the rights.  [default: the udacore-NAME authors]")
@click.option("--from", "file", type=FileWord(), help="A method in one Python file: its code goes into the package.")
def new(name: str | None, folder: Path, license_: str, author: str | None, file: Path | None) -> None:
    """Write a complete package for a new method: settings, all hooks,
    presets, tests, CI. It trains and passes its own tests as it is.

    With --from the code is yours. Add to its presets an optimiser for each
    part that it trains, to pyproject.toml what it imports besides the core.
    LICENSE has the text of MIT; that of another licence you put there.

    \b
    Example:
      uda plugins new my-method
      uda plugins new my-method --license Apache-2.0 --author "Ada Lovelace"
      uda plugins new my-method --from my_method.py
    """
    from udacore.methods.scaffold import Request, write_package

    if name is None and file is None:
        raise click.UsageError("give the method a name, such as: uda plugins new my-method")
    name = str(file.stem if file else "").replace("_", "-") if name is None else refuse_empty(name, "NAME")
    request = Request(name=name, license=license_, author=author, file=file)
    for path in write_package(request, folder):
        say(spell_out(str(folder / path)))
    place = folder / request.distribution
    say(f"next: cd {shlex.quote(spell_out(str(place)))} && pip install -e '.[dev]' && pytest && uda run --plugin {name}", err=True)


def _text(about: dict[str, Any]) -> str:
    lines = [f"{about['name']}: {about['origin']}", ""]
    if about["api"] is not None or about["cores"]:
        lines[1:1] = [f"Written for version {about['api']} of the hooks" + (f", udacore {about['cores']}" if about["cores"] else "")]
    if about["doc"]:
        lines += [about["doc"], ""]
    lines.append(f"Hooks: {', '.join(about['hooks']) or 'none'}")
    lines.append(f"Presets: {', '.join(about['presets']) or 'none'}")
    lines.append("Settings (write method.NAME=VALUE):" if about["settings"] else "Settings: none")
    for row in about["settings"]:
        lines += [f"  {row['name']}: {row['default']}  ({row['type']})", f"      {row['help']}"]
    lines += ["Citation:", about["citation"]] if about["citation"] else ["Citation: none stated"]
    return "\n".join(lines)
