"""`uda predict`: label images, folders and videos."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from udacore.cli.arguments import open_run
from udacore.cli.words import FileWord, read_file_word, say
from udacore.errors import ConfigError, DataError, spell_out
from udacore.places import exists

SHOWN = 20
"""How many inputs that could not be read are listed."""


@click.command(short_help="Label images, folders or videos.")
@click.argument("run_or_config")
@click.argument("words", nargs=-1, metavar="INPUT... [KEY=VALUE]...")
@click.option("--out", "-o", type=FileWord(), required=True, help="Folder for the results; made if missing.")
@click.option("--as", "style", type=click.Choice(["labels", "overlay"]), default="labels", show_default=True, help="What is written for an image.")
@click.option("--plugin", "-p", help="Method, where CONFIG is a preset.  [default: what the file says]")
@click.option("--round", "only", metavar="NAME", help="Round whose model and settings are used.  [default: the last finished]")
@click.option("--checkpoint", type=FileWord(), help="File of weights instead of the run's own.")
@click.option("--network", metavar="CHILD", help="Child of the model that labels in its place, such as teacher.  [default: the protocol's]")
@click.option("--set", "data", metavar="NAME", help="Evaluation set whose protocol is used.  [default: the first of the target]")
def predict(
    run_or_config: str, words: tuple[str, ...], out: Path, style: Literal["labels", "overlay"], plugin: str | None,
    only: str | None, checkpoint: Path | None, network: str | None, data: str | None,
) -> None:  # fmt: skip
    """Label each INPUT (an image, a folder of them, a video) with the model of RUN_OR_CONFIG.

    \b
    Examples:
      uda predict runs/proca-streets photo.jpg --out labels
      uda predict runs/proca-streets folder/ --out seen --as overlay
      uda predict runs/proca-streets drive.mp4 --out seen
      uda predict gta5-cityscapes --plugin fada --checkpoint fada.pth \\
          folder/ --out labels evaluate.target.flip=true

    A result has its input's size and its place below the folder. `labels` are
    palette PNG files: any viewer shows the classes' colours, the index of a
    pixel is its class id. A video always becomes an overlay, as MP4.

    What cannot be read is listed at the end, with exit code 3. The same call
    again goes on where the last one stopped. No file is replaced but results
    of earlier calls.
    """
    is_input = {word: "=" not in word or exists(word) for word in words}
    inputs = [read_file_word(word, "INPUT") for word in words if is_input[word]]
    changes = tuple(word for word in words if not is_input[word])
    if not inputs:
        raise ConfigError("nothing to label; give images, folders or videos")
    method, config, folder = open_run(run_or_config, changes, plugin, checkpoint)
    from udacore.engine.results.prediction import find_inputs, open_predictor, predict_files

    found = find_inputs(inputs, out)
    failed: list[str] = []
    with open_predictor(config, method, folder=folder, only=only, checkpoint=checkpoint, data=data, network=network) as predictor:
        for result in predict_files(predictor, found, out, style, failed):
            say(spell_out(str(result)))
    if failed and len(found) == 1:
        raise DataError(failed[0])
    for line in failed[:SHOWN]:
        say(f"not labelled: {line}", err=True)
    if failed:
        listed = f", the first {SHOWN} are listed" if len(failed) > SHOWN else ""
        raise DataError(f"{len(failed)} of {len(found)} inputs could not be read{listed}")
