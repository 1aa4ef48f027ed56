"""Errors that are the input's, not the program's, and how they reach a person."""

from __future__ import annotations

import atexit
import os
import sys
import unicodedata

from monai.utils import OptionalImportError

__all__ = ["InputError", "one_line", "one_line_errors", "root_input_error"]


def one_line(text: str) -> str:
    """``text`` with what breaks a line or cannot be printed, as a file's name may hold it, shown escaped."""
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


class InputError(ValueError):
    """Something given by the user cannot be used; the message is one line that names it and says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def root_input_error(error: BaseException | None) -> InputError | None:
    """
    Return the :class:`InputError` among ``error`` and what it was raised from, or None where there is none. A package
    that MONAI or the bundle lacks, and a ``_target_`` that there is not, are some, too.
    """
    chain = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    kinds = (InputError, OptionalImportError, ModuleNotFoundError)
    found = next((error for kind in kinds for error in chain if isinstance(error, kind)), None)
    if found is None or isinstance(found, InputError):
        return found
    if isinstance(found, ModuleNotFoundError) and found.name:
        needs = "configs/metadata.json lists what to install for the bundle, under required_packages_version"
        return InputError(f"{found.name.partition('.')[0]} is not installed; {needs}")
    return InputError(str(found).partition("\n")[0])  # MONAI's has a traceback behind it


def one_line_errors() -> None:
    """
    Let the process end with the one line of an :class:`InputError` instead of a traceback, even where MONAI's config
    parser raised another error from it. Tracebacks of every other error stay.
    """
    previous = sys.excepthook

    def hook(kind, error, traceback):  # type: ignore[no-untyped-def]
        cause = root_input_error(error)
        if cause is None:
            previous(kind, error, traceback)
        else:
            print(f"error: {cause}", file=sys.stderr)
            if hasattr(sys, "ps1"):  # at Python's own prompt an error ends nothing
                return
            # a thread that still reads an image would be cut off within C++, which aborts with a line of its own; so do
            # what the interpreter does at its end, but for that
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)

    sys.excepthook = hook
