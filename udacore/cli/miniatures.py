"""`uda data make`: write a few small images in the format of a real data set."""

from __future__ import annotations

import shlex
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

import click

from udacore.cli.words import FileWord, say
from udacore.datasets import get_dataset, list_datasets
from udacore.errors import ConfigError, PluginError, near_matches, spell_out
from udacore.files import naming
from udacore.places import exists

if TYPE_CHECKING:
    _Type = click.ParamType[str]
else:
    _Type = click.ParamType  # click takes no argument there before 8.3

SMALLEST = (48, 40)
"""Width and height below which the classes of an image have no room."""


class Form(_Type):
    """A data set of which miniatures can be made. Records are imported when a
    word or the help asks for them."""

    name = "form"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """The names, as `click.Choice` shows them."""
        return f"[{'|'.join(list_forms())}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word, if there is such a form."""
        if value not in (forms := list_forms()):
            self.fail(f"{value!r} is none of the data sets that can be imitated{near_matches(value, forms)}", param, ctx)
        return value


@click.command()
@click.argument("folder", type=FileWord())
@click.option("--like", "form", type=Form(), required=True, help="Data set whose files are imitated.")
@click.option(
    "--count", type=click.IntRange(1, 100_000), default=8, show_default=True,
    help="Images; of a data set with splits: to train on, and a quarter more to evaluate.",
)  # fmt: skip
@click.option("--size", metavar="WxH", default="128x72", show_default=True, help="Width and height of the images.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the images.")
def make(folder: Path, form: str, count: int, size: str, seed: int) -> None:
    """Write a miniature of a data set into FOLDER: real names, real encodings, toy images.

    \b
    Examples:
      uda data make data/gta5 --like gta5 --count 8
      uda data make data/cityscapes --like cityscapes
      uda run gta5-cityscapes source.root=data/gta5 target.root=data/cityscapes \\
          evaluate.target.root=data/cityscapes rounds.source.steps=10

    The images are patches of the classes' colours: a run on them shows that
    everything fits together, and its figures mean nothing.
    """
    if exists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not empty; name a new folder")
    width, height = parse_size(size)
    dataset, place = list_forms()[form]
    write = resolve_name(place)
    with naming(folder):
        write(folder, count, size=(width, height), seed=seed)
    say(f"{spell_out(str(folder))}: {count} images of {width} x {height} in the format of {form}")
    say(f"look at them: uda data check --dataset {dataset} --root {shlex.quote(spell_out(str(folder)))}")


def parse_size(text: str) -> tuple[int, int]:
    """`128x72` as (width, height). ConfigError for anything else, and for sizes in which nothing has room."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and len(width) < 6 and len(height) < 6):
        raise ConfigError(f"--size: must be WIDTHxHEIGHT, such as 128x72, got {text!r:.60}")
    if int(width) < SMALLEST[0] or int(height) < SMALLEST[1]:
        raise ConfigError(f"--size: must be {SMALLEST[0]}x{SMALLEST[1]} at least, got {text}")
    return int(width), int(height)


def list_forms() -> dict[str, tuple[str, str]]:
    """Name for `--like` -> data set, and `module:function` that writes a miniature of it; by the
    records that are installed."""
    found: dict[str, tuple[str, str]] = {}
    for dataset in list_datasets():
        try:
            record = get_dataset(dataset)
        except PluginError:  # of a package that is broken; whoever asks for that data set is told
            continue
        for form, writer in record.miniatures.items():
            found.setdefault(form, (dataset, writer))
    return dict(sorted(found.items()))
