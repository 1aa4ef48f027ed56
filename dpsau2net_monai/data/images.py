"""Find the images to segment, and the paths of their masks."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from monai.config import PathLike
from monai.utils import ensure_tuple

from ..errors import InputError
from .dicom import find_series
from .inspection import Pair, Problem
from .labels import Labels
from .reading import NNUNET_FOLDERS, SUFFIXES, is_volume, name_of, stem_of

__all__ = [
    "ImageFiles", "files_by_stem", "find_images", "group_files", "log_segmented", "mask_folders",
    "mask_path", "mask_paths", "require_kept", "same_name_problem", "without_masks",
]  # fmt: skip

CHANNEL = re.compile(r"(.+)_(\d{4})")


class ImageFiles(NamedTuple):
    """An image, before its files are opened."""

    name: str
    files: list[Path]  # one for each channel in their order, or one file with all channels
    problem: Problem | None = None

    @property
    def paths(self) -> str | list[str]:
        """The files as they stand in a list of images: one path, or a list of several."""
        return str(self.files[0]) if len(self.files) == 1 else [str(file) for file in self.files]


def files_by_stem(folder: Path, suffixes: str | tuple[str, ...] = SUFFIXES) -> dict[str, list[Path]]:
    """
    List the images in ``folder``, sorted by :func:`~dpsau2net_monai.data.reading.stem_of`.

    A folder or a broken link with the name of an image is listed too. It gives an error later, instead of being ignored
    silently.

    Raises:
        InputError: the folder cannot be listed.
    """
    files: dict[str, list[Path]] = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.name.lower().endswith(suffixes) and not path.name.startswith("."):
                files.setdefault(stem_of(path), []).append(path)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    return dict(sorted(files.items()))


def same_name_problem(paths: Sequence[Path]) -> Problem:
    """Return the problem that several images, or several masks, have the same name."""
    text = f"{paths[1]}: has the same name as {paths[0].name}; remove or rename one of them"
    return Problem(str(paths[1]), "same name", text, True)


def _missing_channel(name: str, channels: Mapping[int, list[Path]], missing: int, names: Sequence[str]) -> Problem:
    present = next(iter(channels.values()))[0]
    suffix = present.name[len(stem_of(present)) :]
    called = f" ({names[missing]})" if missing < len(names) else ""
    text = f"{present}: its image '{name}' has no channel {missing}{called}; add {name}_{missing:04d}{suffix}"
    return Problem(str(present), "channel", text, True)


def group_files(
    files: Sequence[Path],
    channel_names: Sequence[str] = (),
    separate: Collection[str] = (),
    most: int | None = None,
) -> list[ImageFiles]:
    """
    Group the files of one folder into images. nnU-Net numbers the files of an image's channels: ``NAME_0000.nii.gz``,
    ``NAME_0001.nii.gz``. Only volumes are grouped, and pictures in ``imagesTr`` and ``imagesTs`` beside a
    ``dataset.json``. Other pictures with such numbers are images of their own.

    Args:
        files: the files.
        channel_names: names of the channels. Empty: unknown.
        separate: stems of files that are images of their own, since there are masks with these names.
        most: number of channels that an image can have. If a number in the folder is too large for it, the numbers are
            not those of channels, and every file is an image of its own. None: any number.

    Returns:
        The images in the order of their files.
    """
    of_nnunet = {
        folder for folder in {file.parent for file in files}
        if folder.name in NNUNET_FOLDERS and (folder.parent / "dataset.json").is_file()
    }  # fmt: skip
    matches = {
        file: match
        for file in files
        if (is_volume(file) or file.parent in of_nnunet)
        and (match := CHANNEL.fullmatch(stem_of(file)))
        and stem_of(file) not in separate
    }
    numbers = {int(match[2]) for match in matches.values()}
    if 0 not in numbers or (most is not None and max(numbers) >= most):
        matches = {}
    images: dict[str, dict[int, list[Path]]] = {}
    for file in files:
        name, number = (matches[file][1], int(matches[file][2])) if file in matches else (name_of(file), 0)
        images.setdefault(name, {}).setdefault(number, []).append(file)
    count = 1 + max((number for channels in images.values() for number in channels), default=0)
    if count > 1 and len(channel_names) > 1:
        count = len(channel_names)

    groups = []
    for name, channels in images.items():
        problem = next((same_name_problem(same) for same in channels.values() if len(same) > 1), None)
        missing = next((number for number in range(count) if number not in channels), None)
        if problem is None and missing is not None:
            problem = _missing_channel(name, channels, missing, channel_names)
        groups.append(ImageFiles(name, [channels[number][0] for number in sorted(channels)], problem))
    return groups


def _list_files(source: PathLike) -> list[Path]:
    path = Path(source)
    if path.is_file():
        if not path.name.lower().endswith(SUFFIXES):
            raise InputError(f"{path}: is not an image of a known type ({', '.join(SUFFIXES)})")
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    files = [file for same in files_by_stem(path).values() for file in same] or find_series(path)
    if not files:
        raise InputError(f"{path}: has no images; add some ({', '.join(SUFFIXES)})")
    return files


def find_images(source: PathLike | Sequence[PathLike], in_channels: int | None = None) -> list[Pair]:
    """
    List images to segment.

    Args:
        source: a folder, one file, or a list of files. Images are png, jpg, tif, bmp, nii and nii.gz files. Volumes
            ``NAME_0000.nii.gz``, ``NAME_0001.nii.gz`` are the channels of one image ``NAME`` (see
            :func:`group_files`).
        in_channels: number of channels that the network takes. Higher numbers in the names of volumes are not those of
            channels. None: any number of channels.

    Returns:
        A list of ``{"image": path}``, or ``{"image": [path, path]}`` for an image of several files. The images of a
        folder are sorted by name.

    Raises:
        InputError: a path does not exist or is not an image, there is no image, an image lacks a channel, or two images
            have the same name and so would have the same mask.
    """
    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if not sources:
        raise InputError("dataset_dir: is an empty list; name at least one image")
    folders: dict[Path, list[Path]] = {}
    for file in dict.fromkeys(file for one in sources for file in _list_files(one)):
        folders.setdefault(file.parent, []).append(file)
    images = [image for files in folders.values() for image in group_files(files, most=in_channels)]
    names: dict[str, Path] = {}
    for image in images:
        if image.problem:
            raise InputError(image.problem.message)
        other = names.setdefault(image.name, image.files[0])
        if other != image.files[0]:
            raise InputError(f"{image.files[0]}: has the same name as {other}; segment them in two runs")
    return [{"image": image.paths} for image in images]


def mask_path(output_dir: PathLike, image: PathLike | Sequence[PathLike]) -> Path:
    """Return the path of the mask of ``image``: ``NAME.nii.gz`` for a NIfTI, ``NAME.png`` for a picture."""
    suffix = ".nii.gz" if is_volume(ensure_tuple(image)[0]) else ".png"
    return Path(output_dir) / f"{name_of(image)}{suffix}"


def mask_folders(output_dir: PathLike, labels: Labels | None) -> list[Path]:
    """Return the folders of masks: ``output_dir``, or one in it for each class that has masks of its own."""
    if labels is not None and labels.form == "files":
        return [Path(output_dir, name) for name in labels.names]
    return [Path(output_dir)]


def mask_paths(
    output_dir: PathLike,
    image: PathLike | Sequence[PathLike],
    labels: Labels | None = None,
    output_format: str = "nifti",
) -> list[Path]:
    """
    Return the paths of all masks of ``image``: one, or one in the folder of each class that has masks of its own.

    Args:
        output_dir: folder that :class:`~dpsau2net_monai.transforms.SaveMaskd` writes the masks to.
        image: the image's file, or the files of its channels.
        labels: the classes. None: they have no masks of their own.
        output_format: ``dicom_seg`` if the masks of DICOM series are DICOM SEG, one file for all classes.
    """
    if output_format == "dicom_seg":
        return [Path(output_dir, f"{name_of(image)}.dcm")]
    return [mask_path(folder, image) for folder in mask_folders(output_dir, labels)]


def require_kept(image: PathLike | Sequence[PathLike], outputs: Sequence[PathLike]) -> None:
    """
    Raises:
        InputError: one of the outputs would replace the image, or one of its files.
    """
    written = {os.path.realpath(path) for path in outputs}
    replaced = next((path for path in ensure_tuple(image) if os.path.realpath(path) in written), None)
    if replaced is not None:
        raise InputError(f"{replaced}: its mask would replace it; set output_dir to another folder")


def log_segmented(done: int, number: int, output_dir: PathLike) -> None:
    """Log how many of all images are left out, since they have a mask in ``output_dir``, if there are any."""
    if done:
        logging.getLogger(__name__).info(
            f"{done} of {number} images already have a mask in {output_dir}; "
            "set overwrite to true to segment them again"
        )


def without_masks(
    images: Sequence[Pair], output_dir: PathLike, labels: Labels | None = None, output_format: str = "nifti"
) -> list[Pair]:
    """
    Select the images that are not segmented yet.

    Args:
        images: list of ``{"image": path}``.
        output_dir: as of :func:`mask_paths`.
        labels: as there. If each class has masks of its own, an image needs all of them.
        output_format: as there.

    Returns:
        The part of ``images`` that lacks a mask in ``output_dir``.
    """
    left = [
        image for image in images
        if not all(path.exists() for path in mask_paths(output_dir, image["image"], labels, output_format))
    ]  # fmt: skip
    log_segmented(len(images) - len(left), len(images), output_dir)
    return left
