"""Networks: backbones, heads, batch-norm modes, the segmenter, and the weights they start from."""

import importlib
import warnings
from typing import Any

from udacore.config.schema import ModelConfig
from udacore.models.build import BUILDERS, RESNET101, RESNET101_CAFFE, SMALL, build_segmenter
from udacore.models.deeplab import DeepLabHead, Segmenter
from udacore.models.layouts import Layout, convert_checkpoint, join_files, recognize_layout
from udacore.models.normalization import (
    DomainBatchNorm2d,
    FrozenBatchNorm2d,
    LiveBatchNorm2d,
    NormFactory,
    StoredBatchNorm2d,
    SyncBatchNorm2d,
    domain,
    joint_statistics,
    make_batch_norm,
)
from udacore.models.resnet import BasicBlock, Bottleneck, ResNet, ResNetSettings
from udacore.models.vgg import VGG16
from udacore.models.weights import Loaded, load_children, load_initial, load_state

__all__ = [
    "BUILDERS",
    "RESNET101",
    "RESNET101_CAFFE",
    "SMALL",
    "VGG16",
    "BasicBlock",
    "Bottleneck",
    "DeepLabHead",
    "DomainBatchNorm2d",
    "FrozenBatchNorm2d",
    "Layout",
    "LiveBatchNorm2d",
    "Loaded",
    "ModelConfig",
    "NormFactory",
    "ResNet",
    "ResNetSettings",
    "Segmenter",
    "StoredBatchNorm2d",
    "SyncBatchNorm2d",
    "build_segmenter",
    "convert_checkpoint",
    "domain",
    "join_files",
    "joint_statistics",
    "load_children",
    "load_initial",
    "load_state",
    "make_batch_norm",
    "recognize_layout",
]

_MOVED = dict.fromkeys(("PyramidHead", "PyramidSegmenter"), "udacore_pycda.pyramid_pooling")
"""Names that left this package with version 0.2, and where they are; gone in 0.3."""


def __getattr__(name: str) -> Any:
    """A name that was moved, with a warning. Raises AttributeError for any other."""
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = getattr(importlib.import_module(_MOVED[name]), name)
    except ModuleNotFoundError as error:
        raise AttributeError(f"{name} moved to {_MOVED[name]}, which is not installed") from error
    warnings.warn(f"{name} moved to {_MOVED[name]}; the old name goes in udacore 0.3", DeprecationWarning, stacklevel=2)
    return found
