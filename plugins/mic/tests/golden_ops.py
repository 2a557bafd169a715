"""The operations of the reference vectors, each answered by a public function of the plugin or of udacore.

`OPS` maps an operation's id to a function (inputs, params) -> outputs; an adapter converts and calls, no more.
Those of the networks and those of a step stand in a file each and are merged here.
"""

from __future__ import annotations

import sys
from pathlib import Path

from udacore.testing.golden import Operation

sys.path.append(str(Path(__file__).resolve().parent))
from golden_mic_network_ops import OPS as NETWORK_OPS
from golden_mic_step_ops import OPS as STEP_OPS

OPS: dict[str, Operation] = {**NETWORK_OPS, **STEP_OPS}
