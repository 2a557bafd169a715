"""Every command with its options, from click."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click
from uda_markdown import escape

from udacore.cli import uda


def walk(command: click.Command = uda, path: tuple[str, ...] = ("uda",)) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, `uda` itself first."""
    yield path, command
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from walk(inner, (*path, name))


def render_commands() -> str:
    """A section for each command."""
    return "\n\n".join(_render(path, command) for path, command in walk())


def _render(path: tuple[str, ...], command: click.Command) -> str:
    name = " ".join(path)
    with click.Context(command, info_name=name) as context:
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        options = [option for option in command.get_params(context) if isinstance(option, click.Option) and not option.hidden]
        entries = [_option(option, context) for option in options]
    lines = [f"({'-'.join(('command', *path[1:]))})=", f"{'#' * (1 + len(path))} {name}", "", f"```text\n{usage}\n```", "", _help(command.help or "")]
    if isinstance(command, click.Group) and len(path) > 1:
        lines += ["", "Commands: " + ", ".join(f"`{name} {inner}`" for inner in command.list_commands(click.Context(command))) + "."]
    return "\n".join([*lines, "", f"```{{program}} {name}\n```", "", *entries])


def _option(option: click.Option, context: click.Context) -> str:
    value = "" if option.is_flag else f" {option.make_metavar(context)}"
    names = ", ".join(f"{name}{value}" for name in sorted(option.opts, key=len, reverse=True))
    required = " Required." if option.required else ""
    return f":::{{option}} {names}\n{escape(option.help or '')}{required}\n:::\n"


def _help(text: str) -> str:
    """A command's text: paragraphs, and what click prints as it stands."""
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(_verbatim(block) if block.startswith("\b") else escape(block) for block in blocks)


def _verbatim(block: str) -> str:
    lines = block.removeprefix("\b").strip("\n").split("\n")
    head = [lines.pop(0)] if lines[0].rstrip().endswith(":") else []
    if not any(line.startswith(" ") for line in lines):
        return escape("\n".join([*head, *lines]))
    return "\n".join([*head, "", "```text", inspect.cleandoc("\n".join(["", *lines])), "```"])
