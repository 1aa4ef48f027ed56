"""Packing a bundle so that it runs where this package is not installed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from monai.config import PathLike

from ..errors import InputError
from ..files import whole_folder
from ..networks import read_weights

__all__ = ["package_bundle"]

PACKAGE = Path(__file__).parents[1]
LEFT_OUT = ("cli.py", "__main__.py", "importers", "zoo")  # no config calls these parts of PACKAGE
OF_BUNDLE = ("LICENSE", "configs", "docs", "models/model.pt")  # nothing that a run leaves


def check_order(root: Path, target: Path, name: str) -> None:
    """
    Raises:
        InputError: ``root`` is not a bundle, ``target`` exists, or the model zoo and MONAI's download would not take a
            bundle of this name.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise InputError(f"'{name}': a name consists of letters, digits and underscores, and begins with a letter")
    if "_v" in name:
        raise InputError(f"'{name}': MONAI takes the text after '_v' for the bundle's version; choose another name")
    if target.exists():
        raise InputError(f"{target}: exists; choose another name or remove it")
    if not (root / "configs" / "metadata.json").is_file():
        raise InputError(f"{root}: has no configs/metadata.json; --bundle_root names the folder bundle/ of the sources")


def package_bundle(bundle_root: PathLike, output: PathLike, name: str) -> Path:
    """
    Copy a bundle's configs, docs and weights, together with the part of this package that the configs call. MONAI
    Label, MONAI Deploy and the model zoo put a bundle's folder on Python's path, and so find that part.

    Args:
        bundle_root: folder of the bundle.
        output: folder to make the packaged bundle in.
        name: of the packaged bundle, and of its folder.

    Returns:
        The packaged bundle, ``output/name``. It is written whole or not at all.

    Raises:
        InputError: the name cannot be used, the folder exists, or the bundle is incomplete.
    """
    root, target = Path(bundle_root), Path(output) / name
    check_order(root, target, name)
    read_weights(root / "models" / "model.pt")
    with whole_folder(target) as part:
        for path in OF_BUNDLE:
            _copy(root / path, part / path)
        _copy(PACKAGE, part / PACKAGE.name, leave_out=LEFT_OUT)
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
