"""The variants of batch normalisation that methods use.

All forms hold the keys `weight`, `bias`, `running_mean` and `running_var`, so weights pass from one to
another; the domain-specific form holds them once for each domain and takes a plain set for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udacore import ranks
from udacore.errors import ConfigError, near_matches

BatchNormMode = Literal["train", "eval", "frozen", "frozen-no-epsilon", "live", "domain"]
NormFactory = Callable[[int], nn.Module]
"""From a number of channels to a layer."""

DOMAINS = ("source", "target")
"""Names of the domains; their places are the numbers in the keys of domain-specific layers."""

_KEYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class FrozenBatchNorm2d(nn.Module):
    """A fixed affine map, the same in training and evaluation: y = x s + (bias - mean s), s =
    weight (var + eps)^-1/2.

    Four buffers and no parameter. `eps=0` is the form of the FADA family (algorithms/fada 4.2); on ResNet-101
    the two differ by about 4e-4, relatively.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """N A h w to the same shape and dtype."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        # Two elementwise steps keep only `scale` for backward; F.batch_norm would keep the whole input.
        y = x * scale[:, None, None]
        y += shift[:, None, None]
        return y.to(x.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # A trainable layer counts its batches; here there is nothing to count.
        state_dict.pop(prefix + "num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"{self.weight.numel()}, eps={self.eps}"


class SyncBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose batch is that of all processes, on any device (`nn.SyncBatchNorm`
    takes CUDA tensors only).

    In training every process must call it, and each must run backward. With one
    process it is `nn.BatchNorm2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """N A h w to the same shape and dtype. In training ConfigError for one value a
        channel, which has no variance."""
        if ranks.size() == 1 or not self.training:
            if self.training and x.numel() == x.shape[1]:
                raise ConfigError("batch norm cannot be trained on one image whose map is 1 x 1; take larger crops or more images at a time")
            return super().forward(x)
        mean, variance, count = joint_statistics(x)
        self._update_running_statistics(mean, variance, count)
        result: Tensor = _SyncNormalize.apply(x, self.weight, self.bias, mean, variance, count, self.eps)
        return result

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        # momentum None: cumulative average
        factor = 1.0 / self.num_batches_tracked if self.momentum is None else torch.full_like(count, self.momentum)
        factor = factor.to(self.running_mean)
        self.running_mean.lerp_(mean.to(self.running_mean), factor)
        self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var), factor)


def joint_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance of each channel of `x` (N A h w) over the batches of all ranks,
    and the number of values.

    Float32 at least, without gradient: A, A and 1 numbers. Every rank must call it.
    """
    with torch.no_grad():
        values = x.detach().to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
        count = torch.full_like(mean[:1], values.numel() // values.shape[1])
        rows = ranks.all_gather(torch.cat([mean, variance, count]))
        means, variances, counts = rows[:, : mean.numel()], rows[:, mean.numel() : -1], rows[:, -1:]
        # Deviations from the joint mean, not E[x^2] - m^2, which cancels where the mean is large.
        share = counts / counts.sum()
        joint = (means * share).sum(0)
        return joint, ((variances + (means - joint) ** 2) * share).sum(0), counts.sum()


class _SyncNormalize(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, where mean and variance
    depend on the x of all ranks.

    Written by hand so that backward keeps x alone; built of tensor operations it would keep
    three maps of that size.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: Tensor, eps: float) -> Tensor:
        inverse = (variance + eps).rsqrt()
        context.save_for_backward(x, weight, mean, inverse, count)
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, count = context.saved_tensors
        gradient = gradients[0].to(mean.dtype)
        normalized = (x.to(mean.dtype) - mean[:, None, None]) * inverse[:, None, None]
        bias_gradient = gradient.sum((0, 2, 3))
        weight_gradient = (gradient * normalized).sum((0, 2, 3))
        x_gradient = None
        if context.needs_input_grad[0]:
            shared = ranks.all_sum(torch.stack([bias_gradient, weight_gradient])) / count
            centred = gradient - shared[0][:, None, None] - normalized * shared[1][:, None, None]
            x_gradient = (centred * (weight * inverse)[:, None, None]).to(x.dtype)
        # The affine gradients stay this rank's own: the core averages them with all others.
        return (
            x_gradient,
            weight_gradient.to(weight.dtype) if context.needs_input_grad[1] else None,
            bias_gradient.to(weight.dtype) if context.needs_input_grad[2] else None,
            None,
            None,
            None,
            None,
        )


class StoredBatchNorm2d(nn.BatchNorm2d):
    """Normalises with the stored statistics whatever `train()` says; weight and bias are trained."""

    def forward(self, x: Tensor) -> Tensor:
        """N A h w to the same shape and dtype."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


class LiveBatchNorm2d(SyncBatchNorm2d):
    """Batch statistics in training, stored ones in evaluation; weight and bias are never
    trained (algorithms/bdl 5.1).

    They are buffers, so that no switching of `requires_grad` and no weight decay reaches them.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        for name in ("weight", "bias"):
            value = self._parameters.pop(name)
            assert value is not None
            self.register_buffer(name, value.detach())


class DomainBatchNorm2d(nn.Module):
    """Its own layer for each domain: `norm_layers.0` for the source, `norm_layers.1` for the
    target (algorithms/clp 4.2).

    `current` names the domain in use, 'source' unless `use_domain` chose another. A plain
    layer's weights load into both.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.norm_layers = nn.ModuleList(SyncBatchNorm2d(num_features) for _ in DOMAINS)
        self.current = DOMAINS[0]

    def forward(self, x: Tensor) -> Tensor:
        """N A h w to the same shape and dtype."""
        result: Tensor = self.norm_layers[DOMAINS.index(self.current)](x)
        return result

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for key in _KEYS:
            if (prefix + key) in state_dict:
                value = state_dict.pop(prefix + key)
                for index in range(len(DOMAINS)):
                    state_dict.setdefault(f"{prefix}norm_layers.{index}.{key}", value)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


@contextmanager
def use_domain(model: Callable[..., object], name: str) -> Iterator[None]:
    """Within the block the domain-specific layers of `model` are those of domain `name`;
    afterwards what they were before.

    A model without such layers is left alone, and so is a function that stands for one. Raises ValueError
    where `name` is neither 'source' nor 'target'.
    """
    if name not in DOMAINS:
        raise ValueError(f"domain {name!r}{near_matches(name, DOMAINS)}")
    modules = model.modules() if isinstance(model, nn.Module) else ()
    layers = [module for module in modules if isinstance(module, DomainBatchNorm2d)]
    before = [layer.current for layer in layers]
    try:
        for layer in layers:
            layer.current = name
        yield
    finally:
        for layer, current in zip(layers, before, strict=True):
            layer.current = current


_FACTORIES: dict[str, NormFactory] = {
    "train": SyncBatchNorm2d,
    "eval": StoredBatchNorm2d,
    "frozen": FrozenBatchNorm2d,
    "frozen-no-epsilon": partial(FrozenBatchNorm2d, eps=0.0),
    "live": LiveBatchNorm2d,
    "domain": DomainBatchNorm2d,
}
assert set(_FACTORIES) == set(get_args(BatchNormMode))


def make_batch_norm(mode: str) -> NormFactory:
    """The layer of a batch-norm mode, as a function of the number of channels.

    Raises ConfigError for an unknown mode.
    """
    if mode not in _FACTORIES:
        raise ConfigError(f"model.batch_norm: {mode!r}{near_matches(mode, _FACTORIES)}")
    return _FACTORIES[mode]
