"""Packing a bundle so that it runs where this package is not installed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.config import PathLike
from torch import nn

from ..clicks import click_names, require_clickable
from ..data import Task, read_task
from ..errors import InputError
from ..files import whole_folder
from ..networks import load_weights

__all__ = ["NUCLEI", "check_order", "load_network", "package_bundle", "package_metadata", "task_files"]

PACKAGE = Path(__file__).parents[1]
LEFT_OUT = ("cli.py", "__main__.py", "importers", "napari", "zoo")  # no config calls these parts of PACKAGE
INTERACTIVE = "deepedit"  # in the name of a bundle: MONAI Label's mark of models whose masks follow clicks
NUCLEI = "nuclei"  # the task whose files are in models/ and docs/; those of any other task are in tasks/TASK/
DOCS = (".csv", ".ipynb", ".jpg", ".md", ".png", ".txt")


def check_order(root: Path, target: Path, name: str, task: str) -> None:
    """
    Raises:
        InputError: ``root`` is not a bundle or has no such task, ``target`` exists, or the model zoo and MONAI's
            download would not take a bundle of this name.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise InputError(f"'{name}': a name consists of letters, digits and underscores, and begins with a letter")
    if "_v" in name:
        raise InputError(f"'{name}': MONAI takes the text after '_v' for the bundle's version; choose another name")
    if target.exists():
        raise InputError(f"{target}: exists; choose another name or remove it")
    if not (root / "configs" / "metadata.json").is_file():
        raise InputError(f"{root}: has no configs/metadata.json; --bundle_root names the folder bundle/ of the sources")
    tasks = [NUCLEI, *sorted(path.parent.name for path in root.glob("tasks/*/model.pt"))]
    if task not in tasks:
        raise InputError(f"task is '{task}'; it must be one of {', '.join(tasks)}, which have weights in {root}")
    for path in task_files(root, task).values():
        if not path.is_file():
            raise InputError(f"{path}: no such file; a package needs it")


def task_files(root: Path, task: str) -> dict[str, Path]:
    """
    Return the files of a task by their paths in a packaged bundle.

    Args:
        root: folder of the bundle.
        task: the task's name.

    Returns:
        The weights, their ``task.yaml``, and the documents. Those that a package needs are listed whether they exist or
        not.
    """
    folder = root / "tasks" / task
    models, docs = (root / "models", root / "docs") if task == NUCLEI else (folder, folder)
    found = sorted(path.name for path in docs.glob("*") if path.suffix in DOCS)
    files = {f"models/{name}": models / name for name in ("model.pt", "task.yaml")}
    return files | {f"docs/{name}": docs / name for name in ("README.md", "data_license.txt", *found)}


def package_metadata(root: Path, name: str, task: Task, clicked: bool = False) -> dict[str, Any]:
    """
    Return the content of ``metadata.json`` for a task.

    Args:
        root: folder of the bundle.
        name: of the task. Its ``metadata.json`` is laid over that of the bundle, as MONAI lays one config over another.
        task: its settings. The numbers of channels, the output's channels and the spatial shape follow from them.
        clicked: whether MONAI Label is to take clicks on the background too.

    Raises:
        InputError: the task's file is missing, is not JSON, or names another number of input channels.
    """
    paths = [root / "configs" / "metadata.json"] + [root / "tasks" / name / "metadata.json"] * (name != NUCLEI)
    try:
        metadata = ConfigParser.load_config_files(paths)
        image = metadata["network_data_format"]["inputs"]["image"]
        pred = metadata["network_data_format"]["outputs"]["pred"]
        named = len(image["channel_def"])
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise InputError(f"{paths[-1]}: cannot be used ({error}); correct it") from error
    except KeyError as error:
        text = f"has no {error}; write a key within another with #, as network_data_format#inputs#image#channel_def"
        raise InputError(f"{paths[-1]}: {text}") from error
    if named != task.in_channels:
        raise InputError(
            f"{paths[-1]}: network_data_format#inputs#image#channel_def names {named} channels, but the images of "
            f"task.yaml have {task.in_channels}"
        )
    # a network for pictures takes any size; the strides of one for volumes are chosen for its window
    shape = ["32*n", "32*n"] if task.spatial_dims == 2 else task.window
    # MONAI Label takes every name here for a label, so the distance that separates instances has none; an annotator
    # also clicks on the background, which a network of a single class has no output for
    names = click_names(task.labels) if clicked else task.labels.channel_names
    image.update(num_channels=task.in_channels, spatial_shape=shape)
    channels = {str(index): one for index, one in enumerate(names)}
    pred.update(num_channels=task.out_channels, spatial_shape=shape, channel_def=channels)
    return metadata


def load_network(root: Path, weights: Path) -> nn.Module:
    """
    Return the network of ``configs/inference.yaml`` with the weights.

    Raises:
        InputError: the weights cannot be read, or they do not fit the ``task.yaml`` beside them.
    """
    parser = ConfigParser(ConfigParser.load_config_file(root / "configs" / "inference.yaml"))
    parser.update({"bundle_root": str(root), "ckpt_path": str(weights)})
    network: nn.Module = parser.get_parsed_content("network_def")
    load_weights(network, weights)
    return network


def package_bundle(bundle_root: PathLike, output: PathLike, name: str, task: str = NUCLEI) -> Path:
    """
    Copy a bundle's configs, and the docs and weights of one of its tasks, together with the part of this package that
    the configs call. MONAI Label, MONAI Deploy and the model zoo put a bundle's folder on Python's path, and so find
    that part.

    Args:
        bundle_root: folder of the bundle.
        output: folder to make the packaged bundle in.
        name: of the packaged bundle, and of its folder. MONAI Label sends clicks to a bundle with ``deepedit`` in its
            name.
        task: ``nuclei``, or a folder in the bundle's ``tasks`` with ``model.pt``, ``task.yaml``, ``metadata.json``,
            ``README.md`` and ``data_license.txt``.

    Returns:
        The packaged bundle, ``output/name``. It is written whole or not at all.

    Raises:
        InputError: the name cannot be used, the folder exists, there is no such task, the bundle is incomplete, or the
            name has ``deepedit`` and the classes overlap.
    """
    root, target = Path(bundle_root), Path(output) / name
    check_order(root, target, name, task)
    files = task_files(root, task)
    load_network(root, files["models/model.pt"])
    settings = read_task(files["models/task.yaml"])
    clicked = INTERACTIVE in name.lower()
    if clicked:
        require_clickable(settings.labels, f"leave '{INTERACTIVE}' out of the name")
    metadata = package_metadata(root, task, settings, clicked)
    with whole_folder(target) as part:
        for path in ("LICENSE", "configs"):
            _copy(root / path, part / path)
        for path, source in files.items():
            _copy(source, part / path)
        _copy(PACKAGE, part / PACKAGE.name, leave_out=LEFT_OUT)
        text = json.dumps(metadata, indent=4, ensure_ascii=False)
        (part / "configs" / "metadata.json").write_text(text + "\n", encoding="utf-8")
    return target


def _copy(source: Path, target: Path, leave_out: tuple[str, ...] = ()) -> None:
    def ignored(folder: str, names: list[str]) -> list[str]:
        top = Path(folder) == source
        return [name for name in names if name.startswith(".") or name == "__pycache__" or top and name in leave_out]

    if source.is_dir():
        shutil.copytree(source, target, ignore=ignored)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
