"""The hierarchical transformer MiT, written from its description alone (algorithms/mic 4.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udacore.errors import ConfigError, list_names
from udacore.models import OwnFiles

STRIDES = (4, 8, 16, 32)
"""Pixels of the image between the places of each stage's map."""
EPSILON = 1e-6
"""Of the layer norms of blocks and stages; those after a convolution have torch's own, 1e-5."""


@attrs.frozen(kw_only=True)
class MiTSettings:
    """The numbers of an encoder, one entry for each stage.

    widths      channels
    depths      blocks
    heads       heads of the attention
    reductions  side of the cells of tokens that share a key and a value
    ratios      width of a block's hidden layer, in widths
    drop_path   probability that a branch of the last block is left out in training; 0 for the first block
    """

    widths: tuple[int, ...] = (64, 128, 320, 512)
    depths: tuple[int, ...] = (3, 6, 40, 3)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    reductions: tuple[int, ...] = (8, 4, 2, 1)
    ratios: tuple[int, ...] = (4, 4, 4, 4)
    drop_path: float = 0.1


ENCODERS: Mapping[str, MiTSettings] = {
    "mit_b0": MiTSettings(widths=(32, 64, 160, 256), depths=(2, 2, 2, 2)),
    "mit_b1": MiTSettings(depths=(2, 2, 2, 2)),
    "mit_b2": MiTSettings(depths=(3, 4, 6, 3)),
    "mit_b3": MiTSettings(depths=(3, 4, 18, 3)),
    "mit_b4": MiTSettings(depths=(3, 8, 27, 3)),
    "mit_b5": MiTSettings(),
    "mit_tiny": MiTSettings(widths=(16, 32, 64, 96), depths=(1, 1, 1, 1), heads=(1, 2, 4, 6)),
}
"""By name; `mit_tiny` is none of the authors' but for small images."""


def drop_path_rates(depths: tuple[int, ...], rate: float) -> list[float]:
    """For each block of all stages the probability that a branch is left out: from 0 to `rate`, evenly."""
    last = sum(depths) - 1
    return [rate * (block / last) if last else 0.0 for block in range(last + 1)]


def as_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Tokens N (h w) C, row by row, as a map N C h w.

    A view: the channels of a place lie side by side, which is what convolutions on CUDA like best.
    """
    return tokens.reshape(len(tokens), *size, -1).permute(0, 3, 1, 2)


def as_tokens(features: Tensor) -> Tensor:
    """A map N C h w as tokens N (h w) C; for a map that `as_map` made a view."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


class PatchEmbedding(nn.Module):
    """From a map to one of a smaller size, as normalised tokens: a convolution whose windows overlap."""

    def __init__(self, before: int, after: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(after)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """A map N A h w to tokens N (h' w') B, and the size (h', w')."""
        x = self.proj(x)
        return self.norm(as_tokens(x)), (x.shape[2], x.shape[3])


class Attention(nn.Module):
    """Each token looks at all cells of `reduction` x `reduction` tokens. What is left over beyond the last
    whole cell of a row or column is not seen."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, reduction)
            self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens N (h w) C to the same shape; `size` is (h, w), neither of them below `reduction`."""
        seen = self.norm(as_tokens(self.sr(as_map(x, size)))) if self.reduction > 1 else x
        query = self.q(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # N heads (h w) c
        pairs = self.kv(seen).view(*seen.shape[:2], 2, self.heads, -1)
        key, value = pairs.permute(2, 0, 3, 1, 4)  # each N heads cells c
        found = F.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.proj(found.transpose(1, 2).flatten(2))
        return result


class DepthwiseConvolution(nn.Module):
    """A 3x3 convolution of each channel of a token map by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens N (h w) C to the same shape."""
        return as_tokens(self.dwconv(as_map(x, size)))


class MixFFN(nn.Module):
    """Two linear layers, and between them a convolution, through which a token knows where it is."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = DepthwiseConvolution(hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens N (h w) C to the same shape."""
        result: Tensor = self.fc2(F.gelu(self.dwconv(self.fc1(x), size)))
        return result


class DropPath(nn.Module):
    """In training, 0 in place of a whole branch with probability `rate`, for each image by itself; what is
    kept is divided by 1 - `rate`."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """N L C to the same shape."""
        if not self.training or self.rate == 0:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.rate
        return branch * (kept / (1 - self.rate)).to(branch.dtype)

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"{self.rate:g}"


class Block(nn.Module):
    """Attention and MixFFN, each on normalised tokens and added to what it was given."""

    def __init__(
        self, width: int, heads: int, reduction: int, ratio: int = 4, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = Attention(width, heads, reduction)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = MixFFN(width, ratio * width)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens N (h w) C to the same shape; `size` is (h, w)."""
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        result: Tensor = x + self.drop_path(self.mlp(self.norm2(x), size))
        return result


class MiT(OwnFiles, nn.Module):
    """The encoder. Keys are those of the released checkpoints: `patch_embed<i>`, `block<i>.<b>`, `norm<i>`.

    channels  of the maps
    """

    def __init__(self, settings: MiTSettings) -> None:
        super().__init__()
        self.settings, self.channels = settings, settings.widths
        before = (3, *settings.widths)
        for stage, (inputs, width) in enumerate(pairwise(before), start=1):
            kernel, stride = (7, 4) if stage == 1 else (3, 2)
            self.add_module(f"patch_embed{stage}", PatchEmbedding(inputs, width, kernel, stride))
        rates = iter(drop_path_rates(settings.depths, settings.drop_path))
        for stage, width in enumerate(settings.widths, start=1):
            numbers = (settings.heads[stage - 1], settings.reductions[stage - 1], settings.ratios[stage - 1])
            blocks = (
                Block(width, *numbers, drop_path=next(rates)) for _ in range(settings.depths[stage - 1])
            )
            self.add_module(f"block{stage}", nn.ModuleList(blocks))
            self.add_module(f"norm{stage}", nn.LayerNorm(width, eps=EPSILON))
        self.apply(initialize)
        sides = zip(STRIDES, settings.reductions, strict=True)
        self.least = max(stride * (cell - 1) + 1 for stride, cell in sides)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps N C_i h_i w_i at strides 4, 8, 16 and 32 of images N 3 H W.

        ConfigError for images so small that a stage's map has not one whole cell for its attention.
        """
        height, width = image.shape[-2:]
        if min(height, width) < self.least:
            said = f"the transformer takes images of at least {self.least} pixels a side"
            raise ConfigError(f"{said}, got {width} x {height}")
        x, maps = image, []
        for stage in range(1, len(self.channels) + 1):
            tokens, size = self.get_submodule(f"patch_embed{stage}")(x)
            for block in self.get_submodule(f"block{stage}").children():
                tokens = block(tokens, size)
            x = as_map(self.get_submodule(f"norm{stage}")(tokens), size)
            maps.append(x)
        return tuple(maps)

    @property
    def expected_file(self) -> str:
        """Which files of weights fit, in words."""
        name = _name_encoder(self.settings.depths, self.settings.widths)
        return f"the ImageNet weights of {name} as SegFormer's authors publish them, or a udacore checkpoint"

    def convert_weights(self, state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
        """The entries of an ImageNet file that are the encoder's, without its classifier `head`.

        ConfigError, which begins with `where`, for a file of something else or of another of the encoders.
        """
        held = {key: value for key, value in state.items() if not key.startswith("head.")}
        depths, widths = _depths(held), _widths(held)
        if held.keys() == self.state_dict().keys() and widths == self.settings.widths:
            return held
        found = _name_encoder(depths, widths) if depths else f"no such encoder (keys {list_names(state)})"
        raise ConfigError(f"{where}: weights of {found}; expected {self.expected_file}")


def _name_encoder(depths: tuple[int, ...], widths: tuple[int, ...]) -> str:
    """The name of an encoder, or its numbers."""
    known = (name for name, each in ENCODERS.items() if (each.depths, each.widths) == (depths, widths))
    return next(known, f"a transformer of {list_names(map(str, depths))} blocks")


def _depths(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Blocks of each stage in a file, as far as there are stages."""
    stages = (f"block{stage}." for stage in range(1, len(STRIDES) + 1))
    counts = (len({key.split(".")[1] for key in state if key.startswith(stage)}) for stage in stages)
    return tuple(count for count in counts if count)


def _widths(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Channels of each stage in a file."""
    norms = (state.get(f"norm{stage}.weight") for stage in range(1, len(STRIDES) + 1))
    return tuple(len(value) for value in norms if value is not None)


def initialize(module: nn.Module) -> None:
    """Random weights of a layer, by torch's generator."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
