"""
The plugin for napari: segment a layer, correct the instances, save them as training data, and train on them.

napari has no widget that runs a MONAI bundle, and MONAI Label's plugins talk to a server.
"""

from __future__ import annotations

from ..errors import InputError

try:
    import napari.layers  # noqa: F401
    import qtpy.QtWidgets  # noqa: F401
except ImportError as error:  # those of QtPy too, where no Qt is installed
    raise InputError('napari or Qt is not installed; pip install "dpsau2net-monai[napari]"') from error

from .annotating import annotate

__all__ = ["annotate"]
