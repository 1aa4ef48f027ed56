"""Writing files and folders whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["clear_parts", "whole_file", "whole_folder"]


def _part_of(path: Path) -> Path:
    # only the end of the name, as the name may be as long as the file system allows
    return path.with_name(f".part-{os.getpid()}-{path.name[-50:]}")


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """
    Give a temporary path in the folder of ``path`` to write to. The file moves to ``path`` when all went well, and is
    removed otherwise. A process that is killed leaves it; see :func:`clear_parts`.

    The temporary path ends like ``path``, as many writers choose the format by the suffix. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(path)
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Give a new, temporary folder beside ``path``, as :func:`whole_file` gives a file. ``path`` must not exist."""
    path = Path(path)
    part = _part_of(path)
    shutil.rmtree(part, ignore_errors=True)  # of a killed process: in a container, many have the same number
    part.mkdir(parents=True)
    try:
        yield part
        os.rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def clear_parts(folder: str | os.PathLike) -> None:
    """
    Remove the temporary files and folders of :func:`whole_file` and :func:`whole_folder` in ``folder``. No other
    process may be writing to it.
    """
    for part in Path(folder).glob(".part-*"):
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink()
