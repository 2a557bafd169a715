"""`uda hooks`: print the contract between the core and a method."""

from __future__ import annotations

import inspect
import textwrap

import click

from udacore.errors import near_matches


@click.command()
@click.argument("name", required=False)
def hooks(name: str | None) -> None:
    """Print the hooks that a method may implement, or the hook NAME.

    \b
    Example:
      uda hooks target_loss
    """
    from udacore import hookspecs
    from udacore.plugins import hook_names

    names = hook_names()
    if name is not None and name not in names:
        raise click.UsageError(f"no hook {name!r}{near_matches(name, names)}")
    if name is None:
        click.echo(inspect.getdoc(hookspecs))
    for hook in names if name is None else (name,):
        function = getattr(hookspecs, hook)
        signature = str(inspect.signature(function)).replace("'", "")
        blank = "\n" if name is None else ""
        click.echo(f"{blank}{hook}{signature}\n{textwrap.indent(inspect.getdoc(function) or '', '    ')}")
