"""PLCA's association of features at the size of a whole image, where matrices of all
pixels by all pixels do not fit.

    OMP_NUM_THREADS=1 python benchmarks/association.py [--size 128 256] [--channels 2048]

Value and both gradients of one loss; prints processor seconds and the memory beyond the
inputs (Linux). Takes minutes.
"""

from __future__ import annotations

import argparse
import time

import torch
from speed import host_memory
from udacore_clp.association import association_loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), metavar=("H", "W"))
    parser.add_argument("--channels", type=int, default=2048)
    arguments = parser.parse_args()
    shape = (1, arguments.channels, *arguments.size)
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randn(shape, generator=generator).relu_().requires_grad_() for _ in range(2))
    label = torch.full((1, *arguments.size), 255)
    label[:, : arguments.size[0] // 8, : arguments.size[1] // 4] = 1  # the others are competitors only

    def loss_and_gradients() -> None:
        found = association_loss(source, target, label, kind="cos")
        found.loss.backward()
        print(f"{int(found.trusted.sum())} trusted cycles", flush=True)

    began = time.process_time()
    taken = host_memory(loss_and_gradients)
    gradients = 2 * source.numel() * source.element_size()
    print(f"{' x '.join(map(str, shape))}: {time.process_time() - began:.0f} s, {taken / 2**20:.0f} MiB beyond the inputs,")
    print(f"{(taken - gradients) / 2**20:.0f} MiB beyond inputs and gradients")


if __name__ == "__main__":
    main()
