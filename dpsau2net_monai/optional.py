"""Packages that only some of what is here needs."""

from __future__ import annotations

import importlib
from types import ModuleType

from monai.utils import min_version

from .errors import InputError

__all__ = ["require"]


def require(module: str, version: str, install: str) -> ModuleType:
    """
    Import a package that may not be there.

    Args:
        module: to import.
        version: the least that will do.
        install: what pip installs for it.

    Raises:
        InputError: it is not installed, is too old, or cannot be imported; the line says what to install.
    """
    try:
        found = importlib.import_module(module)
    except Exception as error:  # a version that does not go with another package's ends in errors of any kind
        raise InputError(f"{module} cannot be imported ({error}); install it: pip install {install}") from error
    if not min_version(found, version):
        raise InputError(f"{module} {found.__version__} is older than {version}: pip install --upgrade {install}")
    return found
