"""Writing files and folders so that none is ever half there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file", "whole_folder"]


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """
    Give a path beside ``path`` to write to, which takes its place when all went well and is removed otherwise.

    Its suffix is that of ``path``, as many writers go by it; folders on the way are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # the end of the name alone: the whole may be as long as the file system allows
    part = path.with_name(f".part-{os.getpid()}-{path.name[-50:]}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Give a new folder beside ``path``, which must not exist, as :func:`whole_file` gives a file."""
    path = Path(path)
    part = path.with_name(f".part-{os.getpid()}-{path.name[-50:]}")
    part.mkdir(parents=True)
    try:
        yield part
        os.rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
