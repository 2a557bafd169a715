"""Actions of the main rank alone, whose errors are raised on every rank."""

from __future__ import annotations

from collections.abc import Callable

from udacore import ranks
from udacore.errors import ConfigError, DataError, PluginError, UdaError, one_line
from udacore.files import FULL
from udacore.places import NO_NAME

_KINDS = {kind.exit_code: kind for kind in (UdaError, ConfigError, DataError, PluginError)}


def on_main(action: Callable[[], object]) -> None:
    """Run `action` on the main rank while the others wait; what it refuses, or cannot write, is raised
    on all ranks as UdaError."""
    failure: UdaError | None = None
    if ranks.is_main():
        try:
            action()
        except UdaError as error:
            failure = error
        except OSError as error:
            failure = as_user_error(error)
            if is_disk_full(error):
                failure = UdaError(f"{failure}; make room and go on with --resume")
            failure.__cause__ = error
    told = ranks.all_gather_object(None if failure is None else [failure.exit_code, str(failure)])[0]
    if failure is not None:
        raise failure
    if told is not None:
        raise _KINDS.get(told[0], UdaError)(told[1])


def as_user_error(error: OSError) -> UdaError:
    """One line for a file that could not be written; a ConfigError where it is for its name."""
    if error.errno in NO_NAME:
        return ConfigError(f"{one_line(str(error.filename), 200)}: no file can have such a name: {error.strerror}")
    return UdaError(f"{error.filename or 'the run folder'}: could not be written: {error.strerror or error}")


def is_disk_full(error: OSError) -> bool:
    """Whether the disk, the quota or the largest size of a file is reached, or
    nothing may be written at all."""
    return error.errno in FULL
