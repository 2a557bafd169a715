"""From a preset or file and `a.b=c` to a complete, checked `Config`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from udacore.config.checks import check_round, check_round_name
from udacore.config.convert import INVALID, convert, field_names
from udacore.config.data_checks import EMPTY, is_blank
from udacore.config.dump import dump_config
from udacore.config.files import EXTENDS, SUFFIXES, locate, merge, override, parse_override, read_file, read_mapping
from udacore.config.presets import CORE, list_presets, plugin_of
from udacore.config.problems import Problem, join, raise_problems, show
from udacore.config.references import SEGMENTER, default_weights
from udacore.config.schema import Config, PartConfig, RoundConfig
from udacore.config.sets import complete_sets, find_unknown_sets
from udacore.errors import ConfigError, list_names, near_matches, one_line
from udacore.options import MethodSettings
from udacore.places import find_place, is_file

STREETS = "streets"
STREETS_ADAPT = "streets-adapt"
Override = tuple[tuple[str, ...], Any]


def load_config(
    argument: str | None, overrides: Sequence[str] = (), *, packages: Sequence[str] = (CORE,), method_settings: type | None = None
) -> Config:
    """The complete configuration of a run.

    argument         a file, or a preset's name; None: the preset for the embedded domains
    overrides        `a.b=c`, in the order of the command line
    packages         where presets are looked for, in this order: the method's package, then `udacore`
    method_settings  the plugin's settings class; None: the method has no settings

    Top-level values that a round may choose are laid under each round's own; the result has every round
    complete, its `method` an object of the settings class. Raises ConfigError, which lists all problems.
    """
    changes = [parse_override(text) for text in overrides]
    argument = default_preset(packages, changes) if argument is None else argument
    data = read_file(argument, packages)
    problems = [*_unknown_names(data, changes), *find_unknown_sets(data, changes), *_shadowed(data, changes, overrides)]
    for keys, value in changes:
        data = override(data, keys, value)
    return _Resolver(data, method_settings or MethodSettings, problems).resolve(argument)


def partial_overrides(
    argument: str | None, overrides: Sequence[str] = (), *, packages: Sequence[str] = (CORE,)
) -> list[str]:
    """A line for each override at the top level that reaches only some rounds, since others have
    values of their own there.

    Arguments as those of `load_config`, whose ConfigErrors it raises.
    """
    changes = [parse_override(text) for text in overrides]
    rounds = read_file(default_preset(packages, changes) if argument is None else argument, packages).get("rounds")
    given = {str(name): own for name, own in rounds.items() if isinstance(own, Mapping)} if isinstance(rounds, Mapping) else {}
    notes = []
    for (keys, value), text in zip(changes, overrides, strict=True):
        if keys[0] == "rounds":
            given = {name: override(own, keys[2:], value) if keys[1:2] == (name,) and keys[2:] else own for name, own in given.items()}
        if keys[0] not in ROUND_KEYS:
            continue
        inner = None if isinstance(value, Mapping) else value
        keeping = [name for name, own in given.items() if any(_sets(own, leaf, inner) for leaf in _leaves(keys, value))]
        if keeping:
            reached = [name for name in given if name not in keeping]
            kept = f"{'rounds' if len(keeping) > 1 else 'round'} {list_names(keeping, most=9)}"
            notes.append(f"note: {one_line(text, 100)} reaches {list_names(reached, most=6) or 'parts of rounds'}; {kept} kept values of their own")
    return notes


def peek_plugin(argument: str | None, overrides: Sequence[str] = ()) -> str | None:
    """The plugin that the overrides or the file name, before anything else is
    looked at; None if neither does.

    Files that a file `extends` are asked too. Of presets only `plugin/preset` says which plugin is meant:
    where the others lie depends on the plugin.
    """
    for keys, value in reversed([parse_override(text) for text in overrides]):
        if keys == ("plugin",) and value is not None:
            return _plugin_name(value, "plugin")
    seen: set[Path] = set()
    path = find_place(argument) if argument else None
    while path is not None and is_file(path) and path.resolve() not in seen:
        seen.add(path.resolve())
        data = read_mapping(path)
        if data.get("plugin") is not None:
            return _plugin_name(data["plugin"], f"{path}: plugin")
        base = data.get(EXTENDS)
        path = path.parent / find_place(base) if isinstance(base, str) else None
        argument = base if isinstance(base, str) else ""
    if argument and argument.endswith(SUFFIXES) and not seen:
        locate(argument, ())  # says that there is no such file
    return plugin_of(argument) if argument else None


def _plugin_name(value: Any, where: str) -> str:
    """A plugin as it was given; another one would be trained if what is no name were passed over."""
    if not isinstance(value, str):
        raise ConfigError(f"{where}: must be text, got {show(value)}")
    return value


def default_preset(packages: Sequence[str], changes: Sequence[Override] = ()) -> str:
    """The method's own preset for the embedded domains; a method without one gets a source
    round and one of adaptation."""
    plugin = next((value for keys, value in reversed(changes) if keys == ("plugin",)), None)
    own = [package for package in packages if package != CORE]
    if any(STREETS in list_presets(package) for package in own):
        return STREETS
    return STREETS_ADAPT if own or plugin not in (None, "source-only") else STREETS


def default_name(plugin: str, argument: str) -> str:
    """`<plugin>-<preset>`, from the names of files alone where files were given."""
    return f"{Path(plugin).name.removesuffix('.py')}-{Path(argument).stem if argument.endswith(SUFFIXES) else Path(argument).name}"


class _Resolver:
    """One pass over plain data, which collects problems."""

    def __init__(self, data: Mapping[str, Any], method_settings: type, problems: Sequence[Problem]) -> None:
        self.run = {key: value for key, value in data.items() if key in RUN_KEYS}
        self.shared = {key: value for key, value in data.items() if key in ROUND_KEYS}
        self.rounds = data.get("rounds")
        self.method_settings = method_settings
        self.problems = list(problems)
        self._names: list[str] = []
        for key in data:
            if key not in RUN_KEYS and key not in ROUND_KEYS and key != "rounds":
                near = near_matches(str(key), [*RUN_KEYS, *ROUND_KEYS, "rounds"])
                is_methods = key in field_names(self.method_settings)
                self.problems.append(Problem(str(key), f"unknown{f'; did you mean method.{key}?' if is_methods else near}"))

    def resolve(self, argument: str) -> Config:
        """The configuration; a ConfigError lists all problems of `argument`."""
        config: Config = convert(self.run, Config, "", self.problems)
        if config is not INVALID:
            blank = [key for key in ("name", "folder") if is_blank(getattr(config, key))]
            self.problems += [Problem(key, EMPTY) for key in blank]
        found: list[Problem] = []
        self._convert_round(self.shared, "", found)
        given = self._given_rounds()
        # what is incomplete at the top may be completed by each round, which else says so itself
        found = [problem for problem in found if not (problem.incomplete and given)]
        self.problems += found
        known = {str(problem) for problem in found}
        rounds: dict[str, RoundConfig] = {}
        in_rounds: list[Problem] = []
        for name, own in given.items():
            rounds[name] = self._resolve_round(name, own, known, in_rounds)
        self.problems += _lift(in_rounds, given)
        raise_problems(self.problems, argument)
        name = config.name or default_name(config.plugin, argument)
        return attrs.evolve(config, name=name, rounds=rounds)

    def _given_rounds(self) -> dict[str, Mapping[str, Any]]:
        """The rounds that are not null, in order; what is no mapping is a problem."""
        rounds = self.rounds if self.rounds is not None else {}
        if not isinstance(rounds, Mapping):
            self.problems.append(Problem("rounds", "must be a mapping from the name of a round to its settings"))
            return {}
        given: dict[str, Mapping[str, Any]] = {}
        self._names = [str(name) for name, own in rounds.items() if own is not None]
        for name, own in rounds.items():
            problem = check_round_name(str(name))
            if problem is not None:
                self.problems.append(problem)
            elif isinstance(own, Mapping):
                given[str(name)] = own
            elif own is not None:
                self.problems.append(Problem(f"rounds.{name}", "must be a mapping of settings ({} if it has none of its own)"))
        if not given and not self.problems:
            empty = f" ({list_names(rounds)}: nothing behind the name removes a round; write {{}})" if rounds else ""
            self.problems.append(Problem("rounds", f"a run needs at least one round{empty}"))
        return given

    def _resolve_round(self, name: str, own: Mapping[str, Any], known: set[str], problems: list[Problem]) -> RoundConfig:
        """A round laid over the top level; what is wrong there already (`known`) is not said again."""
        found: list[Problem] = []
        place = f"rounds.{name}"
        for key in own:
            if key in RUN_KEYS:
                found.append(Problem(f"{place}.{key}", "holds for the whole run; write it at the top level"))
        data = merge(self.shared, {key: value for key, value in own.items() if key not in RUN_KEYS})
        config = self._convert_round(data, place, found)
        problems += [problem for problem in found if str(problem).removeprefix(f"{place}.") not in known]
        broken = {problem.path.removeprefix(f"{place}.").partition(".")[0].partition("[")[0] for problem in found}
        if config is INVALID:  # the other settings are still checked against each other
            sound = {key: value for key, value in data.items() if key in ROUND_KEYS and key not in {*broken, "method"}}
            config = convert(complete_sets(sound), RoundConfig, place, [])
        if config is INVALID:
            return RoundConfig()  # what is wrong with it is told; nothing is left to check
        parts = config.parts if SEGMENTER in config.parts else {SEGMENTER: PartConfig(), **config.parts}
        is_first = name == self._names[0]
        weights = config.weights if config.weights is not None else default_weights(is_first)
        resolved: RoundConfig = attrs.evolve(config, parts=parts, weights=weights)
        problems += check_round(resolved, name, self._names, broken)
        return resolved

    def _convert_round(self, data: Mapping[str, Any], place: str, problems: list[Problem]) -> Any:
        data = complete_sets(data)
        config = convert({key: value for key, value in data.items() if key != "method"}, RoundConfig, place, problems)
        method = data.get("method")
        settings = convert({} if method is None else method, self.method_settings, join(place, "method"), problems)
        return INVALID if config is INVALID or settings is INVALID else attrs.evolve(config, method=settings)


def _lift(problems: Sequence[Problem], given: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """The same fault in every round, from a value that stands above the rounds, is
    told once and of its place."""
    count = Counter((problem.path.split(".", 2)[2], problem.text) for problem in problems)
    for problem in problems:
        path = problem.path.split(".", 2)[2]  # behind rounds.NAME
        is_above = not any(_sets(own, path.partition("[")[0].split("."), 0) for own in given.values())
        yield Problem(path, problem.text) if is_above and count[path, problem.text] == len(given) else problem


RUN_KEYS = tuple(name for name in field_names(Config) if name != "rounds")
ROUND_KEYS = tuple(field_names(RoundConfig))


def _leaves(keys: tuple[str, ...], value: Any) -> Iterator[tuple[str, ...]]:
    """The paths of all values that an override sets."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves((*keys, str(key)), inner)
    else:
        yield keys


def _sets(data: Any, keys: Sequence[str], value: Any) -> bool:
    """Whether plain data has a value of its own at the path, so that what is laid
    under it there changes nothing."""
    for key in keys:
        if not isinstance(data, Mapping):
            return True  # a plain value, or null, replaces all that lies under it
        if key not in data:
            return False
        data = data[key]
    return not isinstance(data, Mapping) or (bool(data) and not isinstance(value, Mapping) and value is not None)


def _shadowed(data: Mapping[str, Any], changes: Sequence[Override], texts: Sequence[str]) -> Iterator[Problem]:
    """Overrides that change nothing, since every round says the same thing itself."""
    rounds = data.get("rounds")
    given = {str(name): own for name, own in rounds.items() if isinstance(own, Mapping)} if isinstance(rounds, Mapping) else {}
    for (keys, value), text in zip(changes, texts, strict=True):
        if keys[0] not in ROUND_KEYS or not given:
            continue
        inner = None if isinstance(value, Mapping) else value
        if all(_sets(own, leaf, inner) for own in given.values() for leaf in _leaves(keys, value)):
            instead = " or ".join(f"rounds.{name}.{one_line(text, 80)}" for name in list(given)[:3])
            path, names = ".".join(keys), list_names(given)
            yield Problem(path, f"every round sets this itself ({names}), so {text!r} changes nothing; write {instead}")


def _unknown_names(data: Mapping[str, Any], changes: Sequence[Override]) -> Iterator[Problem]:
    """Overrides deep inside a round, a part or an evaluation set that no file
    names: a slip, not a new one."""
    rounds = data.get("rounds") if isinstance(data.get("rounds"), Mapping) else {}
    owners = [data, *(own for own in dict(rounds or {}).values() if isinstance(own, Mapping))]
    known: dict[str, list[str]] = {"rounds": [str(name) for name in rounds or {}]}
    for key in ("parts", "evaluate"):
        known[key] = list(dict.fromkeys(str(name) for owner in owners if isinstance(owner.get(key), Mapping) for name in owner[key]))
    known["parts"] += [] if SEGMENTER in known["parts"] else [SEGMENTER]
    for keys, value in changes:
        for place in (0, 2) if keys[0] == "rounds" else (0,):
            names = known.get(keys[place]) if len(keys) > place + 1 else None
            slip = names and keys[place + 1] not in names and (len(keys) > place + 2 or value is None)
            if names and slip:
                yield Problem(".".join(keys[: place + 2]), f"unknown{near_matches(keys[place + 1], names)}")
            elif names is not None and len(keys) == place + 2:
                names.append(keys[place + 1])  # a new one, which later overrides may change


__all__ = ["CORE", "default_name", "default_preset", "dump_config", "load_config", "peek_plugin"]
