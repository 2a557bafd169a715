"""Several named sets as one domain: what each takes from its domain, and its share of a batch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from udacore.config.convert import field_names
from udacore.config.files import merge
from udacore.config.problems import Problem, join, show
from udacore.config.schema import DataConfig, RoundConfig, SetConfig, SourceConfig, TargetConfig
from udacore.errors import ConfigError, list_names, near_matches

DOMAINS = ("source", "target")
SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
OF_ANY_DATASET = ("sampler", "transform")
"""What a set of another kind than its domain takes from it; the rest says where files lie."""


def complete_sets(data: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data of a round in which each named set of a domain is laid over what the domain says.

    The domain keeps nothing of its own then, so that what was completed stays the same when it is completed again.
    """
    completed = dict(data)
    for domain in DOMAINS:
        entry = data.get(domain)
        sets = entry.get("sets") if isinstance(entry, Mapping) else None
        if isinstance(entry, Mapping) and isinstance(sets, Mapping) and any(own is not None for own in sets.values()):
            of_sets = {key: value for key, value in entry.items() if key in field_names(SetConfig)}
            rest = {key: value for key, value in entry.items() if key not in of_sets}
            completed[domain] = {**rest, "sets": {name: _lay_under(of_sets, own) for name, own in sets.items()}}
    return completed


def _lay_under(shared: Mapping[str, Any], own: Any) -> Any:
    """A set over what its domain says; what is no mapping stays, and is refused when it gets its type."""
    if not isinstance(own, Mapping):
        return own
    usual = field_names(DataConfig)["dataset"].default
    kind, other = (each.get("dataset") or usual for each in (shared, {**shared, **own}))
    return merge(shared if kind == other else {key: shared[key] for key in OF_ANY_DATASET if key in shared}, own)


def each_set(
    domain: str, entry: SourceConfig | TargetConfig
) -> dict[str, SourceConfig | TargetConfig | SetConfig]:
    """Setting -> what is read there: `source` for a domain of one data set, else
    `source.sets.NAME` for each."""
    if not entry.sets:
        return {domain: entry}
    return {f"{domain}.sets.{name}": settings for name, settings in entry.sets.items()}


def parse_share(given: float | str) -> Fraction:
    """A share as an exact fraction: 0.25 or `1/4`. ConfigError for what is none, or not
    above 0 and at most 1."""
    text = str(given).strip()
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"must be a number such as 0.25, or a fraction such as 1/3, got {show(given)}") from None
    if not 0 < share <= 1:
        raise ConfigError(f"must be above 0 and at most 1, got {show(given)}")
    return share


def find_shares(sets: Mapping[str, SetConfig]) -> dict[str, Fraction]:
    """The share of each set; sets without one divide equally what the others leave.

    ConfigError for a share that is none, and where they are not 1 in all.
    """
    given = {name: parse_share(entry.share) for name, entry in sets.items() if entry.share is not None}
    others = [name for name in sets if name not in given]
    rest = 1 - sum(given.values(), Fraction(0))
    said = " + ".join(str(share) for share in given.values())
    if others and rest <= 0:
        raise ConfigError(f"shares {said} leave nothing for {list_names(others)}; shares are 1 in all")
    if not others and rest:
        raise ConfigError(f"shares {said} are {1 - rest} in all, not 1; leave one out, and it is the rest")
    return {name: given.get(name, rest / max(1, len(others))) for name in sets}


def count_images(sets: Mapping[str, SetConfig], batch: int, accumulation: int = 1) -> dict[str, int]:
    """Images of each set in a batch. ConfigError, with the smallest batch that works,
    where a share of the batch is no whole number."""
    shares = find_shares(sets)
    if any((share * batch).denominator > 1 for share in shares.values()):
        smallest = math.lcm(accumulation, *(share.denominator for share in shares.values()))
        said = ", ".join(str(share) for share in shares.values())
        third = "; a third is written 1/3" if smallest > 64 else ""
        raise ConfigError(
            f"shares {said} of a batch of {batch} are no whole images; the smallest batch that works "
            f"is {smallest}, with accumulation in as many micro-batches as memory asks for{third}"
        )
    return {name: int(share * batch) for name, share in shares.items()}


def check_sets(config: RoundConfig) -> Iterator[Problem]:
    """Sets have names, shares that give whole images, and the same further maps."""
    for domain in DOMAINS:
        entry = getattr(config, domain)
        if not entry.sets:
            continue
        path = f"{domain}.sets"
        for name in entry.sets:
            if not SET_NAME.fullmatch(name):
                yield Problem(join(path, name), "the name of a set is made of letters, digits, - and _")
        yield from _check_shares(config, domain)
        (first, extras), *others = ((name, _kinds(settings)) for name, settings in entry.sets.items())
        for name, own in others:
            if own != extras:
                yield Problem(f"{path}.{name}.extras", f"sets of a domain have the same maps; {first}: {extras or 'none'}, {name}: {own or 'none'}")


def _kinds(settings: SetConfig) -> dict[str, str]:
    return {name: extra.kind for name, extra in sorted(settings.extras.items())}


def _check_shares(config: RoundConfig, domain: str) -> Iterator[Problem]:
    sets, path = getattr(config, domain).sets, f"{domain}.sets"
    wrong = False
    for name, settings in sets.items():
        try:
            if settings.share is not None:
                parse_share(settings.share)
        except ConfigError as error:
            wrong = True
            yield Problem(f"{path}.{name}.share", str(error))
    try:
        if not wrong and domain in config.draws:
            count_images(sets, config.batch, config.accumulation)
        elif not wrong:
            find_shares(sets)
    except ConfigError as error:
        yield Problem(path, str(error))


def find_unknown_sets(
    data: Mapping[str, Any], changes: Sequence[tuple[tuple[str, ...], Any]]
) -> Iterator[Problem]:
    """Overrides deep inside a set that no file names, though the files name others: a slip, not a new one."""
    rounds = data.get("rounds")
    owners = [data, *(rounds.values() if isinstance(rounds, Mapping) else ())]
    known: dict[str, list[str]] = {}
    for domain in DOMAINS:
        entries = [owner.get(domain) for owner in owners if isinstance(owner, Mapping)]
        given = [entry["sets"] for entry in entries if isinstance(entry, Mapping) and isinstance(entry.get("sets"), Mapping)]
        known[domain] = list(dict.fromkeys(str(name) for sets in given for name in sets))
    for keys, _ in changes:
        inner = keys[2:] if keys[0] == "rounds" else keys
        names = known.get(inner[0], []) if len(inner) > 2 and inner[1] == "sets" else []
        if len(inner) == 3:
            names.append(inner[2])  # a new one, or null for one that is left out
        elif names and inner[2] not in names:
            yield Problem(".".join(keys[: len(keys) - len(inner) + 3]), f"unknown{near_matches(inner[2], names)}")
