"""Writing masks, pictures of masks over their images, and tables of instances."""

from __future__ import annotations

import csv
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import cast

import nibabel
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform
from monai.utils import ImageMetaKey
from PIL import Image

from ..data.dicom import SeriesReader, as_nifti
from ..data.images import mask_path
from ..data.labels import Labels
from ..data.picture_reader import PictureReader
from ..data.reading import is_series, is_volume, name_of, reading
from ..files import whole_file
from ..metrics import instance_table, split_instances
from ..visualize import as_pictures, draw_class_contours, draw_contours

__all__ = ["SaveInstanceTabled", "SaveMaskd", "SaveOverlayd"]


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
                        self._write_volume(mask, image, part)
                    else:
                        self._write_picture(mask, part)
        return dict(data)

    def _write_picture(self, mask: np.ndarray, path: Path) -> None:
        rows_first = mask.swapaxes(0, 1)  # from MONAI's (x, y)
        if self.labels.form in ("foreground", "files"):
            rows_first = rows_first.astype(np.uint8) * 255
        Image.fromarray(np.ascontiguousarray(rows_first)).save(path)

    def _write_volume(self, mask: np.ndarray, image: str, path: Path) -> None:
        like = as_nifti(image) if is_series(image) else cast(nibabel.Nifti1Image, nibabel.load(image))
        values = mask.astype(np.uint8) if mask.dtype == bool else mask
        header = like.header.copy()
        header.set_data_dtype(values.dtype)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0  # the image's range for display
        colours = (3,) if self.labels.form == "colours" else ()
        nibabel.save(type(like)(values.reshape(*like.shape[:3], *colours), None, header), path)


class SaveOverlayd(MapTransform):
    """
    Write a picture of the masks' contours on each image, for several classes with a legend (see
    :func:`dpsau2net_monai.visualize.draw_contours` and ``draw_class_contours``). For a volume, it shows three
    orthogonal slices (see :class:`dpsau2net_monai.visualize.Volume`). ``monai.visualize.blend_images`` colours areas,
    which hides the edges.

    Args:
        keys: keys of the predicted masks, each (1, spatial...) of codes.
        output_dir: folder to write ``NAME.png`` to.
        labels: the classes.
        image_key: key of the images, (channels, spatial...), with their metadata. A volume may have other voxels than
            its masks, which have those of the file.
        label_key: key of the true masks. None: there are none.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str,
        labels: Labels | None = None,
        image_key: str = "image",
        label_key: str | None = None,
    ) -> None:
        super().__init__(keys)
        self.labels = labels or Labels()
        self.output_dir = Path(output_dir)
        self.image_key = image_key
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        image = data[self.image_key]
        truth = [] if self.label_key is None else [self.labels.channels(data[self.label_key])]
        for key in self.key_iterator(data):
            background, *masks = as_pictures(image, self.labels.channels(data[key]), *truth)
            if len(self.labels.names) == 1:
                picture = draw_contours(background, *(mask[0] for mask in masks))
            else:
                picture = draw_class_contours(background, self.labels.names, *masks)
            with whole_file(self.output_dir / f"{name_of(image.meta[ImageMetaKey.FILENAME_OR_OBJ])}.png") as part:
                Image.fromarray(picture).save(part)
        return dict(data)


class SaveInstanceTabled(MapTransform):
    """
    Write a table of the instances in each mask: a row for each instance, only the head where there is none (see
    :func:`dpsau2net_monai.metrics.split_instances` and ``instance_table``). Where there are several classes, the first
    column is ``class``, and the instances of each class are numbered from 1. MONAI has no such transform.

    The intensities are those in the image's file. The file is read again, as the dictionary's image is normalised. Of
    an image in several files, it is the first file.

    Args:
        keys: keys of the predicted masks, each (1, spatial...) of codes.
        output_dir: folder to write ``NAME.csv`` to.
        labels: the classes.
        image_key: key of the images, with their metadata.
    """

    def __init__(
        self, keys: KeysCollection, output_dir: str, labels: Labels | None = None, image_key: str = "image"
    ) -> None:
        super().__init__(keys)
        self.labels = labels or Labels()
        self.output_dir = Path(output_dir)
        self.image_key = image_key
        self.load = LoadImage(image_only=True, ensure_channel_first=True)
        self.load.register(PictureReader())

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        path = data[self.image_key].meta[ImageMetaKey.FILENAME_OR_OBJ]
        image, spacing = self._stored(path)
        for key in self.key_iterator(data):
            masks = torch.as_tensor(self.labels.channels(data[key])).cpu().numpy()
            # the masks' shape lacks the single-slice axis of a volume where the network is 2D; channels go last
            values = np.moveaxis(image.reshape(len(image), *masks.shape[1:]), 0, -1)
            if masks.ndim == 3:  # from MONAI's (x, y) to (row, column)
                masks, values = masks.swapaxes(1, 2), values.swapaxes(0, 1)
            if len(image) == 1:
                values = values[..., 0]
            tables = [
                instance_table(split_instances(mask), values, spacing if mask.ndim == 3 else None) for mask in masks
            ]
            self._write(tables, self.output_dir / f"{name_of(path)}.csv")
        return dict(data)

    def _write(self, tables: Sequence[Mapping[str, np.ndarray]], path: Path) -> None:
        several = len(tables) > 1
        with whole_file(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*["class"] * several, *tables[0]])
            for name, table in zip(self.labels.names, tables):
                for row in zip(*(column.tolist() for column in table.values())):
                    values = [value if isinstance(value, int) else f"{value:.6g}" for value in row]
                    writer.writerow([*[name] * several, *values])

    def _stored(self, path: str) -> tuple[np.ndarray, list[float]]:
        """Read an image (channels, spatial...) with the values in its file, and the spacing of its voxels."""
        if is_series(path):
            image = self.load(path, SeriesReader())
        else:
            with reading(path):
                image = self.load(path)
        array = image.numpy().astype(np.float64)
        most = image.meta.get("stored_max", 1)  # the reader divides a picture's integers by it
        return np.rint(array * most) if most > 1 else array, [float(size) for size in image.pixdim]
