"""Download an archive of images."""

from __future__ import annotations

import re
from pathlib import Path

import pooch
from monai.config import PathLike
from tqdm import tqdm

from ..errors import InputError
from ..files import whole_file
from .archive import check_archive

__all__ = ["download_archive"]

TIMEOUT = 60.0  # seconds without a byte


def download_archive(url: str, path: PathLike, sha256: str | None = None) -> str:
    """
    Download a zip or tar archive, unless ``path`` exists. A failed download leaves no file.

    Args:
        url: address of the archive.
        path: file to write.
        sha256: SHA-256 that the file must have, also if it exists already. None: the SHA-256 is not compared. The
            checksums within a new archive are compared in both cases.

    Returns:
        The SHA-256 of the file.

    Raises:
        InputError: the archive cannot be downloaded, is damaged, or has another SHA-256.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the file to download to, such as {path / Path(url).name}")
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise InputError(f"{sha256}: is not a SHA-256, which has 64 digits of 0-9 and a-f")
    if path.exists():
        found = pooch.file_hash(path)
        if sha256 and found != sha256.lower():
            raise InputError(f"{path}: exists, but has another SHA-256 than {sha256}; remove it")
        return found
    # pooch.retrieve would move the file to its place before the archive can be checked
    with whole_file(path) as part:
        _download(url, part)
        found = pooch.file_hash(part)
        if sha256 and found != sha256.lower():
            raise InputError(f"{url}: the downloaded file has another SHA-256 than {sha256}; it was removed")
        try:
            check_archive(part)
        except InputError as error:
            reason = str(error).removeprefix(f"{part}: ")
            raise InputError(f"{url}: the downloaded file is not a whole archive, and was removed: {reason}") from error
    return found


def _download(url: str, path: Path) -> None:
    try:
        # pooch's own bar stays open after an error. The total of 1 is a placeholder: pooch ignores a bar without one.
        with tqdm(total=1, desc="download", unit="B", unit_scale=True, disable=None) as bar:
            pooch.HTTPDownloader(bar, chunk_size=2**16, timeout=TIMEOUT)(url, str(path), None)
    except (OSError, ValueError) as error:  # of the network or the disk; ValueError: Content-Length is not a number
        first: BaseException = error
        while first.__context__ is not None:  # the others only wrap it in longer messages
            first = first.__context__
        reason = (str(first).splitlines() or [type(first).__name__])[0]
        raise InputError(f"{url}: cannot be downloaded to {path.parent} ({reason}); try again") from error
