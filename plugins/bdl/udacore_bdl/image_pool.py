"""Earlier translations, shown to the patch discriminators again (algorithms/bdl 7.4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from udacore import ranks
from udacore.errors import ConfigError

Draws = tuple[Callable[[], float], Callable[[int], int]]
"""A uniform number in [0, 1], and a slot in 0..n-1; each called only where the rule needs a draw."""


def draws_from(generator: torch.Generator) -> Draws:
    """Draws from torch's generator on the CPU."""

    def uniform() -> float:
        return float(torch.rand((), generator=generator, dtype=torch.float64))

    def slot(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    return uniform, slot


class ImagePool(nn.Module):
    """Up to `capacity` images in the buffer `pictures` (n 3 H W), which grows until it is full and
    is saved with the model."""

    pictures: Tensor

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_buffer("pictures", torch.zeros(0, 3, 0, 0))

    @torch.no_grad()
    def query(self, images: Tensor, draws: Draws) -> Tensor:
        """A batch of the shape of `images` (N 3 H W), some of it replaced by earlier images; without graph.

        One after the other: while there is room an image is stored and returned; then with probability 1/2 a
        stored one is returned and replaced by the new one, else the new one is returned. Capacity 0: the
        batch itself. With several processes the pool sees the images of all in rank order, and each gets its
        own share back.

        Raises ConfigError for images of another size than those before.
        """
        images = images.detach()
        if self.capacity == 0:
            return images
        if len(self.pictures) and self.pictures.shape[1:] != images.shape[1:]:
            (height, width), (h, w) = images.shape[-2:], self.pictures.shape[-2:]
            raise ConfigError(f"transform: the image pool needs images of one size, got {width} x {height} after {w} x {h}; add resize or crop")
        # What is remembered never gets narrower: under bf16 the pool stays in float32, and half
        # precision comes back as it was.
        wide = torch.promote_types(images.dtype, self.pictures.dtype)
        everybody = ranks.all_gather(images.to(wide)).flatten(0, 1)
        returned = torch.stack([self._exchange(image, draws) for image in everybody])
        return returned.view(ranks.size(), *images.shape)[ranks.rank()].to(images.dtype)

    def _exchange(self, image: Tensor, draws: Draws) -> Tensor:
        uniform, slot = draws
        if len(self.pictures) < self.capacity:
            self.pictures = torch.cat([self.pictures.to(image).view(-1, *image.shape), image[None]])
            return image
        if uniform() > 0.5:
            place = slot(self.capacity)
            stored = self.pictures[place].clone()
            self.pictures[place] = image
            return stored
        return image
