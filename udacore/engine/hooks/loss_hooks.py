"""What a loss hook gives, at once or one loss after another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch

from udacore.errors import PluginError
from udacore.interface import Step

END = object()


def call_loss_hook(
    hook: Callable[..., Any], step: Step, opened: Callable[[str], AbstractContextManager[object]], where: str
) -> Generator[tuple[str, Any], None, None]:
    """What the hook returns, or each thing that it yields, before it goes on; with the
    place: "" or ", yield 2".

    hook    `source_loss` or `target_loss`, which may be a generator or return any other iterator
    opened  for a place, the context in which code of the hook runs (autocast, labels of
            errors); it is closed in between
    where   begins a message, such as "plugin 'fada', target_loss, round 'adapt', step 3"

    The taker works with gradients on, whatever the hook has open at its yield. It lets go of what it got
    before it asks for more, and closes this generator if it stops early, so that the hook's own `with` blocks
    end. Raises PluginError for a generator that returns losses, which nobody would see.
    """
    with opened(""):
        result = hook(step=step)
    if not isinstance(result, Iterator):
        yield "", result
        return
    try:
        for number in itertools.count(1):
            place = f", yield {number}"
            with opened(place):
                given = _advance(result, f"{where}{place}")
            if given is END:
                return
            with torch.enable_grad():
                yield place, given
            del given
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()


def _advance(losses: Iterator[Any], where: str) -> Any:
    """What comes next, or END."""
    try:
        return next(losses)
    except StopIteration as end:
        if end.value is not None:
            said = f"a generator returned {type(end.value).__name__}, which nobody takes"
            raise PluginError(f"{where}: {said}; yield every loss, and end with a bare `return`") from None
        return END
