"""The clicks of an annotator, as the inferer takes them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ..clicks import click_names, draw_clicks, require_clickable
from ..data.labels import Labels
from ..data.reading import size_text
from ..errors import InputError

__all__ = ["AddClicksd"]

FOREGROUND = "foreground"


class AddClicksd(MapTransform):
    """
    Append the clicks to images: a channel of the background and one of each class (see
    :func:`dpsau2net_monai.clicks.draw_clicks`). An image without clicks stays as it is.

    An item of the dictionary with the name of a class, or ``background``, has its clicks, as MONAI Label sends them: a
    list of points in pixels or voxels of the image's file. Programs that know of no classes send ``foreground``, which
    is the only class, where there is one.

    ``monai.apps.deepedit.transforms.AddGuidanceFromPointsDeepEditd`` takes volumes only, and no change of orientation.

    Args:
        keys: keys of the images, each (channels, spatial...), with metadata.
        labels: the classes.

    Raises:
        InputError: a click lies outside of the image, or is none, or the classes overlap.
    """

    def __init__(self, keys: KeysCollection, labels: Labels) -> None:
        super().__init__(keys)
        self.labels = labels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict:
        result: dict[Hashable, Any] = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            clicks = {}
            for name in click_names(self.labels):
                keys = [name, name.lower()]  # MONAI Label has its labels in lower case
                if name == self.labels.names[0] and len(self.labels.names) == 1:
                    keys.append(FOREGROUND)
                points = [point for one in dict.fromkeys(keys) for point in self._points(result.get(one), image, name)]
                if points:
                    clicks[name] = self._moved(points, image)
            if not clicks:
                continue
            require_clickable(self.labels, "send no clicks")
            channels = draw_clicks(clicks, self.labels, image.shape[1:]).to(image)
            result[key] = torch.cat([torch.as_tensor(image), torch.as_tensor(channels)])
            if isinstance(image, MetaTensor):
                result[key] = result[key].as_subclass(MetaTensor).copy_meta_from(image)
        return result

    @staticmethod
    def _points(points: Any, image: torch.Tensor, name: str) -> list[list[float]]:
        """Return the points of a request, in pixels or voxels of the image's file."""
        if points is None or isinstance(points, (list, tuple)) and not points:
            return []
        dims = image.ndim - 1
        try:
            given = np.array(points, float)[:, :dims]  # MONAI Label sends three coordinates for pictures too
        except (TypeError, ValueError, IndexError) as error:
            raise InputError(f"the clicks of '{name}' are not a list of points") from error
        size = [*image.shape[1:]]
        if isinstance(image, MetaTensor) and "spatial_shape" in image.meta:
            size = [*(int(side) for side in image.meta["spatial_shape"]), 1][:dims]
        if given.shape[1] != dims:
            raise InputError(f"a click of '{name}' has {given.shape[1]} coordinates; the image has {dims} axes")
        for point in given.tolist():
            if not all(-0.5 <= value < side - 0.5 for value, side in zip(point, size)):
                place = ", ".join(f"{value:g}" for value in point)
                raise InputError(f"the click of '{name}' at {place} lies outside of the image of {size_text(size)}")
        return given.tolist()

    @staticmethod
    def _moved(points: list[list[float]], image: torch.Tensor) -> list[list[float]]:
        """Return points of the image's file where the image has them now."""
        dims = image.ndim - 1
        if not isinstance(image, MetaTensor) or dims == 2:
            return points
        affine = np.linalg.solve(image.affine.cpu().numpy(), np.asarray(image.meta["original_affine"]))
        moved = (np.c_[points, np.ones(len(points))] @ affine.T)[:, :dims]
        return np.clip(moved, 0, np.subtract(image.shape[1:], 1)).tolist()  # the border of resampled voxels is another
