"""Files of the authors: released checkpoints, and prototypes (algorithms/proca 3.2, 12)."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor

from udacore.errors import ConfigError
from udacore.files import write_bytes
from udacore.models.layouts import Layout
from udacore.models.plain_files import load_plain
from udacore_proca.prototypes import Estimator, Prototypes

RELEASED = Layout(
    name="proca",
    parts={
        "feature_extractor": {r"backbone\.": "backbone."},
        "classifier": {r"conv2d_list\.": "classifier.conv2d_list."},
    },
    ignore=("iteration", "optimizer_fea", "optimizer_cls"),
)
"""`model_proca_ssl.pth` and the checkpoints of every stage: ResNet-101 or VGG-16, with or without
`module.` before all keys."""

LAYOUTS = (RELEASED,)

FEATURE_FILE = "prototype_feat_dist.pth"
OUTPUT_FILE = "prototype_out_dist.pth"


def read_prototypes(folder: Path, prototypes: Prototypes) -> None:
    """Fill both estimators from the two files of the original's second stage in `folder`.

    Each is a torch file {'Proto': float32 C A, 'Amount': float32 C}; nothing is unpickled. Raises ConfigError
    for a file that is missing, of another kind, or of another network.
    """
    for name, estimator in ((FEATURE_FILE, prototypes.feature), (OUTPUT_FILE, prototypes.output)):
        mean, count = _read(folder / name)
        if mean.shape != estimator.mean.shape or count.shape != estimator.count.shape:
            fits = tuple(estimator.mean.shape)
            raise ConfigError(f"{folder / name}: prototypes of shape {tuple(mean.shape)}, the network needs {fits} (classes, channels)")
        estimator.mean.copy_(mean)
        estimator.count.copy_(count.double().round())


def _read(path: Path) -> tuple[Tensor, Tensor]:
    if not path.exists():
        raise ConfigError(f"{path}: no such file; prototypes lie in {FEATURE_FILE} and {OUTPUT_FILE}")
    try:
        content = load_plain(path)
    except ValueError as error:
        raise ConfigError(f"{path}: not a readable file of prototypes: {error}") from error
    found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
    if not (isinstance(content, dict) and all(isinstance(content.get(key), Tensor) for key in ("Proto", "Amount"))):
        raise ConfigError(f"{path}: expected the tensors 'Proto' and 'Amount', found {found}")
    return content["Proto"], content["Amount"]


def write_prototypes(folder: Path, prototypes: Prototypes) -> None:
    """Write both estimators into `folder` as the original does; counts above 2^24 are rounded there."""
    for name, estimator in ((FEATURE_FILE, prototypes.feature), (OUTPUT_FILE, prototypes.output)):
        buffer = io.BytesIO()
        torch.save(_original(estimator), buffer)
        write_bytes(folder / name, buffer.getvalue())


def _original(estimator: Estimator) -> dict[str, Tensor]:
    return {"Proto": estimator.mean.float().cpu(), "Amount": estimator.count.float().cpu()}
