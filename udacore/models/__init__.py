"""Networks: backbones, heads, batch-norm modes, the segmenter, and the weights they start from."""

from udacore.config.schema import ModelConfig
from udacore.deprecation import forward_names
from udacore.models.build import BUILDERS, RESNET101, RESNET101_CAFFE, SMALL, build_segmenter
from udacore.models.channels import fit_input
from udacore.models.deeplab import DeepLabHead, Segmenter
from udacore.models.families import OwnFiles
from udacore.models.layouts import Layout, convert_checkpoint, join_files, recognize_layout
from udacore.models.normalization import (
    DomainBatchNorm2d,
    FrozenBatchNorm2d,
    LiveBatchNorm2d,
    NormFactory,
    StoredBatchNorm2d,
    SyncBatchNorm2d,
    joint_statistics,
    make_batch_norm,
    use_domain,
)
from udacore.models.resnet import BasicBlock, Bottleneck, ResNet, ResNetSettings
from udacore.models.teacher import Teacher
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
    "OwnFiles",
    "ResNet",
    "ResNetSettings",
    "Segmenter",
    "StoredBatchNorm2d",
    "SyncBatchNorm2d",
    "Teacher",
    "build_segmenter",
    "convert_checkpoint",
    "fit_input",
    "join_files",
    "joint_statistics",
    "load_children",
    "load_initial",
    "load_state",
    "make_batch_norm",
    "recognize_layout",
    "use_domain",
]

__getattr__ = forward_names(
    __name__,
    {
        "domain": "udacore.models.use_domain",
        "PyramidHead": "udacore_pycda.pyramid_pooling.PyramidHead",
        "PyramidSegmenter": "udacore_pycda.pyramid_pooling.PyramidSegmenter",
    },
    gone="0.3",
)
