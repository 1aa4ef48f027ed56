"""A task of the Medical Segmentation Decathlon, as it is distributed."""

from __future__ import annotations

import argparse
import filecmp
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from monai.config import PathLike
from tqdm import tqdm

from ..data import check_dataset
from ..data.dataset_json import read_dataset_json
from ..errors import InputError
from ..files import whole_file
from .archive import list_files, unpacked
from .importer import Importer, ImportSummary
from .writing import require_outside

__all__ = ["DECATHLON", "prepare_decathlon"]


def prepare_decathlon(source: PathLike, output_dir: PathLike) -> ImportSummary:
    """
    Unpack a task to ``dataset.json``, ``imagesTr/``, ``labelsTr/`` and ``imagesTs/``, and check it (see
    :func:`dpsau2net_monai.data.check_dataset`). Training takes ``output_dir`` as it then is.

    Files that are already in ``output_dir`` are not written again. The files ``._NAME`` that macOS adds are left out.

    Args:
        source: the task's archive, such as ``Task04_Hippocampus.tar``, or the folder that it was unpacked to.
        output_dir: folder to write to.

    Returns:
        What was written, and the problems that the check found.

    Raises:
        InputError: ``source`` does not exist, cannot be unpacked, or is not a task of the Decathlon, or ``output_dir``
            has another ``dataset.json``.
    """
    names = [name for name in list_files(source) if not any(part.startswith(".") for part in PurePosixPath(name).parts)]
    found = [PurePosixPath(name) for name in names if PurePosixPath(name).name == "dataset.json"]
    if len(found) != 1:
        raise InputError(f"{source}: has {len(found)} files dataset.json; name the archive or folder of one task")
    require_outside(source, output_dir)
    root = found[0].parent
    files = [name for name in names if PurePosixPath(name).is_relative_to(root)]
    with unpacked(source, [str(found[0])]) as folder:
        try:
            content = read_dataset_json(folder / root)
        except InputError as error:
            raise InputError(f"{source}: {str(error).removeprefix(f'{folder}/')}") from error
        former = Path(output_dir, "dataset.json")
        if former.is_file() and not filecmp.cmp(former, folder / found[0], shallow=False):
            raise InputError(f"{former}: is that of another dataset, or was changed; name a new folder")
    images, labels = _listed(content or {}, source)
    summary = ImportSummary()
    _write(source, Path(output_dir), root, files, images, summary)
    there = {str(PurePosixPath(name).relative_to(root)) for name in files}
    summary.left_out += sum(image not in there or labels.get(image, image) not in there for image in images)
    for problem in check_dataset(output_dir).problems:
        summary.note(problem.message)
    return summary


def _listed(content: Mapping[str, Any], source: PathLike) -> tuple[list[str], dict[str, str]]:
    """Return the images that ``dataset.json`` lists, and the label of each training image."""
    try:
        labels = {_relative(item["image"]): _relative(item["label"]) for item in content["training"]}
        tests = [item["image"] if isinstance(item, dict) else item for item in content.get("test", [])]
        return [*labels, *map(_relative, tests)], labels
    except (KeyError, TypeError) as error:
        text = "its dataset.json has no list 'training' of images and labels, as those of the Decathlon have"
        raise InputError(f"{source}: {text}") from error


def _relative(path: str) -> str:
    return str(PurePosixPath(path))  # without the ./ that it begins with


def _write(
    source: PathLike,
    output_dir: Path,
    root: PurePosixPath,
    files: Sequence[str],
    images: Sequence[str],
    summary: ImportSummary,
) -> None:
    """Copy ``files`` from below ``root`` to ``output_dir``, and count those of ``images``."""
    targets = {name: PurePosixPath(name).relative_to(root) for name in files}
    missing = {name: target for name, target in targets.items() if not (output_dir / target).exists()}
    listed = set(images)
    summary.kept += sum(str(target) in listed for name, target in targets.items() if name not in missing)
    # dataset.json comes last: a run that is cut short leaves no dataset
    order = sorted(missing, key=lambda name: (missing[name].name == "dataset.json", name))
    with unpacked(source, missing) as folder:
        for name in tqdm(order, desc="prepare", unit="file", disable=None):
            with whole_file(output_dir / missing[name]) as part:
                shutil.copyfile(folder / name, part)
            summary.written += str(missing[name]) in listed


def _run(args: argparse.Namespace) -> ImportSummary:
    return prepare_decathlon(args.source, args.output)


DECATHLON = Importer("decathlon", "a task of the Medical Segmentation Decathlon: its tar, unpacked and checked", _run)
