"""Loading images and masks of every kind as the network takes them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.image_reader import ImageReader
from monai.transforms import LoadImage, LoadImaged
from monai.utils import ensure_tuple

from ..data.dicom import SeriesReader
from ..data.inspection import read_header
from ..data.labels import Labels
from ..data.memory import require_memory
from ..data.picture_reader import PictureReader
from ..data.reading import is_series, is_volume, reading, require_finite, size_text
from ..errors import InputError

__all__ = ["LoadInputImaged", "LoadMaskd"]

# the shares of red, green and blue in the luminance (ITU-R BT.601), as in Pillow and scikit-image
LUMINANCE = (0.299, 0.587, 0.114)
MISPLACED = 0.5  # voxels


def _displacement(image: MetaTensor, other: MetaTensor) -> float:
    """Return the largest distance of the places of a voxel in two images of one size, in voxels along an axis."""
    sizes = [*image.shape[1:], 1, 1][:3]
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in sizes))])
    affine, expected = (one.affine.cpu().numpy() for one in (image, other))
    return float(np.abs((np.linalg.solve(expected, affine) - np.eye(4)) @ corners.T).max())


class _Loadd(LoadImaged):
    """
    ``monai.transforms.LoadImaged`` that reads pictures with :class:`PictureReader`, reports an unreadable file in one
    line, and drops the single-slice axis of a volume where the network is 2D. A folder is a DICOM series. The path
    stays under ``KEY_path``, so that an image can be named later, also where its metadata is dropped for speed.
    """

    def __init__(self, keys: KeysCollection, spatial_dims: int) -> None:
        super().__init__(keys, image_only=True, ensure_channel_first=True)
        self._loader: LoadImage
        self.register(PictureReader())
        self.spatial_dims = spatial_dims

    def load(self, path: str, reader: ImageReader | None = None) -> MetaTensor:
        """Load one file as (channels, spatial...) of the network's dimensions."""
        if is_series(path):
            loaded = self._loader(path, SeriesReader())
        else:
            if self.spatial_dims == 3 and is_volume(path):
                read_header(path)  # nibabel takes a spacing of 0 for 1
            with reading(path):
                loaded = self._loader(path, reader)
        image = loaded[0] if isinstance(loaded, tuple) else loaded  # MONAI Label asks for the metadata as well
        require_finite(image.numpy(), path)
        while image.ndim > self.spatial_dims + 1 and image.shape[-1] == 1:
            image = image.squeeze(-1)
        if image.ndim != self.spatial_dims + 1 or 0 in image.shape:
            size = size_text(image.shape[1:])
            raise InputError(f"{path}: is an image of {size}, but the network takes {self.spatial_dims}D images")
        return image

    def convert(self, images: list[MetaTensor], paths: list[str]) -> torch.Tensor:
        """Turn the loaded files of an image, each (channels, spatial...), into what the dictionary shall hold."""
        raise NotImplementedError

    def __call__(self, data: Mapping[Hashable, Any], reader: ImageReader | None = None) -> dict:
        result: dict[Hashable, Any] = dict(data)
        for key in self.key_iterator(result):
            paths = [str(path) for path in ensure_tuple(result[key])]
            images = [self.load(path, reader) for path in paths]
            for image, path in zip(images[1:], paths[1:]):
                if image.shape[1:] != images[0].shape[1:]:
                    sizes = f"is {size_text(image.shape[1:])}, but {paths[0]} is {size_text(images[0].shape[1:])}"
                    raise InputError(f"{path}: {sizes}")
                if _displacement(image, images[0]) > MISPLACED:
                    raise InputError(f"{path}: its affine puts it in another place than {paths[0]}; register them")
            result[key] = self.convert(images, paths)
            result[f"{key}_path"] = paths[0]
        return result


class LoadInputImaged(_Loadd):
    """
    Load images, channel first, with the number of channels that the network takes: a grey picture is repeated, an alpha
        channel is dropped, and colours become their luminance for a network of one channel. The channels of volumes are
        kept. No transform of MONAI takes grey and colour pictures alike.

    Args:
        keys: keys of the paths to load: a path, or a list of paths, whose channels follow each other.
        channels: number of channels that the network takes.
        spatial_dims: 2 or 3.
        outputs: number of channels of the network's output, to refuse images that do not fit in memory with it. None:
            the memory is not checked.

    Raises:
        InputError: a file cannot be read, holds NaN, does not fit the network's dimensions or channels, or does not fit
            in memory.
    """

    def __init__(self, keys: KeysCollection, channels: int, spatial_dims: int = 2, outputs: int | None = None) -> None:
        super().__init__(keys, spatial_dims)
        self.channels = channels
        self.outputs = outputs

    def load(self, path: str, reader: ImageReader | None = None) -> MetaTensor:
        if self.outputs is not None and not is_series(path):
            require_memory(path, self.channels, self.outputs)
        return super().load(path, reader)

    def convert(self, images: list[MetaTensor], paths: list[str]) -> torch.Tensor:
        if len(images) > 1:
            image = torch.cat(list[torch.Tensor](images))
            if len(image) != self.channels:
                found = f"has {len(image)} channels in {len(paths)} files"
                raise InputError(f"{paths[0]}: {found}, but the network takes {self.channels}")
            return image
        (image,), (path,) = images, paths
        count = image.shape[0]
        if count == self.channels:
            return image
        if self.spatial_dims == 2:  # the channels of volumes are no colours
            if count == 1:
                return image.repeat(self.channels, 1, 1)
            if count == 4 and self.channels == 3:
                return image[:3]
            if count in (3, 4) and self.channels == 1:
                weights = torch.tensor(LUMINANCE, dtype=image.dtype).reshape(3, 1, 1)
                return (image[:3] * weights).sum(0, keepdim=True)
        raise InputError(f"{path}: has {count} channels, but the network takes {self.channels}")


class LoadMaskd(_Loadd):
    """
    Load masks as codes of the classes, in one channel (see :class:`dpsau2net_monai.data.Labels`). For one class without
    a value of its own, every value over 0 is foreground. In a mask that uses the whole range of its type, 0 to 255 or
    65535, values over half of it are (see :func:`dpsau2net_monai.data.reading.foreground`).

    Args:
        keys: keys of the paths to load: a path, or a list with a path for each class.
        labels: the classes.
        spatial_dims: 2 or 3.

    Raises:
        InputError: a file cannot be read, holds NaN or a value of no class, or does not fit the network's dimensions.
    """

    def __init__(self, keys: KeysCollection, labels: Labels | None = None, spatial_dims: int = 2) -> None:
        super().__init__(keys, spatial_dims)
        self.labels = labels or Labels()

    def convert(self, images: list[MetaTensor], paths: list[str]) -> torch.Tensor:
        stored = [image.meta.get("stored_max", 1) for image in images]
        codes = self.labels.decode([image.numpy() for image in images], stored, paths[0])
        like = images[0]
        return torch.as_tensor(codes).to(like.dtype).as_subclass(type(like)).copy_meta_from(like)
