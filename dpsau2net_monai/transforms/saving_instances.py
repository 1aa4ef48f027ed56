"""Writing numbered instances, their outlines, and tables of them."""

from __future__ import annotations

import csv
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from monai.config import KeysCollection, PathLike
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform
from monai.utils import ImageMetaKey, ensure_tuple

from ..data.dicom import SeriesReader
from ..data.images import mask_paths, require_kept, without_masks
from ..data.inspection import Pair
from ..data.labels import Labels
from ..data.picture_reader import PictureReader
from ..data.reading import is_series, is_volume, name_of, reading
from ..errors import InputError
from ..files import whole_file
from ..metrics import instance_table, split_instances
from .outlines import has_roifile, write_geojson, write_imagej
from .saving import write_volume

__all__ = ["SaveInstanceTabled", "SaveInstancesd", "require_outputs", "without_instances"]

OUTLINES = {"none": None, "geojson": ".geojson", "imagej": ".zip"}  # suffixes of the files


def _suffix(outlines: str) -> str | None:
    """
    Raises:
        InputError: there are no outlines of this kind.
    """
    if outlines not in OUTLINES:
        raise InputError(f"outlines is '{outlines}'; it must be one of {', '.join(OUTLINES)}")
    return OUTLINES[outlines]


def _instance_paths(output_dir: PathLike, image: PathLike | Sequence[PathLike], outlines: str) -> list[Path]:
    """Return the path of the instances of ``image``, and that of their outlines, if there are any."""
    suffixes = [".nii.gz" if is_volume(ensure_tuple(image)[0]) else ".tif", _suffix(outlines)]
    return [Path(output_dir) / f"{name_of(image)}{suffix}" for suffix in suffixes if suffix]


def _require_picture(path: PathLike, outlines: str) -> None:
    """
    Raises:
        InputError: there are no outlines of this kind, or an image with outlines is a volume.
    """
    if _suffix(outlines) is not None and is_volume(path):
        what = "set outlines to none, or segment the volumes in another run"
        raise InputError(f"{path}: is a volume, but only pictures have outlines; {what}")


def require_outputs(
    images: Sequence[Pair], instances_dir: PathLike | None, outlines: str, output_dir: PathLike, **of_masks: Any
) -> None:
    """
    Check that the masks, instances and outlines of all images can be written, and that none replaces an image.

    Args:
        images: list of ``{"image": path}``.
        instances_dir: folder that :class:`SaveInstancesd` writes to. None: no instances are written.
        outlines: as of :class:`SaveInstancesd`.
        output_dir: folder of the masks.
        of_masks: arguments of :func:`dpsau2net_monai.data.images.mask_paths` after ``image``.

    Raises:
        InputError: there are no outlines of this kind, an image with outlines is a volume, or an output would replace
            an image.
    """
    for image in images:
        _require_picture(ensure_tuple(image["image"])[0], outlines)
        outputs = mask_paths(output_dir, image["image"], **of_masks)
        if instances_dir is not None:
            outputs += _instance_paths(instances_dir, image["image"], outlines)
        require_kept(image["image"], outputs)


def without_instances(images: Sequence[Pair], instances_dir: PathLike, outlines: str, **of_masks: Any) -> list[Pair]:
    """
    Select the images that lack their instances or their mask.

    Args:
        images: list of ``{"image": path}``.
        instances_dir: folder that :class:`SaveInstancesd` writes to.
        outlines: as of :class:`SaveInstancesd`.
        of_masks: arguments of :func:`dpsau2net_monai.data.without_masks` after the first.

    Returns:
        Those without instances, then the others without a mask.

    Raises:
        InputError: there are no outlines of this kind.
    """
    done = [all(path.exists() for path in _instance_paths(instances_dir, image["image"], outlines)) for image in images]
    lacking = [image for image, whole in zip(images, done) if not whole]
    return lacking + without_masks([image for image, whole in zip(images, done) if whole], **of_masks)


class SaveInstancesd(MapTransform):
    """
    Write numbered instances of a single class: each pixel has the number of its instance, 0 is the background. A
    picture's are a TIFF of 16 bits, or of 32 bits where there are more than 65535 instances; a volume's are a NIfTI
    with the image's header. Fiji, QuPath, napari and CellProfiler open them.

    ``monai.transforms.SaveImaged`` has the limits that :class:`SaveMaskd` names, and MONAI writes no outlines.

    Args:
        keys: keys of the instances, each (1, spatial...) of integers.
        output_dir: folder to write ``NAME.tif`` or ``NAME.nii.gz`` to, and the outlines.
        labels: the classes.
        outlines: ``geojson``: QuPath's detections in ``NAME.geojson``. ``imagej``: ImageJ's regions of interest in
            ``NAME.zip``. ``none``. Outlines run along the borders of the pixels.
        image_key: key of the images, with their metadata.

    Raises:
        InputError: there are several classes, there are no outlines of this kind, the package that writes them is not
            installed, or an image with outlines is a volume.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str,
        labels: Labels | None = None,
        outlines: str = "none",
        image_key: str = "image",
    ) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.labels = labels or Labels()
        if len(self.labels.names) > 1:
            raise InputError("instances are those of a single class, but labels has several; set instances to false")
        if _suffix(outlines) == ".zip" and not has_roifile:
            raise InputError("ImageJ's outlines are written by roifile; pip install 'dpsau2net-monai[imagej]'")
        self.outlines = outlines
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        image = data[self.image_key].meta[ImageMetaKey.FILENAME_OR_OBJ]
        _require_picture(image, self.outlines)
        path, *of_outlines = _instance_paths(self.output_dir, image, self.outlines)
        for key in self.key_iterator(data):
            numbers = torch.as_tensor(data[key][0]).cpu().numpy()
            instances = numbers.astype(np.uint16 if numbers.max() <= np.iinfo(np.uint16).max else np.uint32)
            if is_volume(image):
                with whole_file(path) as part:
                    write_volume(instances, image, part)
                continue
            instances = instances.T  # from MONAI's (x, y)
            with whole_file(path) as part:
                tifffile.imwrite(part, instances, photometric="minisblack", compression="zlib", metadata=None)
            for target in of_outlines:
                with whole_file(target) as part:
                    if self.outlines == "geojson":
                        write_geojson(instances, part, self.labels.names[0])
                    else:
                        write_imagej(instances, part)
        return dict(data)


class SaveInstanceTabled(MapTransform):
    """
    Write a table of the instances in each mask: a row for each instance, only the head where there is none (see
    :func:`dpsau2net_monai.metrics.instance_table`). Where the item has no numbered instances, or there are several
    classes, the masks are split (see :func:`dpsau2net_monai.metrics.split_instances`). With several classes, the first
    column is ``class``, and the instances of each class are numbered from 1. MONAI has no such transform.

    The intensities are those in the image's file. The file is read again, as the dictionary's image is normalised. Of
    an image in several files, it is the first file.

    Args:
        keys: keys of the predicted masks, each (1, spatial...) of codes.
        output_dir: folder to write ``NAME.csv`` to.
        labels: the classes.
        image_key: key of the images, with their metadata.
        instances_key: key of the instances of a single class, (1, spatial...) of integers. An item may lack it.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str,
        labels: Labels | None = None,
        image_key: str = "image",
        instances_key: str = "instances",
    ) -> None:
        super().__init__(keys)
        self.labels = labels or Labels()
        self.output_dir = Path(output_dir)
        self.image_key = image_key
        self.instances_key = instances_key
        self.load = LoadImage(image_only=True, ensure_channel_first=True)
        self.load.register(PictureReader())

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        path = data[self.image_key].meta[ImageMetaKey.FILENAME_OR_OBJ]
        image, spacing = self._stored(path)
        for key in self.key_iterator(data):
            numbered = len(self.labels.names) == 1 and self.instances_key in data
            tensor = data[self.instances_key] if numbered else self.labels.channels(data[key])
            arrays = torch.as_tensor(tensor).cpu().numpy()
            # the masks' shape lacks the single-slice axis of a volume where the network is 2D; channels go last
            values = np.moveaxis(image.reshape(len(image), *arrays.shape[1:]), 0, -1)
            if arrays.ndim == 3:  # from MONAI's (x, y) to (row, column)
                arrays, values = arrays.swapaxes(1, 2), values.swapaxes(0, 1)
            if len(image) == 1:
                values = values[..., 0]
            if not numbered:
                arrays = np.stack([split_instances(mask) for mask in arrays])
            of_voxels = spacing if arrays.ndim == 4 else None
            tables = [instance_table(instances, values, of_voxels) for instances in arrays]
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
