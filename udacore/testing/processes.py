"""The end of a group that a test has started, as a run ends its own: `dist.destroy_process_group` hangs
now and then under torch 2.6."""

from udacore.engine.machine.processes import part

__all__ = ["part"]
