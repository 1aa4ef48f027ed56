"""Writing masks, and pictures of masks over their images."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import cast

import nibabel
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey
from PIL import Image

from ..data.dicom import as_nifti
from ..data.images import mask_path
from ..data.labels import Labels
from ..data.reading import is_series, is_volume, name_of, reading
from ..files import whole_file
from ..visualize import as_pictures, draw_class_contours, draw_contours

__all__ = ["SaveMaskd", "SaveOverlayd", "write_volume"]


def write_volume(values: np.ndarray, image: str, path: Path, channels: tuple[int, ...] = ()) -> None:
    """
    Write an array as a NIfTI with the header of an image.

    Args:
        values: (x, y, z), or with a further axis of channels. A single slice may lack its axis.
        image: path of the image: a NIfTI or a DICOM series.
        path: file to write.
        channels: size of the axis of channels, if there is one.

    Raises:
        InputError: the image cannot be read.
    """
    if is_series(image):
        like = as_nifti(image)
    else:
        with reading(image):
            like = cast(nibabel.Nifti1Image, nibabel.load(image))
    header = like.header.copy()
    header.set_data_dtype(values.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0  # the image's range for display
    nibabel.save(type(like)(values.reshape(*like.shape[:3], *channels), None, header), path)


class SaveMaskd(MapTransform):
    """
    Write masks with the values that the dataset has for its classes. A mask gets its image's name, size and kind: PNG
    for a picture, NIfTI with the image's header for a NIfTI. Where any value over 0 is foreground, a PNG has 0 and 255,
    a NIfTI 0 and 1. Where each class has masks of its own, they are in folders with the classes' names.

    ``monai.transforms.SaveImaged`` writes one kind for all images, drops the single-slice axis of a NIfTI and the codes
    of its header, and leaves half a file when it is stopped.

    Args:
        keys: keys of the masks, each (1, spatial...) of codes, with the metadata of its image.
        output_dir: folder to write ``NAME.png`` or ``NAME.nii.gz`` to.
        labels: the classes.
    """

    def __init__(self, keys: KeysCollection, output_dir: str, labels: Labels | None = None) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.labels = labels or Labels()

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        for key in self.key_iterator(data):
            image = data[key].meta[ImageMetaKey.FILENAME_OR_OBJ]
            codes = torch.as_tensor(data[key][0]).cpu().numpy().astype(np.int64)
            masks = {self.output_dir: self.labels.encode(codes)}
            if self.labels.form == "files":
                channels = self.labels.table[codes]
                masks = {self.output_dir / name: channels[..., i] for i, name in enumerate(self.labels.names)}
            for folder, mask in masks.items():
                with whole_file(mask_path(folder, image)) as part:
                    if is_volume(image):
                        values = mask.astype(np.uint8) if mask.dtype == bool else mask
                        write_volume(values, image, part, (3,) if self.labels.form == "colours" else ())
                    else:
                        self._write_picture(mask, part)
        return dict(data)

    def _write_picture(self, mask: np.ndarray, path: Path) -> None:
        rows_first = mask.swapaxes(0, 1)  # from MONAI's (x, y)
        if self.labels.form in ("foreground", "files"):
            rows_first = rows_first.astype(np.uint8) * 255
        Image.fromarray(np.ascontiguousarray(rows_first)).save(path)


class SaveOverlayd(MapTransform):
    """
    Write a picture of the masks' contours on each image, for several classes with a legend (see
    :func:`dpsau2net_monai.visualize.draw_contours` and ``draw_class_contours``). Where the item has the numbered
    instances of a single class, each has its own contour, so that a line separates those that touch. For a volume, it
    shows three orthogonal slices (see :class:`dpsau2net_monai.visualize.Volume`). ``monai.visualize.blend_images``
    colours areas, which hides the edges.

    Args:
        keys: keys of the predicted masks, each (1, spatial...) of codes.
        output_dir: folder to write ``NAME.png`` to.
        labels: the classes.
        image_key: key of the images, (channels, spatial...), with their metadata. A volume may have other voxels than
            its masks, which have those of the file.
        label_key: key of the true masks. None: there are none.
        instances_key: key of the predicted instances, (1, spatial...) of integers. An item may lack it.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str,
        labels: Labels | None = None,
        image_key: str = "image",
        label_key: str | None = None,
        instances_key: str = "instances",
    ) -> None:
        super().__init__(keys)
        self.labels = labels or Labels()
        self.output_dir = Path(output_dir)
        self.image_key = image_key
        self.label_key = label_key
        self.instances_key = instances_key

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        image = data[self.image_key]
        truth = [] if self.label_key is None else [self.labels.channels(data[self.label_key])]
        for key in self.key_iterator(data):
            single = len(self.labels.names) == 1
            numbered = single and self.instances_key in data
            predicted = data[self.instances_key] if numbered else self.labels.channels(data[key])
            background, *masks = as_pictures(image, predicted, *truth)
            if single:
                picture = draw_contours(background, *(mask[0] for mask in masks))
            else:
                picture = draw_class_contours(background, self.labels.names, *masks)
            with whole_file(self.output_dir / f"{name_of(image.meta[ImageMetaKey.FILENAME_OR_OBJ])}.png") as part:
                Image.fromarray(picture).save(part)
        return dict(data)
