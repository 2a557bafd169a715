"""ISPRS' Potsdam and Vaihingen: towns from the air, with labels as colours."""

from __future__ import annotations

from pathlib import Path

import attrs

from udacore.config.schema import DataConfig
from udacore.data.colours import ColourLabels, given_colours
from udacore.data.layouts import existing, prefixes_of
from udacore.data.sets.folder import read_size
from udacore.data.splits import check_word
from udacore.datasets import Dataset, Layout
from udacore.labels import ISPRS_COLOURS

IDS = {name: number for number, name in enumerate(ISPRS_COLOURS)}
BORDER = len(IDS)
"""The raw id of black, which separates objects in eroded labels; no class."""

# The tiles whose labels the contest gave to its participants, and those that it kept to test them
POTSDAM = {
    "train": tuple(f"{row}_{column}" for row in range(2, 8) for column in range(7 if row > 5 else 10, 13)),
    "val": (
        "2_13",
        "2_14",
        "3_13",
        "3_14",
        "4_13",
        "4_14",
        "4_15",
        "5_13",
        "5_14",
        "5_15",
        "6_13",
        "6_14",
        "6_15",
        "7_13",
    ),
}
VAIHINGEN = {
    "train": (1, 3, 5, 7, 11, 13, 15, 17, 21, 23, 26, 28, 30, 32, 34, 37),
    "val": (2, 4, 6, 8, 10, 12, 14, 16, 20, 22, 24, 27, 29, 31, 33, 35, 38),
}
BANDS = {"rgb": "2_Ortho_RGB", "irrg": "3_Ortho_IRRG"}
_COMPLETE = "ISPRS_semantic_labeling_Vaihingen_ground_truth"


def find_potsdam(config: DataConfig, root: Path) -> Layout:
    """`2_Ortho_RGB` or `3_Ortho_IRRG`, and `5_Labels_all`."""
    check_word("potsdam", "split", config.split, tuple(POTSDAM))
    bands = config.bands.upper()
    places = ("5_Labels_all_noBoundary",) if config.eroded else ("5_Labels_all", "5_Labels_for_participants")
    ending = "_label_noBoundary" if config.eroded else "_label"
    return Layout(
        root=root,
        images=existing("potsdam", (root / BANDS[config.bands],)),
        labels=tuple(root / place for place in places),
        kind=_read(config),
        label_size=read_size,
        label_suffixes=(".tif",),
        label_keys=lambda key: (f"{key.removesuffix(f'_{bands}')}{ending}",),
        patterns=tuple(f"top_potsdam_{tile}_{bands}" for tile in POTSDAM[config.split]),
        prefixes=prefixes_of(BANDS[config.bands]),
    )


def find_vaihingen(config: DataConfig, root: Path) -> Layout:
    """`top`, and `gts_for_participants` or the folder of the complete labels."""
    check_word("vaihingen", "split", config.split, tuple(VAIHINGEN))
    images = existing("vaihingen", (root / "top", root / "ISPRS_semantic_labeling_Vaihingen/top"))
    eroded = ("eroded_", "_noBoundary") if config.eroded else ("", "")
    names = (f"{_COMPLETE}_{eroded[0]}COMPLETE", f"gts_{eroded[0]}for_participants")
    kept = "the labels of this split are in the archive of complete labels" if config.split == "val" else ""
    return Layout(
        root=root,
        images=images,
        labels=tuple(dict.fromkeys(base / name for name in names for base in (root, images.parent))),
        kind=_read(config),
        label_size=read_size,
        label_suffixes=(".tif",),
        label_keys=lambda key: (f"{key}{eroded[1]}",),
        patterns=tuple(f"top_mosaic_09cm_area{area}" for area in VAIHINGEN[config.split]),
        prefixes=prefixes_of("ISPRS_semantic_labeling_Vaihingen/top"),
        on_missing=kept,
    )


def _read(config: DataConfig) -> ColourLabels:
    """The six colours, black, and those that `label_colours` adds."""
    own = ((colour, number) for number, colour in enumerate((*ISPRS_COLOURS.values(), (0, 0, 0))))
    return ColourLabels((*own, *given_colours(config.label_colours or {})))


DATASET = Dataset(
    find_files=find_potsdam,
    ids=IDS,
    highest=BORDER,
    label_space="isprs6",
    splits={split: len(tiles) for split, tiles in POTSDAM.items()},
    hint="ISPRS' labels are TIFFs of six colours, and black in eroded ones",
    settings=("bands", "eroded"),
    miniatures={"potsdam": "udacore.testing.formats:write_potsdam"},
)
VAIHINGEN_DATASET = attrs.evolve(
    DATASET,
    find_files=find_vaihingen,
    splits={split: len(areas) for split, areas in VAIHINGEN.items()},
    settings=("eroded",),
    miniatures={"vaihingen": "udacore.testing.formats:write_vaihingen"},
)
