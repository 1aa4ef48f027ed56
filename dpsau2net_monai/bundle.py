"""What the bundle's configs call beside the classes that they name."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from .errors import InputError, one_line_errors, root_input_error

try:
    from .data import datalist as read_datalist
    from .data import find_images
    from .networks import load_weights
    from .optional import require
    from .run_record import record_run
    from .tracking import track_run
    from .transforms import without_masks
except ModuleNotFoundError as error:  # of what a packaged bundle needs, before its configs could call one_line_errors
    one_line_errors()
    raise root_input_error(error) from error

__all__ = [
    "choose",
    "datalist",
    "exported",
    "find_images",
    "is_on",
    "is_terminal",
    "load_weights",
    "one_line_errors",
    "record_run",
    "require",
    "track_run",
    "without_masks",
]

T = TypeVar("T")


class datalist(Mapping[str, list[dict[str, str]]]):
    """
    :func:`dpsau2net_monai.data.datalist`, of the same arguments, that looks at the files when a part is asked for.
    MONAI Label gives the images and has no dataset for it, but may evaluate it with the rest of the config.
    """

    def __init__(self, *args: Any) -> None:
        self._args = args

    @cached_property
    def _parts(self) -> dict[str, list[dict[str, str]]]:
        return read_datalist(*self._args)

    def __getitem__(self, part: str) -> list[dict[str, str]]:
        return self._parts[part]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


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


def exported(
    path: str, verb: str, bundle_root: str, ckpt_path: str, input_shape: Sequence[int], **options: object
) -> str:
    """
    Return the path of an exported network; where there is none, an :class:`InputError` gives the command that makes it:
    ``verb`` of ``python -m monai.bundle``, with ``options``.
    """
    if not os.path.isfile(path):
        options = {
            "filepath": path,
            "ckpt_file": ckpt_path,
            "config_file": f"{bundle_root}/configs/inference.yaml",
            "bundle_root": bundle_root,
            "input_shape": list(input_shape),
            **options,
        }
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        command = shlex.join(["python", "-m", "monai.bundle", verb, "network_def", *words])
        raise InputError(f"{path}: no such file; make it: {command}")
    return path
