"""Files of the authors (algorithms/fada 13)."""

from __future__ import annotations

from udacore.models.layouts import Layout

RELEASED = Layout(
    name="fada",
    parts={
        "feature_extractor": {r"backbone\.": "backbone."},
        "classifier": {r"conv2d_list\.": "classifier.conv2d_list."},
        "model_D": {r"D\.": "discriminator.trunk.", r"cls1\.": "discriminator.source.", r"cls2\.": "discriminator.target."},
    },
    optional=("model_D",),
    drop=(r"(module\.)?layer5\.",),
    ignore=("iteration", "optimizer_fea", "optimizer_cls", "optimizer_D"),
)
"""`g2c_sd.pth`, `s2c_adv.pth` and the checkpoints of every stage: ResNet-101 or VGG-16, frozen or trained
batch norm, with or without `module.` before all keys, with a discriminator where the stage trains one."""

LAYOUTS = (RELEASED,)
