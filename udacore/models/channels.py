"""Networks for images that have other than three channels: the first convolution, and weights of RGB networks in it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from udacore.errors import ConfigError

log = logging.getLogger(__name__)
RGB = 3


class InputConv2d(nn.Conv2d):
    """The convolution that sees the image; weights of another number of channels are fitted to it on loading."""


def fit_input(network: nn.Module, channels: int) -> None:
    """Let a network take images N `channels` H W, in place: its first convolution of three channels is replaced,
    its weights repeated or cut as `fit_weight` does. With three channels nothing changes.

    Call it on a backbone as built, before copies of it are made. ConfigError if the network has no such convolution.
    """
    if channels == RGB:
        return
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == RGB and module.groups == 1:
            place, _, last = name.rpartition(".")
            setattr(network.get_submodule(place), last, _replaced(module, channels))
            return
    raise ConfigError(f"model.channels: {channels}, but this network has no convolution of 3 channels that could take them")


def _replaced(old: nn.Conv2d, channels: int) -> InputConv2d:
    with torch.device("meta"):  # no random numbers are drawn: those of the layers after it stay what they were
        new = InputConv2d(
            channels, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation,  # type: ignore[arg-type]
            bias=old.bias is not None, padding_mode=old.padding_mode,
        )  # fmt: skip
    new.weight = nn.Parameter(fit_weight(old.weight.detach(), channels))
    new.bias = old.bias
    return new


def fit_weight(weight: Tensor, channels: int) -> Tensor:
    """The weight (O I k k) of a first convolution for `channels` inputs: input i has those of i mod I, times
    I / channels, which keeps what comes out at about the size that the layers after it were trained for."""
    index = torch.arange(channels, device=weight.device) % weight.shape[1]
    return weight[:, index] * (weight.shape[1] / channels)


def fit_channels(model: nn.Module, state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """A state_dict whose weights of RGB networks fit the model's first convolutions; the log says what was done."""
    fitted = dict(state)
    for name, module in model.named_modules():
        key = f"{name}.weight" if name else "weight"
        given = state.get(key)
        if not isinstance(module, InputConv2d) or given is None or given.ndim != 4 or given.shape[1] != RGB:
            continue
        if given.shape[0] == module.out_channels and given.shape[2:] == module.weight.shape[2:]:
            what = "repeated" if module.in_channels > RGB else "cut"
            log.info("%s: %s: 3 channels %s to %d, times 3/%d", where, key, what, module.in_channels, module.in_channels)
            fitted[key] = fit_weight(given, module.in_channels)
    return fitted
