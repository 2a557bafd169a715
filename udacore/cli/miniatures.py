"""`uda data make`: write a few small images in the format of a real data set."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import click

from udacore.cli.words import FileWord, say
from udacore.errors import ConfigError, spell_out
from udacore.files import naming
from udacore.places import exists

FORMATS = ("gta5", "synthia", "synthia-parsed", "cityscapes", "foggy_cityscapes", "folder")
SMALLEST = (48, 40)
"""Width and height below which the classes of an image have no room."""


@click.command()
@click.argument("folder", type=FileWord())
@click.option("--like", "form", type=click.Choice(FORMATS), required=True, help="Data set whose files are imitated.")
@click.option(
    "--count", type=click.IntRange(1, 100_000), default=8, show_default=True,
    help="Images; cityscapes, foggy: to train on, and a quarter more to evaluate.",
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
    with naming(folder):
        _writers(form)(folder, count, (width, height), seed)
    dataset = form.partition("-")[0]
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


def _writers(form: str) -> Callable[[Path, int, tuple[int, int], int], object]:
    from udacore.testing import formats

    table: dict[str, Callable[[Path, int, tuple[int, int], int], object]] = {
        "gta5": lambda root, count, size, seed: formats.write_gta5(root, count, sizes=(size,), seed=seed),
        "synthia": lambda root, count, size, seed: formats.write_synthia(root, count, size=size, seed=seed),
        "synthia-parsed": lambda root, count, size, seed: formats.write_synthia(
            root, count, parsed=True, size=size, seed=seed
        ),
        "cityscapes": lambda root, count, size, seed: formats.write_cityscapes(
            root, {"train": count, "val": max(1, count // 4)}, size=size, seed=seed
        ),
        "foggy_cityscapes": lambda root, count, size, seed: formats.write_foggy_cityscapes(
            root, {"train": count, "val": max(1, count // 4)}, size=size, seed=seed
        ),
        "folder": lambda root, count, size, seed: formats.write_streets(root, "source", count, size=size, seed=seed),
    }
    return table[form]
