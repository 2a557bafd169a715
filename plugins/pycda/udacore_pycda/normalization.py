"""Batch norm over all processes whose stored statistics are a weighted mean of all batches
so far (algorithms/pycda 3.3)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as AnyBatchNorm

from udacore import ranks
from udacore.errors import ConfigError
from udacore.models import joint_statistics

_SUMS = ("_tmp_running_mean", "_tmp_running_var", "_running_iter")


class CumulativeBatchNorm2d(nn.BatchNorm2d):
    """In training (x - m) max(v, eps)^-1/2 weight + bias with mean and variance of the batches of all
    processes; else the stored ones.

    decay  d of A <- d A + m, B <- d B + v M/(M-1), n <- d n + 1; stored are A/n and B/n, a mean of all
           batches at first and one of the last 1/(1-d) or so in the end
    fused  normalise with (v + eps)^-1/2 in training too, as torch's own kernels do, by which it is
           faster: about eps / 2v off

    The sums A, B, n are saved as `_tmp_running_mean`, `_tmp_running_var`, `_running_iter`. Weights that lack
    them, such as ImageNet's, start them at (0, 1, 1): the first batch then replaces stored statistics, as
    published. In training every process must call it, and each must run backward.
    """

    _tmp_running_mean: Tensor
    _tmp_running_var: Tensor
    _running_iter: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, *, decay: float = 0.999, eps: float = 1e-5, fused: bool = False) -> None:
        super().__init__(num_features, eps=eps)
        self.decay = decay
        self.fused = fused
        for name, value in _start(self.running_mean).items():
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """N A h w to the same shape and dtype. ConfigError, in training, where there is a
        single value to a channel."""
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        if ranks.size() * x.numel() // x.shape[1] < 2:
            raise ConfigError("batch norm over a single value: pyramid pooling to one cell needs at least 2 images in a micro-batch")
        if self.fused and ranks.size() == 1:
            return self._fused(x)
        mean, variance, count = joint_statistics(x)
        self._store(mean, variance * (count / (count - 1)))
        eps = self.eps if self.fused else 0.0
        floor = 0.0 if self.fused else self.eps
        result: Tensor = _Normalize.apply(x, self.weight, self.bias, mean, variance, count, floor, eps)
        return result

    def _fused(self, x: Tensor) -> Tensor:
        # With momentum 1 torch stores the batch's own mean and unbiased variance.
        mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        y = F.batch_norm(x, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        self._store(mean, variance)
        return y

    @torch.no_grad()
    def _store(self, mean: Tensor, variance: Tensor) -> None:
        """Count one batch of this mean and unbiased variance."""
        self._tmp_running_mean.mul_(self.decay).add_(mean)
        self._tmp_running_var.mul_(self.decay).add_(variance)
        self._running_iter.mul_(self.decay).add_(1)
        self.running_mean.copy_(self._tmp_running_mean / self._running_iter)
        self.running_var.copy_(self._tmp_running_var / self._running_iter)

    @torch.no_grad()
    def reset_statistics(self) -> None:
        """A = B = n = 0: from the next batch on the stored statistics are those of what
        comes, a plain mean at first."""
        for name in _SUMS:
            self.get_buffer(name).zero_()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name, value in _start(self.running_mean).items():
            state_dict.setdefault(prefix + name, value)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _start(like: Tensor) -> dict[str, Tensor]:
    """The sums before the first batch."""
    return {"_tmp_running_mean": torch.zeros_like(like), "_tmp_running_var": torch.ones_like(like), "_running_iter": torch.ones_like(like[:1])}


class _Normalize(torch.autograd.Function):
    """(x - mean) max(variance + eps, floor)^-1/2 weight + bias, where mean and variance
    depend on the x of all ranks.

    Written by hand so that backward keeps x alone. Where `floor` holds, the variance has
    no part in the gradient.
    """

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: Tensor, floor: float, eps: float
    ) -> Tensor:
        bounded = (variance + eps).clamp(min=floor)
        context.save_for_backward(x, weight, mean, bounded.rsqrt(), count, variance + eps > floor)
        # Not F.batch_norm, which some versions of torch let refuse an epsilon of 0; the kernel takes it
        return torch.batch_norm(x, weight, bias, mean, bounded, False, 0.0, 0.0, torch.backends.cudnn.enabled)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, count, varies = context.saved_tensors
        gradient = gradients[0].to(mean.dtype)
        centred = x.to(mean.dtype) - mean[:, None, None]
        bias_gradient = gradient.sum((0, 2, 3))
        weight_gradient = (gradient * centred).sum((0, 2, 3)) * inverse
        x_gradient = None
        if context.needs_input_grad[0]:
            of_mean, of_variance = ranks.all_sum(torch.stack([bias_gradient, weight_gradient])) / count
            slope = -of_variance * inverse * varies
            # (gradient - of_mean + slope centred) weight inverse, in place of `centred`
            torch.addcmul(-of_mean[:, None, None], centred, slope[:, None, None], out=centred)
            x_gradient = centred.add_(gradient).mul_((weight * inverse)[:, None, None]).to(x.dtype)
        # The affine gradients stay this rank's own: the core averages them with all others.
        return (
            x_gradient,
            weight_gradient.to(weight.dtype) if context.needs_input_grad[1] else None,
            bias_gradient.to(weight.dtype) if context.needs_input_grad[2] else None,
            *[None] * 5,
        )


def reset_statistics(model: nn.Module) -> int:
    """Clear the stored statistics of every batch-norm layer of `model`, in place; returns how many there are.

    Layers of torch's kinds begin at mean 0 and variance 1 again. Raises ConfigError if the model has no layer
    that stores any: there is nothing to convert.
    """
    layers = [module for module in model.modules() if isinstance(module, AnyBatchNorm) and module.track_running_stats]
    if not layers:
        raise ConfigError("the model has no batch norm that stores statistics; there is nothing to reset or to convert")
    for layer in layers:
        if isinstance(layer, CumulativeBatchNorm2d):
            layer.reset_statistics()
        else:
            layer.reset_running_stats()
    return len(layers)
