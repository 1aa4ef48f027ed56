"""Loading images and masks of every kind as the network takes them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data.image_reader import ImageReader
from monai.transforms import LoadImage, LoadImaged

from ..data.picture_reader import PictureReader
from ..data.reading import foreground, reading, require_finite, size_text
from ..errors import InputError

__all__ = ["LoadInputImaged", "LoadMaskd"]

# the shares of red, green and blue in the luminance (ITU-R BT.601), as in Pillow and scikit-image
LUMINANCE = (0.299, 0.587, 0.114)


class _Loadd(LoadImaged):
    """
    ``monai.transforms.LoadImaged`` that reads pictures with :class:`PictureReader`, reports an unreadable file in one
    line, and drops the single-slice axis of a volume where the network is 2D. The path stays under ``KEY_path``, so
    that an image can be named later, also where its metadata is dropped for speed.
    """

    def __init__(self, keys: KeysCollection, spatial_dims: int) -> None:
        super().__init__(keys, image_only=True, ensure_channel_first=True)
        self._loader: LoadImage
        self.register(PictureReader())
        self.spatial_dims = spatial_dims

    def convert(self, image: torch.Tensor, path: str) -> torch.Tensor:
        """Turn a loaded image (channels, spatial...) into what the dictionary shall hold."""
        raise NotImplementedError

    def __call__(self, data: Mapping[Hashable, str], reader: ImageReader | None = None) -> dict:
        result: dict[Hashable, Any] = dict(data)
        for key in self.key_iterator(result):
            path = result[key]
            with reading(path):
                loaded = self._loader(path, reader)
            image = loaded[0] if isinstance(loaded, tuple) else loaded  # MONAI Label asks for the metadata as well
            require_finite(image.numpy(), path)
            while image.ndim > self.spatial_dims + 1 and image.shape[-1] == 1:
                image = image.squeeze(-1)
            if image.ndim != self.spatial_dims + 1 or 0 in image.shape:
                size = size_text(image.shape[1:])
                raise InputError(f"{path}: is an image of {size}, but the network takes {self.spatial_dims}D images")
            result[key] = self.convert(image, path)
            result[f"{key}_path"] = str(path)
        return result


class LoadInputImaged(_Loadd):
    """
    Load images, channel first, with the number of channels that the network takes: a grey image is repeated, an alpha
        channel is dropped, and colours become their luminance for a network of one channel. No transform of MONAI takes
        grey and colour images alike.

    Args:
        keys: keys of the paths to load.
        channels: number of channels that the network takes.
        spatial_dims: 2 or 3.

    Raises:
        InputError: a file cannot be read, holds NaN, or does not fit the network's dimensions or channels.
    """

    def __init__(self, keys: KeysCollection, channels: int, spatial_dims: int = 2) -> None:
        super().__init__(keys, spatial_dims)
        self.channels = channels

    def convert(self, image: torch.Tensor, path: str) -> torch.Tensor:
        count = image.shape[0]
        if count == self.channels:
            return image
        if count == 1:
            return image.repeat(self.channels, *[1] * self.spatial_dims)
        if count == 4 and self.channels == 3:
            return image[:3]
        if count in (3, 4) and self.channels == 1:
            weights = torch.tensor(LUMINANCE, dtype=image.dtype).reshape(3, *[1] * self.spatial_dims)
            return (image[:3] * weights).sum(0, keepdim=True)
        raise InputError(f"{path}: has {count} channels, but the network takes {self.channels}")


class LoadMaskd(_Loadd):
    """
    Load masks as one channel of 0 and 1. A mask may be of 0 and 1, 0 and 255, booleans, or numbered instances, in one
    channel or in three equal ones.

    Every value over 0 is foreground. In a mask that uses the whole range of its type, 0 to 255 or 65535, values over
    half of it are (see :func:`dpsau2net_monai.data.reading.foreground`).

    Args:
        keys: keys of the paths to load.
        spatial_dims: 2 or 3.

    Raises:
        InputError: a file cannot be read, holds NaN, or does not fit the network's dimensions.
    """

    def __init__(self, keys: KeysCollection, spatial_dims: int = 2) -> None:
        super().__init__(keys, spatial_dims)

    def convert(self, image: torch.Tensor, path: str) -> torch.Tensor:
        return foreground(image.amax(0, keepdim=True)).to(image.dtype)
