"""What a dataset says about its images and masks: its ``dataset.json``, and the folders of its masks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.config import PathLike
from monai.utils import ensure_tuple

from ..errors import InputError
from .labels import Labels
from .reading import PICTURE_SUFFIXES, SUFFIXES

__all__ = ["channel_names", "class_folders", "dataset_settings", "read_dataset_json"]


def _path(dataset: PathLike) -> Path:
    path = Path(dataset)
    return path if path.suffix.lower() == ".json" else path / "dataset.json"


def read_dataset_json(dataset: PathLike) -> dict[str, Any] | None:
    """
    Read the ``dataset.json`` of a dataset, as the Medical Segmentation Decathlon and nnU-Net have it.

    Args:
        dataset: the folder with the file, or a datalist ``.json``.

    Returns:
        Its content, or None if there is no such file.

    Raises:
        InputError: it is not an object in JSON.
    """
    path = _path(dataset)
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path}: is not a datalist in JSON ({error}); correct it") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: lists nothing under 'training', as it is not an object in JSON; correct it")
    return content


def channel_names(content: Mapping[str, Any], path: PathLike) -> list[str]:
    """
    Return the names of the channels that the content of a ``dataset.json`` has. Empty: it has none.

    Raises:
        InputError: they are not names.
    """
    channels = content.get("channel_names", content.get("modality"))
    if channels is None:
        return []
    if not isinstance(channels, Mapping):
        raise InputError(f"{path}: its channels are {channels!r}; give a name for each channel, as {{'0': 'MRI'}}")
    return [str(name) for name in channels.values()]


def class_folders(dataset_dir: PathLike) -> list[str]:
    """
    Return the classes of ``masks/CLASS/NAME.EXT``, sorted. Empty: the masks lie in ``masks`` itself, or there is no
    such folder.

    Raises:
        InputError: the folder cannot be listed.
    """
    masks = Path(dataset_dir) / "masks"
    if not masks.is_dir() or not (Path(dataset_dir) / "images").is_dir():
        return []
    try:
        paths = [path for path in masks.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{masks}: cannot be listed ({error.strerror}); check its permissions") from error
    if any(path.name.lower().endswith(SUFFIXES) for path in paths):
        return []
    return sorted(path.name for path in paths if path.is_dir())


def _labels(content: Mapping[str, Any], path: Path) -> Any:
    labels = content["labels"]
    if isinstance(labels, Mapping):
        # the Decathlon has values and names, nnU-Net names and values
        decathlon = all(str(key).isdigit() and isinstance(value, str) for key, value in labels.items())
        labels = {name: int(value) for value, name in labels.items()} if decathlon else dict(labels)
        if "ignore" in labels:
            text = "has the label 'ignore', which nnU-Net leaves out of the loss; here it would be a class"
            raise InputError(f"{path}: {text}; give its pixels to another label")
    try:
        Labels(labels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return labels


def _ending(content: Mapping[str, Any]) -> str:
    """Return the end of the images' names, by the first image of the list if the file does not say it."""
    training = content.get("training")
    first = training[0] if isinstance(training, list) and training else None
    image = first.get("image") if isinstance(first, Mapping) else None
    return str(content.get("file_ending") or (ensure_tuple(image)[0] if image else ".nii.gz")).lower()


def dataset_settings(dataset: PathLike) -> dict[str, Any]:
    """
    Return what a dataset says about its images and masks.

    Args:
        dataset: a folder with a ``dataset.json``, with ``images/`` and ``masks/CLASS/``, or any other dataset.

    Returns:
        ``labels``, ``in_channels``, ``modality`` and ``spatial_dims``, see :class:`~dpsau2net_monai.data.task.Task`,
        as far as the dataset has them. Folders of masks give the labels, if the file does not.

    Raises:
        InputError: the file is not such a file, or contradicts itself.
    """
    settings: dict[str, Any] = {}
    content = read_dataset_json(dataset) or {}
    path = _path(dataset)
    folders = class_folders(dataset)
    if content.get("labels"):
        settings["labels"] = _labels(content, path)
    elif folders:
        settings["labels"] = folders
    names = channel_names(content, path)
    picture = _ending(content).endswith(PICTURE_SUFFIXES)
    if names or "file_ending" in content:
        settings["spatial_dims"] = 2 if picture else 3
    if names:
        settings["in_channels"] = len(names)
        ct = {name.lower() for name in names} == {"ct"}
        settings["modality"] = "picture" if picture else "ct" if ct else "mr"
    return settings
