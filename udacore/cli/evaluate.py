"""`uda eval`: score a run, or a checkpoint, under a protocol."""

from __future__ import annotations

from pathlib import Path

import click

from udacore.cli.arguments import read_run
from udacore.cli.run import show_results
from udacore.errors import ConfigError


@click.command(short_help="Score a run or a checkpoint under a named protocol.")
@click.argument("run_or_config")
@click.argument("overrides", nargs=-1)
@click.option("--plugin", "-p", help="Method, where CONFIG is a preset.  [default: what the file says]")
@click.option("--round", "only", metavar="NAME", help="Round whose model and settings are used.  [default: the last finished]")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="File of weights instead of the run's own.")
@click.option("--json", "as_json", is_flag=True, help="Results as JSON.")
def evaluate(run_or_config: str, overrides: tuple[str, ...], plugin: str | None, only: str | None, checkpoint: Path | None, as_json: bool) -> None:
    """Evaluate RUN_OR_CONFIG: a run folder, or a preset or file together with --checkpoint.

    \b
    Examples:
      uda eval runs/proca-streets
      uda eval runs/proca-streets evaluate.target.flip=true
      uda eval gta5-cityscapes --plugin proca --checkpoint proca.pt
      uda eval runs/proca-gta5-cityscapes evaluate.target.flip=true \\
          'evaluate.target.scales=[0.5,0.75,1,1.25,1.5,1.75]'
    """
    folder = Path(run_or_config)
    is_run = (folder / "config.yaml").is_file()
    if not is_run and checkpoint is None:
        raise ConfigError(f"{run_or_config}: no run folder (it has no config.yaml); give one, or a preset with --checkpoint FILE")
    words = (str(folder / "config.yaml") if is_run else run_or_config, *spread(overrides, is_run, folder))
    method, config = read_run(plugin, words)
    from udacore.engine.scoring import score_checkpoint

    show_results(score_checkpoint(config, method, folder=folder if is_run else None, only=only, checkpoint=checkpoint), as_json)


def spread(overrides: tuple[str, ...], is_run: bool, folder: Path) -> tuple[str, ...]:
    """A run's config.yaml spells out every round, so that `evaluate.x=y` must be said for each of them."""
    if not is_run:
        return overrides
    from udacore.config.files import read_config

    content = read_config(str(folder / "config.yaml"), (), ())
    rounds = list(content.get("rounds", {}))
    shared = {"seed", "device", "threads", "amp", "channels_last", "compile", "workers", "deterministic"}
    result = []
    for text in overrides:
        if text.split(".")[0] == "rounds" or text.split("=")[0] in shared:
            result.append(text)
        else:
            result.extend(f"rounds.{name}.{text}" for name in rounds)
    return tuple(result)
