"""Packages that only some of what is here needs."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import InputError

__all__ = ["require"]


def require(module: str, install: str) -> ModuleType:
    """
    Import a package that may not be there.

    Args:
        module: to import.
        install: what pip installs for it.

    Raises:
        InputError: it is not installed; the line says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{module} cannot be imported ({error}); install it: pip install {install}") from error
