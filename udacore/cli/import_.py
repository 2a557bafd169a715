"""`uda import`: convert a checkpoint that a method's authors released."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from udacore.cli.words import FileWord, say
from udacore.errors import ConfigError, PluginError
from udacore.methods.discovery import Method, load_plugin

if TYPE_CHECKING:
    from torch import Tensor

    from udacore.models.layouts import Layout


@attrs.frozen(kw_only=True)
class Imported:
    """What was recognised, converted and left out.

    plugin, layout  the method, and which of its layouts the file has
    network         name of the core's network that the weights are those of; None: one of the method's own
    classes         number of classes of that network
    entries         converted entries (parameters and buffers), and `parameters`, the numbers in them
    converted       part of the file -> entries converted from it; '' stands for the file itself
    left            what the layout knows and does not convert, such as the state of an optimiser
    """

    plugin: str
    layout: str
    network: str | None
    classes: int | None
    entries: int
    parameters: int
    converted: dict[str, int]
    left: list[str]


@click.command("import", short_help="Convert a checkpoint of a method's authors.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FileWord())
@click.argument("out", metavar="OUT.pt", type=FileWord())
@click.option("--plugin", "-p", required=True, metavar="NAME|FILE", help="Method whose authors' layouts are tried.")
@click.option("--force", is_flag=True, help="Replace OUT.pt if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of text.")
def import_(files: tuple[Path, ...], out: Path, plugin: str, force: bool, as_json: bool) -> None:
    """Convert FILE, a checkpoint that a method's authors released, to OUT.pt,
    a checkpoint of udacore, and list what was converted and what was not.
    A release that is spread over several files is given with all of them.

    An entry that the layout does not know is an error. Nothing is unpickled.

    \b
    Example:
      uda import --plugin proca model_proca_ssl.pth proca.pt
      uda eval gta5-cityscapes --plugin proca --checkpoint proca.pt
      uda run --plugin proca gta5-cityscapes rounds.adapt.weights=proca.pt
    """
    method = load_plugin(plugin)
    layouts = layouts_of(method)
    if any(out.exists() and file.exists() and out.samefile(file) for file in files):
        raise ConfigError(f"{out}: is the file to be converted; give the copy another name")
    if out.is_dir():
        raise ConfigError(f"{out}: is a folder; give the name of the file to write, such as {out / (files[0].stem + '.pt')}")
    if out.exists() and not force:
        raise ConfigError(f"{out}: exists; replace it with --force, or choose another name")
    from udacore.engine.files.checkpoint import write_atomically
    from udacore.models.layouts import convert_checkpoint, join_files, list_left, recognize_layout
    from udacore.models.weights import read_file

    where = ", ".join(map(str, files))
    content = join_files({str(file): read_file(file) for file in files}, layouts)
    layout = recognize_layout(content, layouts, where=where)
    state = convert_checkpoint(content, layout)
    found = _describe(method, layout, content, state, list_left(content, layout))
    origin = {"plugin": found.plugin, "layout": found.layout, "file": ", ".join(file.name for file in files)}
    write_atomically(out, {"model": {key: value.contiguous().clone() for key, value in state.items()}, "imported": origin})
    say(json.dumps({"file": where, "out": str(out), **attrs.asdict(found)}, indent=2) if as_json else _text(found, where, out))


def layouts_of(method: Method) -> tuple[Layout, ...]:
    """The layouts that a method ships; PluginError if it ships none, or something else under that name."""
    from udacore.models.layouts import Layout

    layouts = getattr(method.module, "LAYOUTS", ())
    if not isinstance(layouts, tuple | list) or not all(isinstance(layout, Layout) for layout in layouts):
        raise PluginError(f"plugin {method.name!r}: LAYOUTS must be a tuple of udacore.models.Layout, got {layouts!r:.60}")
    if not layouts:
        raise PluginError(f"plugin {method.name!r} ships no layout of an authors' checkpoint; a plugin does so in LAYOUTS")
    return tuple(layouts)


def _describe(method: Method, layout: Layout, content: Mapping[str, Any], state: Mapping[str, Tensor], left: list[str]) -> Imported:
    from udacore.models.build import recognize_network

    network = recognize_network(state)
    converted = {entry: len(content[entry]) for entry in layout.parts if entry in content} if set(layout.parts) != {""} else {"": len(state)}
    for name in left:
        part = name.partition(".")[0]
        if part in converted and part != name:
            converted[part] -= 1
    return Imported(
        plugin=method.name,
        layout=layout.name,
        network=network[0] if network else None,
        classes=network[1] if network else None,
        entries=len(state),
        parameters=sum(value.numel() for value in state.values()),
        converted=converted,
        left=left,
    )


def _text(found: Imported, where: str, out: Path) -> str:
    shown = ", ".join(f"{entry or 'the file itself'} ({count} entries)" for entry, count in found.converted.items())
    network = f"{found.network}, {found.classes} classes" if found.network else f"none of the core's; plugin {found.plugin!r} may build it"
    lines = [
        f"{where}: layout {found.layout!r} of plugin {found.plugin!r}",
        f"network:       {network}",
        f"converted:     {shown}: {found.parameters:,} numbers",
        f"not converted: {', '.join(gather(found.left)) or 'nothing'}",
        f"written:       {out} ({out.stat().st_size / 1e6:.1f} MB)",
        f"use it with uda eval PRESET --plugin {found.plugin} --checkpoint {shlex.quote(str(out))}, or in a run rounds.NAME.weights={shlex.quote(str(out))}",
    ]
    return "\n".join(lines)


def gather(names: list[str], most: int = 8) -> list[str]:
    """Names in their order; where they are more than `most`, those that begin alike as one `BEGINNING.* (count)`,
    told apart by as many of their parts as `most` lines have room for.

    >>> gather(["meta", *(f"state_dict.ema_model.layer{number}.weight" for number in range(9))])
    ['meta', 'state_dict.ema_model.* (9)']
    """
    if len(names) <= most:
        return names
    shown: dict[str, list[str]] = {}
    for depth in range(1, 1 + max(1, *(name.count(".") for name in names))):
        finer: dict[str, list[str]] = {}
        for name in names:
            parts = name.split(".")
            finer.setdefault(".".join(parts[: min(depth, len(parts) - 1) or 1]), []).append(name)
        if shown and len(finer) > most:
            break
        shown = finer
    return [some[0] if len(some) == 1 else f"{beginning}.* ({len(some)})" for beginning, some in shown.items()]
