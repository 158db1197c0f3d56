"""The one exception that means: the input, not the program, is at fault."""

from __future__ import annotations

import math
from collections.abc import Iterable

_LARGEST = 1e38
_SHOWN = 12


class InputError(ValueError):
    """A file, a table, a configuration or an argument that cannot be used.

    The message says what was asked, what was found and what to do; the commands print it as one line.
    """


class DivergedError(InputError, FloatingPointError):
    """A fit whose numbers are not finite any more: with these stars, bounds and guides, and this learning rate."""


def check_finite(name: str, values: Iterable[float]) -> None:
    """Raise InputError if a number among some is NaN, infinite or larger than single precision holds."""
    listed = [float(value) for value in values]
    if bad := [value for value in listed if not abs(value) <= _LARGEST]:
        raise InputError(f"{name} must be finite numbers; got {bad[0]} among {listed[:_SHOWN]}.")


def check_at_least(name: str, value: int | None, least: int = 1) -> None:
    """Raise InputError if a number that is given is below the least that makes sense."""
    if value is not None and value < least:
        raise InputError(f"{name} must be {least} or more; got {value}.")


def check_share(name: str, value: float) -> None:
    """Raise InputError if a share is not strictly between zero and one."""
    if not 0 < value < 1:
        raise InputError(f"{name} must be between 0 and 1, both excluded; got {value}.")


def check_positive(name: str, value: float) -> None:
    """Raise InputError if a number is not finite and above zero."""
    if not 0 < value < math.inf:
        raise InputError(f"{name} must be a number above zero; got {value}.")
