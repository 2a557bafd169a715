"""Tiny runs; see `tiny_runs.py`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from tiny_runs import Workshop as Workshop
from tiny_runs import _one_thread as _one_thread
from tiny_runs import make_workshop as make_workshop
from tiny_runs import workshop as workshop
