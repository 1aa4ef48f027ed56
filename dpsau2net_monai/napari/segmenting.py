"""Segmentation of arrays in memory, by the transforms, the network and the inferer of the bundle's inference.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, SpatialResample
from monai.utils import MetaKeys

from ..data.picture_reader import stored_max
from ..data.quality import expected_dice
from ..data.reading import require_finite
from ..errors import InputError

__all__ = [
    "SHIPPED", "Segmenter", "Settings", "Stopped", "bundle_of", "image_at", "leading_axes", "open_segmenter", "planes",
    "weights_file",
]  # fmt: skip

CONFIG = Path("configs", "inference.yaml")
SHIPPED = Path(__file__).parents[2] / "bundle" / "models" / "model.pt"  # of the source repository


class Settings(NamedTuple):
    """How to segment: the values of these keys in inference.yaml. ``ckpt_path`` may also be the folder of weights."""

    ckpt_path: Path
    threshold: float = 0.5
    overlap: float = 0.25
    tta: bool = False
    runtime: str = "torch"


class Stopped(Exception):
    """The user stopped the segmentation."""


def weights_file(weights: Path) -> Path:
    """
    Return the file of weights that a user means by a run's folder or by the file itself.

    Raises:
        InputError: there is no such file, or no ``task.yaml`` beside it.
    """
    path = weights / "model.pt" if weights.is_dir() else weights
    for needed in (path, path.with_name("task.yaml")):
        if not needed.is_file():
            raise InputError(f"{needed}: no such file; choose a model.pt with its task.yaml, or the folder of a run")
    return path.absolute()


def bundle_of(weights: Path) -> Path:
    """
    Return the bundle whose configs belong to weights: the nearest folder above them that has an inference.yaml, else
    that of the source repository.

    Raises:
        InputError: there is none.
    """
    for folder in (*weights.absolute().parents, SHIPPED.parents[1]):
        if (folder / CONFIG).is_file():
            return folder
    raise InputError(f"{weights}: is in no bundle; choose weights within a folder that has {CONFIG}")


def leading_axes(ndim: int, image_dims: int) -> int:
    """
    Return the number of axes of a layer along which it has one image after the other.

    Args:
        ndim: number of axes of the layer, without those of channels and colours.
        image_dims: number of axes of an image.

    Raises:
        InputError: the layer has fewer axes than an image.
    """
    if ndim < image_dims:
        raise InputError(f"the layer has {ndim} dimensions, but the network takes {image_dims}D images")
    return ndim - image_dims


def image_at(data: Any, plane: tuple[int, ...], channels: bool) -> np.ndarray:
    """
    Return an image in the data of a layer.

    Args:
        data: as for :func:`planes`.
        plane: the indices of the image on the axes of the planes.
        channels: whether there is a first axis of channels, which the image keeps.
    """
    return np.asarray(data[(slice(None),) * channels + plane])


def planes(
    data: Any, image_dims: int, rgb: bool, channels: bool = False
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """
    Go through the images in the data of a layer.

    Args:
        data: (planes..., spatial...), or with a last axis of colours, or with a first one of channels.
        image_dims: number of spatial axes.
        rgb: whether there are colours.
        channels: whether there are channels.

    Returns:
        Pairs of the indices of an image on the axes of the planes, and the image, with its colours or channels.

    Raises:
        InputError: the data has fewer axes than an image, or has both colours and channels.
    """
    if rgb and channels:
        raise InputError("the image has colours; untick 'the first axis has channels'")
    leading = leading_axes(data.ndim - rgb - channels, image_dims)
    for index in np.ndindex(*data.shape[channels:][:leading]):
        yield index, image_at(data, index, channels)


class Segmenter:
    """
    Segments arrays as ``run segmenting`` segments the files that hold them.

    Args:
        settings: how to segment.

    Raises:
        InputError: the weights cannot be used with these settings.
    """

    def __init__(self, settings: Settings) -> None:
        weights = weights_file(settings.ckpt_path)
        bundle = bundle_of(weights)
        parser = ConfigParser()
        parser.read_config(bundle / CONFIG)
        parser.update({**settings._asdict(), "ckpt_path": str(weights), "bundle_root": str(bundle)})
        if settings.runtime == "openvino":  # it computes there, also where there is a GPU
            parser["device"] = "cpu"
        parser["instances"] = "$len(@task.labels.names) == 1"
        saving = parser["saving#transforms"]
        parser["saving#transforms"] = [one for one in saving if "output_dir" not in one]  # the others write files
        self.task = parser.get_parsed_content("task")
        load, *transforms = parser.get_parsed_content("preprocessing").transforms
        self._fit_channels = load.convert
        self._preprocess = Compose(transforms)
        self._network = parser.get_parsed_content("network").eval()  # only then does ClickInferer keep its output
        self._inferer = parser.get_parsed_content("inferer")
        self._device = parser.get_parsed_content("device")
        self._activate, *transforms = parser.get_parsed_content("postprocessing").transforms
        self._to_layer = SpatialResample(mode="bilinear", padding_mode="border")  # Invertd takes whole volumes only
        transforms = [one for one in transforms if not isinstance(one, Invertd)]
        self._postprocess = Compose([*transforms, parser.get_parsed_content("saving")])

    def prepare(self, array: np.ndarray, rgb: bool, scale: Sequence[float] = ()) -> MetaTensor:
        """
        Do the bundle's preprocessing.

        Args:
            array: (row, column), (row, column, colour), (channel, row, column) or (plane, row, column). A leading axis
                of channels is one more axis than the network's images have.
            rgb: whether the last axis has colours.
            scale: size of a voxel along each axis, in mm. It matters for volumes only.

        Returns:
            (channels, spatial...) as the network takes it, in MONAI's order (x, y) or (x, y, z). The grid of the array
            is in the metadata, as ``original_affine`` and ``spatial_shape``.

        Raises:
            InputError: the array does not fit the network, or holds NaN.
        """
        dims = self.task.image_dims
        channels = np.moveaxis(array, -1, 0) if rgb else array if array.ndim > dims else array[None]
        require_finite(channels, "the layer")
        values = channels.transpose(0, *range(dims, 0, -1)).astype(np.float32)
        affine = np.eye(4)
        if dims == 2:
            values /= stored_max(array)  # as PictureReader does
        else:
            affine = np.diag([*reversed(scale or [1.0] * 3), 1.0])
        meta = {MetaKeys.ORIGINAL_AFFINE: affine, MetaKeys.SPATIAL_SHAPE: values.shape[1:]}
        image = MetaTensor(np.ascontiguousarray(values), affine=torch.as_tensor(affine), meta=meta)
        result = self._preprocess({"image": self._fit_channels([image], ["the layer"])})
        return result["image"]

    def logits(self, image: torch.Tensor, stopped: Callable[[], bool] = lambda: False) -> torch.Tensor:
        """
        Compute the network's output.

        Args:
            image: what :meth:`prepare` returns.
            stopped: is asked before each batch of windows.

        Returns:
            (out_channels, spatial...).

        Raises:
            Stopped: ``stopped`` said so.
        """

        thread = get_ident()  # another one may use the network at the same time

        def ask(*_: Any) -> None:
            if get_ident() == thread and stopped():
                raise Stopped

        handle = self._network.register_forward_pre_hook(ask)
        try:
            with torch.inference_mode():
                return self._inferer(image[None].to(self._device), self._network)[0]
        finally:
            handle.remove()

    def labels(self, image: MetaTensor, logits: torch.Tensor) -> np.ndarray:
        """
        Do the bundle's postprocessing.

        Args:
            image: what :meth:`prepare` returns, or a part of it with the grid of its labels in the metadata.
            logits: of ``image``.

        Returns:
            Numbered instances of a single class, codes of several classes: integers (row, column) or (z, y, x).
        """
        result = self._activate({"image": image, "pred": logits})
        grid = (image.meta[key] for key in (MetaKeys.ORIGINAL_AFFINE, MetaKeys.SPATIAL_SHAPE))
        result["pred"] = self._to_layer(MetaTensor(result["pred"], meta={MetaKeys.AFFINE: image.affine}), *grid)
        result = self._postprocess(result)
        return result.get("instances", result["pred"])[0].cpu().numpy().T.astype(np.int32)

    def expected_dice(self, logits: torch.Tensor) -> float:
        """Return the Dice that the network itself expects of its mask, the foreground of all classes together."""
        of_classes = logits[None, : self.task.labels.out_channels]
        softmax = self.task.labels.softmax
        foreground = 1 - of_classes.softmax(1)[:, 0] if softmax else of_classes.sigmoid().amax(1)
        return float(expected_dice(foreground))


@lru_cache(maxsize=1)
def _open(settings: Settings, changed: int) -> Segmenter:
    return Segmenter(settings)


def open_segmenter(settings: Settings) -> Segmenter:
    """Return the :class:`Segmenter` for the settings, the former one if the weights have not changed since."""
    return _open(settings, weights_file(settings.ckpt_path).stat().st_mtime_ns)
