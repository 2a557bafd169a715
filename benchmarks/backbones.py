"""The table of docs/backbones.md: networks of timm with their size, work, strides and the
licence of their weights.

`python benchmarks/backbones.py` prints it; `--write` puts it into the page. Nothing is
downloaded or allocated.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from udacore.config.schema import TIMM, ModelConfig
from udacore.models import build_segmenter
from udacore.models.timm_weights import find_config

PAGE = Path(__file__).resolve().parent.parent / "docs" / "backbones.md"
BEGIN, END = "<!-- begin: backbones -->\n", "<!-- end: backbones -->\n"
NAMES = (
    "resnet101.tv_in1k",
    "resnet101.a1h_in1k",
    "convnext_tiny.fb_in22k_ft_in1k",
    "convnext_base.fb_in22k_ft_in1k",
    "convnextv2_base.fcmae_ft_in22k_in1k",
    "swin_base_patch4_window7_224.ms_in22k_ft_in1k",
    "swinv2_tiny_window8_256.ms_in1k",
    "pvt_v2_b5.in1k",
    "efficientnet_b4.ra2_in1k",
    "hrnet_w48.ms_in1k",
    "deit3_base_patch16_224.fb_in22k_ft_in1k",
    "eva02_large_patch14_clip_224.merged2b",
    "vit_base_patch14_reg4_dinov2.lvd142m",
    "vit_large_patch14_reg4_dinov2.lvd142m",
    "vit_large_patch16_dinov3.lvd1689m",
)
CLASSES = 19


def table() -> str:
    """All rows, in Markdown."""
    head = "| `model.name` | parameters | of the head | GFLOPs at | strides | licence of the weights |\n| --- | --- | --- | --- | --- | --- |\n"
    return head + "".join(map(row, NAMES))


def row(name: str) -> str:
    """One network under the head `daformer`, at 512 x 512 or the nearest size that its patches divide."""
    with torch.device("meta"):
        model = build_segmenter(ModelConfig(name=TIMM + name, head="daformer"), CLASSES).eval()
    backbone = model.backbone
    side = round(512 / backbone.patch) * backbone.patch
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, side, side, device="meta"))
    whole, own = (sum(parameter.numel() for parameter in part.parameters()) for part in (model, backbone.net))
    strides = ", ".join(map(str, backbone.net.feature_info.reduction()))
    licence = find_config(name).get("license") or "not stated by timm"
    work = counter.get_total_flops() / 2e9  # torch counts a multiplication and an addition as two
    return f"| `{TIMM}{name}` | {own / 1e6:.1f} M | {(whole - own) / 1e6:.1f} M | {work:.0f}, {side} x {side} | {strides} | {licence} |\n"


def main() -> None:
    if "--write" not in sys.argv:
        print(table(), end="")
        return
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + table() + "\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
