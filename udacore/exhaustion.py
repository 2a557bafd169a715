"""Errors of exhausted memory or processes, as one line for the user."""

from __future__ import annotations

import re

from udacore.errors import one_line

_REFUSED = re.compile(r"DefaultCPUAllocator|not enough memory|Cannot allocate memory|unable to (mmap|allocate|open) .*shared memory|unable to mmap")
_NO_PROCESS = re.compile(r"can't start new thread|Resource temporarily unavailable")
_LOST = re.compile(r"DataLoader worker \(pid.*\) (is killed by|exited unexpectedly)")


def describe_exhaustion(error: BaseException) -> str | None:
    """The line for an exception that says that memory was refused, or that the system ended a process
    for it; None for others.

    It names the plugin's hook, where one was at work. torch's own classes are known by their
    names: nothing is imported.
    """
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _REFUSED.search(text):
        said, advice = f"out of memory: {one_line(text, 120) or 'nothing more was given'}", "smaller images or a smaller batch take less"
    elif _NO_PROCESS.search(text):
        said, advice = f"no further process or thread could be started: {one_line(text, 120)}", "take fewer workers or threads"
    elif _LOST.search(text):
        said, advice = "a process that reads images was ended by the system, mostly for want of memory", "take fewer workers or smaller images"
    else:
        return None
    place = "".join(f" ({one_line(note, 160)})" for note in getattr(error, "__notes__", ())[:1])
    return f"{said}{place}; {advice}; --debug shows where"
