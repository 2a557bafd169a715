"""What every case is made of: a pair of forms, and inputs that are alike on all devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

K, DELTA, TAU = 19, 0.9, 50.0
Outputs = dict[str, Any]
Form = Callable[[], Outputs]


@attrs.frozen(kw_only=True)
class Pair:
    """Two forms of one computation: each call computes it anew and returns what must be alike.

    size   what it is run on, in words
    exact  a form to compare with in place of `plain`: the plain one in double precision,
           where float32 cancels in it
    ties   share of whole numbers that may differ, where rounding makes classes equal and either may be taken
    """

    size: str
    plain: Form
    ours: Form
    exact: Form | None = None
    ties: float = 0.0


@attrs.frozen
class Place:
    """Where a case runs and how large it is."""

    device: torch.device
    quick: bool

    def pick(self, published: Any, small: Any) -> Any:
        return small if self.quick else published

    def random(self, *shape: int, seed: int = 0) -> Tensor:
        """Standard normal; drawn on the CPU, so alike on all devices."""
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.device)

    def label(self, height: int, width: int, seed: int = 0) -> Tensor:
        """1 H W int64: blocks of classes of unequal frequency, a twentieth of them 255."""
        coarse = self.random(1, 1, max(2, height // 24), max(2, width // 24), seed=seed).cpu()
        classes = torch.special.ndtr(coarse).pow(2).mul(K).long().clamp(max=K - 1).where(coarse.abs() > 0.06, 255)
        return F.interpolate(classes.float(), (height, width), mode="nearest")[0].long().to(self.device)

    def logits(self, height: int, width: int, seed: int = 0) -> Tensor:
        """1 K h w: of a network that is right more often than not."""
        label = self.label(height, width, seed)
        right = F.one_hot(label.where(label != 255, 0), K).permute(0, 3, 1, 2)
        return 3 * right + 1.2 * self.random(1, K, height, width, seed=seed + 1)


CASES: dict[str, Callable[[Place], Pair]] = {}


def case(name: str) -> Callable[[Callable[[Place], Pair]], Callable[[Place], Pair]]:
    """Enter a function in `CASES`."""

    def enter(make: Callable[[Place], Pair]) -> Callable[[Place], Pair]:
        CASES[name] = make
        return make

    return enter


def with_gradients(loss_of: Callable[..., Tensor], *inputs: Tensor) -> Outputs:
    """The loss and its gradients with respect to the inputs."""
    leaves = [each.detach().requires_grad_() for each in inputs]
    loss = loss_of(*leaves)
    loss.backward()
    return {"loss": loss.detach(), **{f"gradient {i}": leaf.grad for i, leaf in enumerate(leaves)}}
