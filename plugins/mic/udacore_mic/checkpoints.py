"""Layouts of the authors' released checkpoints (algorithms/mic 4)."""

from __future__ import annotations

from udacore.models import Layout

_STUDENT = r"(?:model\.)?"
"""A training checkpoint puts it before the keys of the network that is evaluated; a bare one does not."""
_DEEPLAB = r"decode_head\.((?:head\.|scale_attention\.)?)aspp_modules\.(\d+)\.conv\."
_RULES = {
    rf"{_STUDENT}backbone\.stem\.0\.": "backbone.conv1.",
    rf"{_STUDENT}backbone\.stem\.1\.": "backbone.bn1.",
    rf"{_STUDENT}backbone\.stem\.3\.": "backbone.conv2.",
    rf"{_STUDENT}backbone\.stem\.4\.": "backbone.bn2.",
    rf"{_STUDENT}backbone\.stem\.6\.": "backbone.conv3.",
    rf"{_STUDENT}backbone\.stem\.7\.": "backbone.bn3.",
    rf"{_STUDENT}backbone\.": "backbone.",
    rf"{_STUDENT}{_DEEPLAB}": r"classifier.\1conv2d_list.\2.",
    rf"{_STUDENT}decode_head\.": "classifier.",
}
_OTHERS = (r"ema_model\.", r"imnet_model\.")
"""The teacher, which is made anew, and the frozen ImageNet network, which has a file of its own."""

RELEASED = Layout(
    name="mic",
    parts={"state_dict": _RULES},
    drop=_OTHERS,
    ignore=("meta", "optimizer"),
)
"""A checkpoint as the authors' training writes it: the state_dict beside what the program notes."""

BARE = Layout(name="mic-weights", parts={"": _RULES}, drop=_OTHERS)
"""Its state_dict alone."""

LAYOUTS = (RELEASED, BARE)
