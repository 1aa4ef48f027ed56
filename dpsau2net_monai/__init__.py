"""DPSAU2-Net for medical image segmentation, in MONAI."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

__version__ = "0.13.0"

NETS = "monai.networks.nets"


def __getattr__(name: str) -> type:
    """Look up a network, in this package and in ``monai.networks.nets``, and import its module only then."""
    if name not in ("DPSAU2Net", "DPSAU2NetLite"):
        raise AttributeError(f"there is no attribute {name!r}")
    from . import networks

    return getattr(networks, name)


class _NetsFinder(importlib.abc.MetaPathFinder):
    """
    Adds the networks to ``monai.networks.nets`` when that is imported, so that ``_target_:
    monai.networks.nets.DPSAU2Net`` resolves in any config. To import MONAI here for it would cost every command
    seconds, also one without a network.
    """

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != NETS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(NETS)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_add(module: ModuleType) -> None:
                execute(module)
                module.__getattr__ = __getattr__  # type: ignore[method-assign]

            spec.loader.exec_module = execute_and_add  # type: ignore[method-assign]
        return spec


if NETS in sys.modules:
    sys.modules[NETS].__getattr__ = __getattr__  # type: ignore[method-assign]
else:
    sys.meta_path.insert(0, _NetsFinder())
