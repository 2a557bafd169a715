"""The command line. Each command is a module that is imported when it is used, so `uda
--help` does not load torch.

`main` is the one place where an error that a user should read becomes a line on stderr and an exit code.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata

import click

from udacore.errors import LONGEST_LINE, ConfigError, PluginError, SeveralProblemsError, UdaError, near_matches, one_line
from udacore.exhaustion import describe_exhaustion
from udacore.places import NO_NAME

COMMANDS = {
    "run": ("udacore.cli.run:run", "Train a method: all rounds, or one."),
    "eval": ("udacore.cli.evaluate:evaluate", "Score a checkpoint on labelled images."),
    "predict": ("udacore.cli.predict:predict", "Label images, folders or videos."),
    "compare": ("udacore.cli.compare:compare", "Put finished runs into one table."),
    "config": ("udacore.cli.config:config", "Print the complete, commented configuration."),
    "data": ("udacore.cli.data:data", "Look at data sets: check, make."),
    "plugins": ("udacore.cli.plugins:plugins", "Look at methods, begin one: list, show, check, new."),
    "hooks": ("udacore.cli.hooks:hooks", "Print the hooks that a method may implement."),
    "import": ("udacore.cli.import_:import_", "Convert a checkpoint of a method's authors."),
}
"""Name of a command -> where it is, and its line in `uda --help` (read without importing it)."""

DEBUG = "--debug"

_MENDABLE = {
    errno.ENOSPC: "could not be written",
    errno.EDQUOT: "could not be written",
    errno.EROFS: "could not be written",
    errno.EFBIG: "could not be written",
    errno.EACCES: "no access",
    errno.ENAMETOOLONG: "no file can have such a name",
    errno.ELOOP: "no file can have such a name",
}
"""Errors of the system that a user can mend, wherever they are met."""


class LazyGroup(click.Group):
    """Commands from the table above, each imported only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command with near matches."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}{near_matches(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _print_version(ctx: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    from udacore.methods.discovery import list_plugins

    python = ".".join(str(part) for part in sys.version_info[:3])
    click.echo(f"udacore {metadata.version('udacore')} (torch {metadata.version('torch')}, Python {python})")
    for plugin in list_plugins():
        if plugin.distribution != "udacore":
            click.echo(f"{plugin.name} ({plugin.distribution} {plugin.version})")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 79})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show all versions and exit.")
@click.option(DEBUG, is_flag=True, expose_value=False, help="Show the traceback of an error; may stand anywhere.")
def uda() -> None:
    """Unsupervised domain adaptation for semantic segmentation.

    \b
    Example:
      uda run --plugin source-only          # on the embedded street scenes
      uda run --plugin proca gta5-cityscapes source.root=/data/gta5
      uda COMMAND --help
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 usage or configuration, 3 data, 4 plugin.

    An error that the user can mend is one line on stderr; any other keeps its traceback and
    ends the process with 1.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    end = given.index("--") if "--" in given else len(given)
    debug = DEBUG in given[:end]
    given = [word for word in given[:end] if word != DEBUG] + given[end:]
    if nul := next((word for word in given if "\0" in word), None):
        _complain(ConfigError(f"{one_line(nul, 200)}: an argument holds no NUL"))
        return ConfigError.exit_code
    try:
        code = uda.main(given, prog_name="uda", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except (click.ClickException, UdaError) as error:
        if debug:
            traceback.print_exc()
        else:
            _complain(error)
        return error.exit_code
    except click.Abort:  # Ctrl-C, or the end of the input at a question
        return 130
    except (MemoryError, RuntimeError, BlockingIOError) as error:  # the last: a fork that the system refused
        said = describe_exhaustion(error)
        if said is None or debug:
            raise
        _complain(UdaError(said))
        return UdaError.exit_code
    except SystemExit as error:  # of a network, a setting or a library: a half-done command must not end with 0
        if debug:
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f"SystemExit({', '.join(map(repr, error.args))}) was raised in {place.filename}, line {place.lineno}"
        _complain(PluginError(f"{said}; code that cannot go on raises an error"))
        return PluginError.exit_code
    except OSError as error:
        is_plugins = bool(getattr(error, "__notes__", ()))  # which hook, which step: worth a traceback
        if error.errno not in _MENDABLE or is_plugins or debug:
            raise
        named = isinstance(error.filename, str | bytes)
        name = one_line(os.fsdecode(error.filename), 200) if named else "the output"
        kind = ConfigError if error.errno in NO_NAME else UdaError
        _complain(kind(f"{name}: {_MENDABLE[error.errno]}: {error.strerror}"))
        _leave_output()
        return kind.exit_code
    return code if isinstance(code, int) else 0


def _leave_output() -> None:
    """Drop what is left in a stdout that takes no more: it would be tried again, and be a
    traceback, when Python ends."""
    with contextlib.suppress(OSError):
        number = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _complain(error: click.ClickException | UdaError) -> None:
    """One line on stderr, cut where it is too long; which process says so, if there are several."""
    rank = os.environ.get("RANK", "0") if os.environ.get("WORLD_SIZE", "1") != "1" else None
    text = str(error)
    if isinstance(error, click.ClickException):
        text = error.format_message()
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else "uda"
        end = f"; see {command} --help"
        text = one_line(text.rstrip("."), LONGEST_LINE - 40 - len(end)) + end
    first, *further = error.lines if isinstance(error, SeveralProblemsError) else [text]
    click.echo(one_line(f"error{'' if rank is None else f' (process {one_line(rank, 60)})'}: {first}"), err=True)
    for line in further:
        click.echo("  " + one_line(line, LONGEST_LINE - 2), err=True)
