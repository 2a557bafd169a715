"""`uda data check`: look at a data set before a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import click

from udacore.cli.arguments import read_run, run_arguments
from udacore.cli.miniatures import make
from udacore.cli.words import refuse_empty, say
from udacore.config.convert import field_names, structure
from udacore.config.files import override, parse_override
from udacore.config.schema import Config, DataConfig, EvaluationConfig, SourceConfig, TargetConfig
from udacore.config.sets import each_set
from udacore.datasets import Domain, get_dataset, list_datasets
from udacore.errors import ConfigError, DataError, one_line

if TYPE_CHECKING:
    from udacore.data.check import DataReport


@attrs.frozen
class Entry:
    """A data set that is looked at: which files, in which role and classes, and where
    the configuration names it."""

    files: DataConfig
    space: str
    domain: Domain
    labels: bool
    used: str
    transforms: tuple[str, ...] = ()
    batch: int = 1
    bands: tuple[int, int] = (3, 8)
    """Channels and bits of the images."""


@click.group()
def data() -> None:
    """Look at data sets, make miniatures of them.

    \b
    Example:
      uda data check --dataset gta5 --root /data/gta5
    """


data.add_command(make)


@data.command()
@run_arguments
@click.option("--dataset", metavar="NAME", help=f"Look at one data set ({', '.join(list_datasets())}); KEY=VALUE sets its split, label_space ...")
@click.option("--root", help="With --dataset: its folder. [default: $UDACORE_DATA/<dataset>, else datasets/<dataset>]")
@click.option("--full", is_flag=True, help="Decode every label. [default: 20 of each set]")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of text.")
def check(plugin: str | None, words: tuple[str, ...], dataset: str | None, root: str | None, full: bool, as_json: bool) -> None:
    """Check the data of a configuration, or one data set.

    Names what is missing, broken or does not fit. Labels of the target's training images
    are not opened. Exit code 3 if there is a problem.

    \b
    Example:
      uda data check --plugin source-only gta5-cityscapes
      uda data check --dataset gta5 --root /data/gta5
      uda data check --dataset cityscapes split=val --full
      uda data check --dataset folder --root own label_space=own.yaml
    """
    if dataset is not None:
        if plugin is not None:
            raise click.UsageError("--dataset looks at one data set; --plugin belongs to a configuration")
        entries = [read_entry(dataset, root if root is None else refuse_empty(root, "--root"), words)]
    elif root is not None:
        raise click.UsageError("--root belongs to --dataset; in a configuration write source.root=FOLDER")
    else:
        entries = list_entries(read_run(plugin, words)[1])
    reports = [_look(entry, full) for entry in entries]
    if as_json:
        found = [{"used": entry.used, **report.as_dict()} for entry, report in zip(entries, reports, strict=True)]
        click.echo(json.dumps(found, indent=2, default=str))
    else:
        say("\n\n".join(f"[{entry.used}] {report.render()}" for entry, report in zip(entries, reports, strict=True)))
    if not all(report.is_sound for report in reports):
        click.get_current_context().exit(DataError.exit_code)


def read_entry(dataset: str, root: str | None, words: Sequence[str]) -> Entry:
    """One data set as `--dataset`, `--root` and `key=value` describe it;
    ConfigError for what does not fit."""
    record = get_dataset(dataset)
    given: dict[str, Any] = {"dataset": dataset} if root is None else {"dataset": dataset, "root": root}
    for word in words:
        keys, value = parse_override(word)
        given = override(given, keys, value)
    space = given.pop("label_space", None) or record.label_space
    if space is None:
        raise ConfigError(f"a data set of kind {dataset!r} needs its classes: label_space=NAME or label_space=FILE.yaml")
    files: DataConfig = structure(given, DataConfig, "data set")
    domain: Domain = files.domain or record.domain
    labels = files.split not in record.unlabelled
    return Entry(files=files, space=str(space), domain=domain, labels=labels, used=f"--dataset {dataset}")


def list_entries(config: Config) -> list[Entry]:
    """Every data set that the rounds draw from or are scored on; the same one in several
    rounds is looked at once."""
    found: dict[str, Entry] = {}
    for name, entry in _all_entries(config):
        key = repr(attrs.evolve(entry, used=""))
        earlier = found.get(key)
        found[key] = entry if earlier is None else attrs.evolve(earlier, used=f"{earlier.used}, {name}")
    return list(found.values())


def _all_entries(config: Config) -> Iterator[tuple[str, Entry]]:
    for name, settings in config.rounds.items():
        roles: list[tuple[str, DataConfig, Domain, bool]] = []
        steps: dict[str, tuple[str, ...]] = {}
        drawn: list[tuple[Domain, SourceConfig | TargetConfig]] = [("source", settings.source), ("target", settings.target)]
        for domain, entry in drawn:
            for place, drawn_set in each_set(domain, entry).items() if domain in settings.draws else ():
                roles.append((f"{name}.{place}", drawn_set, domain, domain == "source"))
                steps[f"{name}.{place}"] = tuple(drawn_set.transform)
        roles += [(f"{name}.evaluate.{key}", scored, scored.domain or "target", True) for key, scored in settings.evaluate.items()]
        for used, files, domain, labels in roles:
            kind = EvaluationConfig if isinstance(files, EvaluationConfig) else DataConfig
            own = kind(**{field.name: getattr(files, field.name) for field in field_names(DataConfig).values()})
            stream = (steps[used], settings.batch) if used in steps else ((), 1)
            bands = (settings.model.channels, settings.pixels.bits)
            yield used, Entry(own, settings.label_space, domain, labels, used, *stream, bands)


def _look(entry: Entry, full: bool) -> DataReport:
    """The report on one data set; a bar on stderr while it is made."""
    from udacore.data.bands import Bands
    from udacore.data.check import check_data
    from udacore.data.findings import find_unequal_sizes
    from udacore.labels import get_label_space

    space = get_label_space(entry.space)
    with click.progressbar(length=1, label=one_line(f"checking {entry.used}", 80), file=sys.stderr) as bar:

        def show(done: int, todo: int) -> None:
            bar.length = todo
            bar.update(done - bar.pos)

        bands = Bands(*entry.bands)
        report = check_data(entry.files, space, domain=entry.domain, labels=entry.labels, full=full, bands=bands, progress=show)
    if unequal := find_unequal_sizes(list(report.sizes), entry.transforms, entry.batch):
        report.problems.append(unequal)
    return report
