"""The additional output of a network that separates touching instances, such as nuclei."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import PathLike
from monai.transforms import MapTransform
from scipy.ndimage import distance_transform_edt, find_objects

from ..data.instances import read_instances
from ..metrics import split_instances

__all__ = ["AddInstanceDistanced", "SeparateInstancesd", "instance_distance", "true_instances"]


def true_instances(instances_dir: PathLike | None, image: str, mask: np.ndarray) -> np.ndarray:
    """
    Return the true instances of an image.

    Args:
        instances_dir: folder of pictures of numbered instances. None: there is none.
        image: path of the image.
        mask: its true mask, (x, y). It is split where the folder has no instances of the image.

    Returns:
        Integers of the mask's shape; 0 is the background.
    """
    instances = read_instances(instances_dir, image, mask.shape)
    return split_instances(mask) if instances is None else instances


def instance_distance(instances: np.ndarray) -> np.ndarray:
    """
    Return each pixel's distance to the border of its instance, divided by the largest one in this instance.

    Args:
        instances: numbered instances; 0 is the background.

    Returns:
        float32 of the same shape: 0 in the background, 1 in the middle of each instance.
    """
    result = np.zeros(instances.shape, np.float32)
    for number, box in enumerate(find_objects(instances), 1):
        if box is None:
            continue
        inside = instances[box] == number
        distance = distance_transform_edt(np.pad(inside, 1))[(slice(1, -1),) * inside.ndim]
        result[box][inside] = (distance / distance.max())[inside]
    return result


class AddInstanceDistanced(MapTransform):
    """
    Append a channel with the normalised distance to the border of the instance to masks (see
    :func:`instance_distance`), as the target of a network with ``instances``. MONAI has distance transforms of masks,
    not of numbered instances.

    Args:
        keys: keys of the masks, each (1, spatial...).
        instances_dir: folder of pictures of numbered instances. The mask of an image that has none there is split (see
            :func:`dpsau2net_monai.metrics.split_instances`).
        image_key: key of the images; ``KEY_path`` is their path.
    """

    def __init__(self, keys: KeysCollection, instances_dir: PathLike | None, image_key: str = "image") -> None:
        super().__init__(keys)
        self.instances_dir = instances_dir
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict:
        result: dict[Hashable, Any] = dict(data)
        for key in self.key_iterator(result):
            mask = torch.as_tensor(result[key][0]).numpy()
            instances = true_instances(self.instances_dir, result[f"{self.image_key}_path"], mask)
            distance = torch.as_tensor(instance_distance(instances))[None]
            like = result[key]
            result[key] = torch.cat([torch.as_tensor(like), distance]).as_subclass(type(like)).copy_meta_from(like)
        return result


class SeparateInstancesd(MapTransform):
    """
    Number the instances in masks (see :func:`dpsau2net_monai.metrics.split_instances`). A network with ``instances``
    also computes the distance that separates them, and tells false instances from true ones.

    ``monai.apps.pathology.transforms.HoVerNetInstanceMapPostProcessingd`` needs HoVer-Net's maps.

    Args:
        keys: keys of the masks, each (1, spatial...).
        distance_key: key of the probabilities, whose last channel is the distance. None: there is none.
        instances_key: key of the result, (1, spatial...) of int32.
    """

    def __init__(self, keys: KeysCollection, distance_key: str | None = None, instances_key: str = "instances") -> None:
        super().__init__(keys)
        self.distance_key = distance_key
        self.instances_key = instances_key

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        result = dict(data)
        for key in self.key_iterator(result):
            mask = result[key][0].cpu().numpy()
            distance = None
            if self.distance_key is not None:
                distance = result[self.distance_key][-1].float().cpu().numpy()
            instances = split_instances(mask, distance)
            result[self.instances_key] = torch.as_tensor(instances.astype(np.int32))[None]
        return result
