"""`uda config`: print the complete configuration with the help of every setting."""

from __future__ import annotations

import json

import click

from udacore.cli.arguments import read_run, run_arguments


@click.command()
@run_arguments
@click.option("--plain", is_flag=True, help="Without comments, every round complete: as a run records it.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def config(plugin: str | None, words: tuple[str, ...], plain: bool, as_json: bool) -> None:
    """Print the complete configuration, each setting with its help, type and
    default. It can be changed, saved and given to uda run.

    Without CFG it is that of the plugin's preset for the embedded domains.

    \b
    Example:
      uda config --plugin source-only
      uda config --plugin proca gta5-cityscapes seed=2 > mine.yaml
    """
    from udacore.config.describe import describe_config
    from udacore.config.dump import dump_config, to_plain

    settings = read_run(plugin, words)[1]
    if as_json:
        click.echo(json.dumps(to_plain(settings), indent=2))
    else:
        click.echo(dump_config(settings) if plain else describe_config(settings), nl=False)
