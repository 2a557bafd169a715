"""The embedded domains, which are drawn (algorithms/streets 1)."""

from __future__ import annotations

from udacore.config.schema import DataConfig
from udacore.data.sources import Drawing, DrawnImages, DrawnLabels
from udacore.data.tables import ImageTable, known_ids
from udacore.datasets import Dataset, Domain
from udacore.errors import DataError, near_matches
from udacore.labels import STREETS, LabelSpace, lookup_table


def draw(config: DataConfig, space: LabelSpace, domain: Domain, labels: bool) -> ImageTable:
    """400 images to train on, 120 (target) or 60 (source) to evaluate, unless `count` says otherwise."""
    splits = ("train", "val", "test")
    if config.split not in splits:
        raise DataError(f"streets: no split {config.split!r}{near_matches(config.split, splits)}")
    shown = config.domain or domain
    count = config.count or (400 if config.split == "train" else 120 if shown == "target" else 60)
    drawing = Drawing(pair=config.pair, domain=shown, split=config.split, size=config.image_size, seed=config.data_seed)
    table = lookup_table(space, "streets") if labels else None
    return ImageTable(
        dataset="streets",
        domain=domain,
        space=space,
        names=tuple(f"{config.split}/{index:05d}" for index in range(count)),
        images=DrawnImages(drawing),
        labels=None if table is None else DrawnLabels(drawing=drawing, table=table, known=known_ids(len(STREETS) - 1)),
    )


DATASET = Dataset(
    open=draw, ids={name: number for number, name in enumerate(STREETS)}, label_space="streets",
    settings=("pair", "image_size", "data_seed"),
)
