from __future__ import annotations

import sys
from pathlib import Path

import torch

torch.set_num_threads(1)  # the tensors here are tiny; threads only wait for each other
sys.path.append(str(Path(__file__).parent.parent))  # processes that a test starts import it as `tests.test_...`
