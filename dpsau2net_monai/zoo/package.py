"""Making a bundle that runs where this package is not installed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from ..errors import InputError
from ..files import whole_folder
from ..networks import read_weights

__all__ = ["package_bundle"]

PACKAGE = Path(__file__).parents[1]
NOT_IN_CONFIGS = ("cli.py", "__main__.py", "zoo")  # the command line's, of PACKAGE
OF_BUNDLE = ("LICENSE", "configs", "docs", "models/model.pt")  # and nothing that a run leaves


def check_order(root: Path, target: Path, name: str) -> None:
    """
    Raises:
        InputError: ``root`` is no bundle to pack, ``target`` is there already, or the model zoo and MONAI's download
            would not take a bundle of this name.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise InputError(f"'{name}': a bundle's name is of letters, digits and underscores, and begins with a letter")
    if "_v" in name:
        raise InputError(f"'{name}': MONAI takes what stands behind '_v' for the bundle's version; choose another name")
    if target.exists():
        raise InputError(f"{target}: is there already; name another or remove it")
    if not (root / "configs" / "metadata.json").is_file():
        raise InputError(f"{root}: has no configs/metadata.json; --bundle_root names the folder bundle/ of the sources")


def package_bundle(bundle_root: str | os.PathLike, output: str | os.PathLike, name: str) -> Path:
    """
    Copy a bundle, its configs, docs and weights, together with the part of this package that its configs call. MONAI
    Label, MONAI Deploy and the model zoo put a bundle's folder on Python's path, and so find it there.

    Args:
        bundle_root: folder of the bundle.
        output: folder to make the packaged bundle in.
        name: of the packaged bundle, and of its folder.

    Returns:
        The packaged bundle, ``output/name``: whole, or not there at all.

    Raises:
        InputError: the name is not fit for one, there is a folder of it already, or the bundle lacks something.
    """
    root, target = Path(bundle_root), Path(output) / name
    check_order(root, target, name)
    read_weights(root / "models" / "model.pt")
    with whole_folder(target) as part:
        for path in OF_BUNDLE:
            _copy(root / path, part / path)
        _copy(PACKAGE, part / PACKAGE.name, leave_out=NOT_IN_CONFIGS)
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
