"""What the bundle's configs call beside the classes that they name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TypeVar

from .data import datalist, find_images
from .errors import InputError, one_line_errors
from .networks import load_weights
from .run_record import record_run
from .transforms import without_masks

__all__ = [
    "choose",
    "datalist",
    "find_images",
    "is_on",
    "is_terminal",
    "load_weights",
    "one_line_errors",
    "record_run",
    "without_masks",
]

T = TypeVar("T")


def choose(key: str, value: str, choices: Mapping[str, T]) -> T:
    """Return the one of ``choices`` that the config's ``key`` names; an unknown one is an :class:`InputError`."""
    if value not in choices:
        raise InputError(f"{key} is one of {', '.join(choices)}, not '{value}'")
    return choices[value]


def is_on(key: str, value: bool | str) -> bool:
    """
    Return a config's switch as a boolean: ``--resume true`` on the command line arrives as text, of which "false", too,
    would be true. Anything but true and false is an :class:`InputError`.
    """
    text = str(value).lower()
    if text not in ("true", "false"):
        raise InputError(f"{key} is true or false, not '{value}'")
    return text == "true"


def is_terminal() -> bool:
    """Whether a person watches, so that progress bars make sense."""
    return sys.stderr.isatty()
