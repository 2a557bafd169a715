"""Checks and hints before the first step, so that a run does not fail in a later round."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import attrs
import torch
from torch import nn

from udacore.config.presets import list_presets
from udacore.config.references import Best, File, Folder, OfRound, images_of, labels_of, list_weights
from udacore.config.resolve import STREETS, load_config
from udacore.config.schema import Config, RoundConfig
from udacore.config.sets import count_images
from udacore.data.mixture import Mixture, Table, tables_of
from udacore.data.sanity import check_pairs, describe_orientations
from udacore.engine.evaluation import EvaluationSet, find_network
from udacore.engine.files.checkpoint import preserve_state
from udacore.engine.initial_weights import build_model
from udacore.engine.input_sizes import check_sets_alike, try_sizes
from udacore.engine.optimisation.parts import create_optimizer
from udacore.engine.rounds import Round, Session
from udacore.errors import ConfigError, UdaError, list_names
from udacore.inference import predict_label
from udacore.labels import subset_indices
from udacore.methods.discovery import Method
from udacore.metrics import subset_space
from udacore.models import use_domain
from udacore.models.families import describe_expected
from udacore.models.weights import read_state
from udacore.plugins import DEFAULT, hooks_of

PUBLISHED = "gta5-cityscapes"
"""The task that nearly every method has a preset for."""


def check_run(session: Session, *, anew: bool = True) -> None:
    """ConfigError or DataError for what a later round would stumble over: weights,
    overlays, optimisers, subsets.

    anew  the run begins again, whatever lies in its folder
    """
    rounds = session.config.rounds
    for round in session.rounds.values():
        name, config = round.name, round.config
        if not anew and session.checkpoints.exists(round.steps_label):
            continue  # on resume: all was read
        try_optimizers(name, config)
        check_sets_alike(round)
        try_sizes(round)
        for data in round.evaluation_sets():
            try_head(round, data)
            for subset in data.config.subsets:
                with prefix_errors(f"rounds.{name}.evaluate.{data.name}.subsets: "):
                    subset_indices(data.space, subset_space(subset))
        for place, weights in list_weights(config, first=round.index == 0):
            if isinstance(weights, Best) and not any(earlier.config.keep == "best" for earlier in round.earlier):
                raise ConfigError(f"rounds.{name}.{place}: best, but no earlier round keeps its best model; set keep: best there")
            if not isinstance(weights, File):
                continue
            if not weights.exists():
                expected = _expected(round) if place in ("initial", "initial.segmenter") else ""
                raise ConfigError(f"rounds.{name}.{place}: {weights.word}: no such file of weights{expected}")
            read_state(Path(weights.word))  # a damaged file of the last round would end the run after days
        if isinstance(images_of(rounds, name), Folder):
            check_overlay(round.source(), "source")
        if isinstance(labels_of(rounds, name), Folder):
            check_overlay(round.target(), "target")


def check_overlay(table: Table, domain: str) -> None:
    """DataError for a folder of replacements that does not fit a domain, or one of its sets."""
    for own in tables_of(table, domain).values():
        check_pairs(own)


def try_optimizers(name: str, config: RoundConfig) -> None:
    """ConfigError that names round and part if an optimiser does not exist or refuses its options."""
    for part, settings in config.parts.items():
        with prefix_errors(f"rounds.{name}."):
            create_optimizer([nn.Parameter(torch.zeros(1))], settings, part)


def try_head(round: Round, data: EvaluationSet) -> None:
    """ConfigError if the network or the output to be scored is none of the model's: else that would be
    said after the last step."""
    head, name = data.config.head, data.config.network
    if head in (None, "logits") and name is None:
        return
    model = build_model(round, round.info())
    with prefix_errors(f"rounds.{round.name}.evaluate.{data.name}.network: "):
        network = find_network(model, name)
    if head in (None, "logits", *getattr(network, "head_names", ())):
        return
    with preserve_state(model), use_domain(network, data.domain), prefix_errors(f"rounds.{round.name}.evaluate.{data.name}.head: "):
        predict_label(network, torch.zeros(1, round.config.model.channels, 64, 64), (64, 64), head=head)


def _expected(round: Round) -> str:
    """Which files of initial weights the round's network takes, for a message."""
    backbone = getattr(build_model(round, round.info()), "backbone", None)
    return "" if backbone is None else f"; expected {describe_expected(backbone)}"


def describe_batches(round: Round) -> Iterator[str]:
    """What a batch of several sets holds, and a line for each data set that has fewer
    images than a batch has of it."""
    batch = round.config.batch
    for domain, table in round.drawn().items():
        if not isinstance(table, Mixture):
            if batch > len(table):
                yield f"batch {batch} is larger than the {domain} ({len(table)} images); images repeat within a batch"
            continue
        counts = count_images(getattr(round.config, domain).sets, batch)
        yield f"a batch of {batch} from the {domain} holds {', '.join(f'{count} of {name}' for name, count in counts.items())}"
        for name, own in table.members.items():
            if counts[name] > len(own):
                yield f"{counts[name]} images a batch are more than {domain}.sets.{name} has ({len(own)}); they repeat within a batch"


def describe_unscored(round: Round) -> Iterator[str]:
    """A line for the sets of the target that no set of the same name is scored for."""
    names = [name for name in round.config.target.sets if name not in round.config.evaluate]
    if names and round.config.evaluate and "target" in round.config.draws:
        yield f"note: no set {list_names(names)} under evaluate, so these sets of the target have no score of their own"


@contextlib.contextmanager
def prefix_errors(place: str) -> Iterator[None]:
    """A ConfigError from inside begins with the place that it is about."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{place}{error}") from error


def log_hints(session: Session) -> None:
    """Lines in the log: batches larger than a data set, and hooks of the method that
    this run will never call."""
    method, rounds = session.method, session.config.rounds.values()
    for name, round in session.rounds.items():
        for line in (*describe_batches(round), *describe_unscored(round)):
            session.tracker.say(f"round {name!r}: {line}")
    for turned in dict.fromkeys(describe_orientations(table) for table in session.tables.values()):
        if turned:
            session.tracker.say(f"note: {turned}")
    if method.name == DEFAULT:
        return
    if idle := describe_idle_method(session.config, method):
        session.tracker.say(f"note: {idle}")
    uncalled = {
        "source_loss": "no round draws the source" if not any("source" in config.draws for config in rounds) else "",
        "target_loss": "no round draws the target" if not any("target" in config.draws for config in rounds) else "",
        "make_pseudo_labels": "no round asks for labels; set target.labels: make in one"
        if not any(isinstance(labels_of(session.config.rounds, name), OfRound) for name in session.config.rounds)
        else "",
    }
    for hook in hooks_of(method):
        if uncalled.get(hook):
            session.tracker.say(f"note: {hook} of plugin {method.name!r} will not be called: {uncalled[hook]}")


def describe_idle_method(config: Config, method: Method) -> str:
    """A line if no round changes any of the settings that the method's own preset for the
    embedded domains changes.

    Such settings are the switches of a method (an adversary that is on, a round that translates); without
    them its hooks may give what the core gives. Empty for a method without such a preset or settings.
    """
    if method.package is None or STREETS not in list_presets(method.package):
        return ""
    known = [name for name in (STREETS, PUBLISHED) if name in list_presets(method.package)]
    try:
        own = [load_config(name, packages=method.packages, method_settings=method.settings) for name in known]
    except UdaError:  # `uda plugins check` names what is wrong with it
        return ""
    changed = [changed_settings(preset) for preset in own]
    switches = changed[0]
    # A method that is published at its defaults is switched on by them.
    if not all(changed) or set(switches) & set(changed_settings(config)):
        return ""
    said = f"no round sets {list_names(switches, 4)}, as preset {STREETS!r} of plugin {method.name!r} does"
    return f"{said}: at its defaults the method may do nothing of its own"


def changed_settings(config: Config) -> list[str]:
    """Names of the method's settings that differ from their defaults in any
    round, in the order of the class."""
    found: dict[str, None] = {}
    for settings in (round.method for round in config.rounds.values()):
        default = type(settings)()
        fields = [field.name for field in attrs.fields(type(settings))]
        found |= dict.fromkeys(name for name in fields if getattr(settings, name) != getattr(default, name))
    return list(found)
