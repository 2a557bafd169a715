"""Files of the authors (algorithms/clp 3.3, 4.5), and the order of their classes (algorithms/clp 8.3)."""

from __future__ import annotations

from udacore.labels import CLASSES16, CLASSES19
from udacore.models.layouts import Layout

CLASSES = (
    "sky", "building", "road", "sidewalk", "fence", "vegetation", "pole", "car", "sign", "person", "bicycle", "motorcycle",
    "light", "rider", "bus", "wall", "terrain", "truck", "train",
)  # fmt: skip
"""The classes in the order of the method; the first 16 are those of the task with SYNTHIA."""

ORDERS = {len(ours): tuple(CLASSES.index(name) for name in ours) for ours in (CLASSES19, CLASSES16)}
"""Number of classes -> for each class in our order, its place in the method's."""

_SEGMENTER = {r"backbone\.": "backbone.", r"classifier\.0\.convs\.(\d)\.0\.": r"classifier.conv2d_list.\1."}
_AXES = {r"classifier\.": 0, r"discriminator\.conv1\.weight": 1}

WEIGHTS = Layout(name="clp-weights", parts={"weights": _SEGMENTER}, class_orders=ORDERS, class_axes=_AXES)
"""`ckpt_*.weights` and the released files: the network alone, with plain or domain-specific batch norm."""

RESUME = Layout(
    name="clp-resume",
    parts={"model_state_dict": _SEGMENTER, "model_state_dict_D": {"": "discriminator."}},
    optional=("model_state_dict_D",),
    ignore=("epochs", "iters", "optimizer_state_dict", "optimizer_state_dict_D"),
    class_orders=ORDERS,
    class_axes=_AXES,
)
"""`ckpt_*.resume`: the network, with the adversarial option its discriminator, and optimisers,
which are not converted."""

LAYOUTS = (WEIGHTS, RESUME)
