"""List the images of a dataset and their masks, in whatever layout they come, before a file is opened."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from monai.config import PathLike
from monai.data import load_decathlon_datalist
from monai.utils import ensure_tuple

from ..errors import InputError
from .dataset_json import channel_names, class_folders, dataset_settings, read_dataset_json
from .images import ImageFiles, files_by_stem, group_files, same_name_problem
from .inspection import Pair, Problem
from .labels import Labels
from .reading import SUFFIXES, name_of, stem_of

__all__ = ["Candidate", "Listing", "list_candidates", "list_folder"]


class Candidate(NamedTuple):
    """An image and its mask, before either file is opened."""

    name: str  # the split is drawn from the names
    pair: Pair  # without "label" if there is no mask
    problem: Problem | None = None  # a problem that shows without opening a file


class Listing(NamedTuple):
    """The contents of a dataset, before it is split."""

    sections: dict[str, list[Candidate]]  # "train", "validation" and "test"; those of a folder are all in "train"
    problems: list[Problem]  # those of no image: a mask without an image, a wrong number in dataset.json


def list_folder(root: Path, labels: Labels | None = None) -> Listing:
    """Do :func:`list_candidates` for a folder. Its layouts are those of :func:`dpsau2net_monai.data.find_pairs`."""
    if not root.is_dir():
        raise InputError(f"{root}: {'is not a folder; unpack it first' if root.exists() else 'no such dataset folder'}")
    content = read_dataset_json(root)
    if content is not None and not (root / "images").is_dir():
        return _list_dataset_json(root, content)
    for folder in ("images", "masks"):
        if not (root / folder).is_dir():
            text = "a dataset has images/NAME.EXT and masks/NAME.EXT, or a dataset.json"
            raise InputError(f"{root}: has no folder '{folder}'; {text}")
    files = _image_files(root / "images", SUFFIXES)
    classes = class_folders(root)
    if classes:
        named = labels or Labels(dataset_settings(root)["labels"])
        classes = named.names if named.form == "files" else classes
    folders = [root / "masks" / name for name in classes] or [root / "masks"]
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing:
        raise InputError(f"{missing}: no such folder; it holds the masks of the class '{missing.name}'")
    masks = [files_by_stem(folder) for folder in folders]
    images = group_files(files, separate={stem for of_class in masks for stem in of_class})
    candidates, strays = _with_masks(images, folders, masks, several=bool(classes))
    others = _others(root / "images", files)
    for of_masks, of_class in zip(folders, masks):
        others += _others(of_masks, list(chain(*of_class.values())))
    return Listing({"train": candidates, "validation": [], "test": []}, strays + others)


def _others(folder: Path, images: Collection[Path]) -> list[Problem]:
    """Return the problem that a folder has other files or folders than ``images``, if it has."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    others = sorted(names.difference(path.name for path in images))
    if not others:
        return []
    text = f"files and folders that are not images and are ignored: {len(others)}, such as '{others[0]}'"
    return [
        Problem(str(folder), "ignored", f"{folder}: {text}; if they hold images, `prepare tree` converts them", False)
    ]


def _image_files(folder: Path, suffixes: str | tuple[str, ...]) -> list[Path]:
    files = [file for same in files_by_stem(folder, suffixes).values() for file in same]
    if not files:
        text = f"add some ({', '.join(ensure_tuple(suffixes))}); `prepare tree` takes those in its subfolders"
        raise InputError(f"{folder}: has no images; {text}")
    return files


def _with_masks(
    images: Sequence[ImageFiles], folders: Sequence[Path], masks: Sequence[dict[str, list[Path]]], several: bool
) -> tuple[list[Candidate], list[Problem]]:
    """
    Give each image its masks, one from each folder. A mask has the image's name, or that of the image's file.

    Args:
        images: the images.
        folders: folders of masks.
        masks: the files of each folder by their stems.
        several: whether the masks are a list, with one for each class.

    Returns:
        The images with their masks, and a problem for each mask without an image.
    """
    candidates, used = [], set()
    for image in images:
        problem, found = image.problem, []
        for folder, files in zip(folders, masks):
            labels = files.get(image.name) or files.get(stem_of(image.files[0]), [])
            used.update(labels)
            if len(labels) > 1:
                problem = problem or same_name_problem(labels)
            elif not labels:
                text = f"{image.files[0]}: has no mask {folder / image.name}.*; add it or remove the image"
                problem = problem or Problem(str(image.files[0]), "no mask", text, True)
            found += [str(label) for label in labels[:1]]
        pair: Pair = {"image": image.paths}
        if found:
            pair["label"] = found if several else found[0]
        candidates.append(Candidate(image.name, pair, problem))
    strays = [
        Problem(str(path), "no image", f"{path}: has no image '{stem}'; the mask is ignored", False)
        for files in masks
        for stem, paths in files.items()
        for path in paths
        if path not in used
    ]
    return candidates, strays


def _list_dataset_json(root: Path, content: Mapping[str, Any]) -> Listing:
    """List a dataset as the Decathlon has it, with a list of training images, or as nnU-Net has it, without one."""
    path = root / "dataset.json"
    names = channel_names(content, path)
    problems: list[Problem] = []
    if content.get("training"):
        listed = _list_json(path).sections
        sections = {part: _with_channels(candidates, names) for part, candidates in listed.items()}
    else:
        candidates, problems = _list_nnunet(root, content, names)
        sections = {"train": candidates, "validation": [], "test": []}
    count = len(sections["train"])
    stated = content.get("numTraining", count)
    if stated != count:
        text = f"{path}: numTraining is {stated}, but there are {count} training images; all of them are used"
        problems.append(Problem(str(path), "number", text, False))
    if not content.get("labels"):
        text = f"{path}: has no labels, so any value over 0 is one class; add them, unless you give them as an option"
        problems.append(Problem(str(path), "no labels", text, False))
    return Listing(sections, problems)


def _with_channels(candidates: Sequence[Candidate], names: Sequence[str]) -> list[Candidate]:
    """
    Name listed images after their files. Find the files of an image that is listed as ``NAME.nii.gz`` but stored as
    ``NAME_0000.nii.gz``, ``NAME_0001.nii.gz``, as in the first version of nnU-Net.
    """
    folders: dict[Path, dict[str, ImageFiles]] = {}
    first: dict[str, Path] = {}
    found = []
    for candidate in candidates:
        listed = Path(ensure_tuple(candidate.pair["image"])[0])
        if not listed.exists() and listed.parent.is_dir():
            if listed.parent not in folders:
                files = [file for same in files_by_stem(listed.parent).values() for file in same]
                folders[listed.parent] = {image.name: image for image in group_files(files, names)}
            image = folders[listed.parent].get(stem_of(listed))
            if image:
                candidate = candidate._replace(pair={**candidate.pair, "image": image.paths}, problem=image.problem)
        name = name_of(candidate.pair["image"])
        other = first.setdefault(name, listed)
        if other != listed:
            candidate = candidate._replace(problem=same_name_problem([other, listed]))
        found.append(candidate._replace(name=name))
    return found


def _list_nnunet(root: Path, content: Mapping[str, Any], names: Sequence[str]) -> tuple[list[Candidate], list[Problem]]:
    ending = str(content.get("file_ending", ".nii.gz")).lower()
    if ending not in SUFFIXES:
        text = f"its file_ending is '{ending}'; convert the images to one of {', '.join(SUFFIXES)}"
        raise InputError(f"{root / 'dataset.json'}: {text}")
    for folder in ("imagesTr", "labelsTr"):
        if not (root / folder).is_dir():
            text = f"has no folder '{folder}', and dataset.json lists nothing under 'training'; add one of them"
            raise InputError(f"{root}: {text}")
    files = _image_files(root / "imagesTr", ending)
    masks = files_by_stem(root / "labelsTr", ending)
    candidates, strays = _with_masks(group_files(files, names), [root / "labelsTr"], [masks], several=False)
    others = _others(root / "imagesTr", files) + _others(root / "labelsTr", list(chain(*masks.values())))
    return candidates, strays + others


def _list_json(path: Path) -> Listing:
    def section(key: str) -> list[Candidate]:
        try:
            items = load_decathlon_datalist(path, is_segmentation=True, data_list_key=key, base_dir=path.parent)
        except IndexError:  # an empty list
            return []
        except ValueError as error:
            if "not specified" in str(error):
                return []
            raise InputError(f"{path}: is not a datalist in JSON ({error}); correct it") from error
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{path}: an entry of '{key}' has no image or no label; add it") from error
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
        pairs = [{key: _paths(item[key]) for key in ("image", "label") if key in item} for item in items]
        if not all(pair.get("image") for pair in pairs):
            raise InputError(f"{path}: an entry of '{key}' has no image or no label; add it")
        return [Candidate(str(ensure_tuple(pair["image"])[0]), pair) for pair in pairs]

    if not path.is_file():
        raise InputError(f"{path}: no such datalist")
    read_dataset_json(path)
    sections = {key: section(key) for key in ("training", "validation", "test")}
    for key, candidates in sections.items():
        if not all(candidate.pair.get("label") for candidate in candidates):
            if key != "test":
                raise InputError(f"{path}: an entry of '{key}' has no label; add it")
            sections[key] = []  # the Decathlon's test images have no labels
    if not sections["training"]:
        raise InputError(f"{path}: lists nothing under 'training'; add images and their labels")
    most = max((_channels(one) for candidates in sections.values() for one in candidates), default=0)
    train, validation, test = (
        [_with_all_channels(candidate, most) for candidate in candidates] for candidates in sections.values()
    )
    return Listing({"train": train, "validation": validation, "test": test}, [])


def _paths(value: object) -> str | list[str]:
    return [str(one) for one in value] if isinstance(value, list) else str(value)


def _channels(candidate: Candidate) -> int:
    """Return the number of files of a listed image. 0: it is one path, whose file may hold any number of channels."""
    image = candidate.pair["image"]
    return len(image) if isinstance(image, list) else 0


def _with_all_channels(candidate: Candidate, most: int) -> Candidate:
    count = _channels(candidate)
    if not 0 < count < most:
        return candidate
    path = candidate.pair["image"][0]
    text = f"{path}: its image has {count} files, but another has {most}; add the file of channel {count}"
    return candidate._replace(problem=Problem(path, "channel", text, True))


def list_candidates(dataset_dir: PathLike, labels: Labels | None = None) -> Listing:
    """
    List the contents of a folder or of a datalist in JSON (see :func:`make_datalist`) without opening an image.

    Args:
        dataset_dir: the folder or datalist.
        labels: the classes. They give the order of masks in ``masks/CLASS``. None: those of the dataset.

    Raises:
        InputError: the dataset does not exist, is empty, or is not a dataset.
    """
    path = Path(dataset_dir)
    return _list_json(path) if path.suffix.lower() == ".json" else list_folder(path, labels)
