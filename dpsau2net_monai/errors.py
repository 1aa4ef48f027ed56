"""Errors that the input causes, not the program, and how they reach a person."""

from __future__ import annotations

import atexit
import math
import os
import re
import signal
import sys
import unicodedata
from types import TracebackType

PACKAGE = __package__
WORKERS_ERROR = rf"^{PACKAGE}\.errors\.InputError: (.+)$"

__all__ = ["InputError", "at_least_one", "at_least_zero", "causes", "one_line", "one_line_errors", "root_input_error"]


def one_line(text: str) -> str:
    """Return ``text`` with all characters escaped that break a line or cannot be printed. File names may hold some."""
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


class InputError(ValueError):
    """The user's input cannot be used. The message is one line that names the input and says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def at_least_one(key: str, value: int) -> int:
    """
    Return the number ``key`` of a config.

    Raises:
        InputError: ``value`` is not a whole number from 1 on.
    """
    if not isinstance(value, int) or value < 1:
        raise InputError(f"{key} is {value}; it must be a whole number from 1 on")
    return value


def at_least_zero(key: str, value: float) -> float:
    """
    Return the number ``key`` of a config.

    Raises:
        InputError: ``value`` is not a finite number from 0 on. YAML takes 1e-3 for text.
    """
    if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise InputError(f"{key} is {value}; it must be a number from 0 on, written as 0.001")
    return value


def causes(error: BaseException | None) -> list[BaseException]:
    """Return an error and, after it, those that it was raised from."""
    chain: list[BaseException] = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain


def root_input_error(error: BaseException | None) -> InputError | None:
    """
    Find the :class:`InputError` behind an error.

    Args:
        error: any error. The errors that it was raised from are searched too.

    Returns:
        The :class:`InputError`, or None where there is none. An error of the operating system, such as a file that
        cannot be written or a full disk, a package that is not installed, a ``_target_`` that does not exist, and a
        function of ``bundle.py`` that the config of another version calls give one as well.
    """
    from monai.utils import OptionalImportError  # not at the top: to import MONAI takes seconds

    module = f"{PACKAGE}.bundle"
    every = causes(error)
    chain = [
        error for error in every
        if not isinstance(error, AttributeError) or getattr(error.obj, "__name__", "") == module
    ]  # fmt: skip
    kinds = (InputError, OptionalImportError, ModuleNotFoundError, AttributeError, OSError)
    found = next((error for kind in kinds for error in chain if isinstance(error, kind)), None)
    if found is None:  # torch re-raises the error of a DataLoader's worker with its traceback as text
        lines = [line for error in every for line in re.findall(WORKERS_ERROR, str(error), re.MULTILINE)]
        return InputError(lines[0]) if lines else None
    if isinstance(found, InputError):
        return found
    if isinstance(found, ModuleNotFoundError) and found.name:
        needs = "configs/metadata.json lists what to install for the bundle, under required_packages_version"
        return InputError(f"{found.name.partition('.')[0]} is not installed; {needs}")
    if isinstance(found, AttributeError):
        return InputError(
            f"{module}.{found.name} does not exist; the config was written for another version of {PACKAGE}"
        )
    if isinstance(found, OSError):
        file = found.filename2 or found.filename  # where a renamed file should have come to
        place = f"{file}: " if file else ""
        return InputError(f"{place}{found.strerror or str(found) or type(found).__name__}")
    return InputError(str(found).partition("\n")[0])  # MONAI appends a traceback to its message


def one_line_errors() -> None:
    """
    Make the process end with the one line of an :class:`InputError` instead of a traceback, also where MONAI's config
    parser raised another error from it. After Ctrl-C, the line is ``interrupted``. All other errors keep their
    tracebacks.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        interrupted = any(isinstance(one, KeyboardInterrupt) for one in causes(error))
        cause = None if interrupted else root_input_error(error)
        if cause is None and not interrupted:
            previous(kind, error, traceback)
            return
        print("interrupted" if interrupted else f"error: {cause}", file=sys.stderr)
        if hasattr(sys, "ps1"):  # at Python's own prompt, an error does not end the process
            return
        if interrupted:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C does not wait for the steps of the exit
        # The interpreter's own exit would cut off threads that still read images, within C++ code. That aborts and
        # prints a line of its own. These are the other steps of that exit.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        if interrupted:
            signal.raise_signal(signal.SIGINT)  # as Python ends: a shell's loop over several runs ends too
        os._exit(1)

    sys.excepthook = hook
