"""SIGTERM, SIGHUP and SIGINT: stop after one more checkpoint during steps, elsewhere at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from udacore import ranks
from udacore.errors import UdaError

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))


class StoppedError(UdaError):
    """A signal ended the run; exit code 128 + signal."""

    def __init__(self, number: int, where: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} at {where}; go on with --resume")
        self.exit_code = 128 + number


class _Interruption(BaseException):
    """Raised where a signal arrives. Not an Exception: code that handles errors must not take it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def explain_signals(place: Callable[[], str]) -> Iterator[None]:
    """A signal in here becomes StoppedError, with what `place` says of where the run
    stands and what was saved.

    Files are written whole or not at all, so that a run may be ended anywhere. Of several processes only the
    main one has a word to say; the others keep the signals' usual effect.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[number])  # a second one ends the process at once
        raise _Interruption(number)

    if not ranks.is_main() or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup ignores SIGHUP, and means it
            signal.signal(number, stop)
    try:
        yield
    except _Interruption as error:
        raise StoppedError(error.number, place()) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that holds a signal once it came; a second one ends the process at once.

    Several processes would stop at different steps, so there the signal keeps its effect outside of here, and
    the last periodic checkpoint serves.
    """
    received: list[int] = []
    if ranks.size() > 1 or threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
