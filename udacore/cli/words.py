"""Checks of words on the command line that name files or configurations, and output of text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from udacore.errors import ConfigError, one_line, spell_out
from udacore.places import NO_NAME, expand

if TYPE_CHECKING:
    _Type = click.ParamType[Path]
else:
    _Type = click.ParamType  # click takes no argument there before 8.3


class FileWord(_Type):
    """A file or folder, which need not exist, as a Path in which `~` is replaced.

    ConfigError for an empty word, which would mean the working folder, and for a word that can name no file.
    """

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path that a word means."""
        if isinstance(value, Path):
            return value
        return read_file_word(str(value), "a file or folder" if param is None or ctx is None else param.get_error_hint(ctx))


def read_file_word(word: str, place: str) -> Path:
    """The path that a word means; `place` says in a message where the word stands.
    ConfigError as for `FileWord`."""
    path = expand(refuse_empty(word, place))
    try:
        os.lstat(path)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in NO_NAME:
            return path
        reason = error.strerror if isinstance(error, OSError) else "it has characters that the file system lacks"
        raise ConfigError(f"{one_line(word, 200)}: no file can have such a name: {reason}") from None
    return path


def refuse_empty(word: str, place: str) -> str:
    """The word; ConfigError if it is empty: a slip, such as an unset variable, and no
    way to ask for a default."""
    if not word.strip():
        raise ConfigError(f"{place}: an empty word was given; write what is meant, or leave the word out")
    return word


def say(text: object = "", *, err: bool = False) -> None:
    """Print text for people, line by line: what a terminal would obey, such as ESC in the
    name of a file, is spelt out."""
    click.echo("\n".join(spell_out(line) for line in str(text).split("\n")), err=err)
