"""Declaration of settings: frozen attrs classes whose every field has a help text.

The same declaration feeds configuration files, `a.b=c` on the command line, `uda config` and the docs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from udacore.errors import near_matches, one_line

HELP = "udacore.help"
KEYED = "udacore.keyed"
CHOICES = "udacore.choices"


def option(
    default: Any = attrs.NOTHING,
    help: str = "",
    *,
    factory: Callable[[], Any] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    keyed: Mapping[str, type] | None = None,
    choices: Callable[[], Sequence[str]] | None = None,
) -> Any:
    """A field of a settings class.

    default   the value if none is given; without default and factory the field is required
    help      one line for users: effect and unit
    factory   makes the default, for mappings and nested settings
    at_least, above, at_most, below   bounds of a number (or of each number of a tuple); None is not checked
    choices   gives the possible texts where they depend on what is installed, else use a Literal; excludes
              bounds. One that ends with NAME, such as `timm:NAME`, stands for all that begin as it does
    keyed     for a mapping whose key names the settings class of its value (`resize`, `resize-2`)

    Field names with a trailing underscore are written without it in files (`from_` is `from`).

    >>> @attrs.frozen(kw_only=True)
    ... class Settings(MethodSettings):
    ...     weight: float = option(0.1, "weight of the loss", at_least=0)
    >>> Settings().weight
    0.1
    """
    metadata: dict[str, Any] = {HELP: help}
    if keyed is not None:
        metadata[KEYED] = keyed
    if choices is not None:
        metadata[CHOICES] = choices
    arguments: dict[str, Any] = {"metadata": metadata}
    if choices is not None:
        arguments["validator"] = _check_choice(choices)
    elif any(bound is not None for bound in (at_least, above, at_most, below)):
        arguments["validator"] = _check_bounds(at_least, above, at_most, below)
    if factory is not None:
        arguments["factory"] = factory
    elif default is not attrs.NOTHING:
        arguments["default"] = default
    return attrs.field(**arguments)


def _check_choice(choices: Callable[[], Sequence[str]]) -> Callable[..., None]:
    """A validator: ValueError for a text that is not among the choices."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        beginnings = tuple(word.removesuffix("NAME") for word in choices() if word.endswith(":NAME"))
        if value not in choices() and not (isinstance(value, str) and beginnings and value.startswith(beginnings) and value not in beginnings):
            near = near_matches(str(value), choices())
            near = near if near.startswith("; did you mean") else ""
            raise ValueError(f"must be {' or '.join(choices())}, got {one_line(repr(value), 100)}{near}")

    return check


def _check_bounds(
    at_least: float | None, above: float | None, at_most: float | None, below: float | None
) -> Callable[..., None]:
    """A validator: ValueError for a number, alone or in a tuple, outside of the bounds."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if at_least is not None and not number >= at_least:
                raise ValueError(f"must be at least {at_least:g}, got {number!r}")
            if above is not None and not number > above:
                raise ValueError(f"must be above {above:g}, got {number!r}")
            if at_most is not None and not number <= at_most:
                raise ValueError(f"must be at most {at_most:g}, got {number!r}")
            if below is not None and not number < below:
                raise ValueError(f"must be below {below:g}, got {number!r}")

    return check


@attrs.frozen(kw_only=True)
class MethodSettings:
    """Base of every plugin's `Settings`: what the method lets its users choose, under `method:` in a file."""

    def _find_problems(self, round: Any) -> Iterable[tuple[str, str]]:
        """What in a round does not go with these settings, where a method would else learn something
        wrong in silence; here nothing.

        round  the complete `udacore.config.schema.RoundConfig` whose `method` these settings are

        Gives pairs of a place within the round, such as `target.transform.flip`, and a text that says what is
        given and what is possible. Asked when a configuration is read; each pair becomes a ConfigError that
        names round and place. Not part of what is promised to methods from elsewhere: it may change with any
        version.
        """
        return ()
