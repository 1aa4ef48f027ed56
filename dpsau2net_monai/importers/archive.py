"""List, check and unpack archives of images. An archive cannot write outside of the folder that it is unpacked to."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple, cast

from monai.config import PathLike
from tqdm import tqdm

from ..errors import InputError

__all__ = ["check_archive", "list_files", "unpacked"]

MAX_MEMBERS = 500_000
MAX_EXPANSION = 100  # unpacked size divided by the size of the archive
ALWAYS_ALLOWED = 2**30  # unpacked bytes that MAX_EXPANSION does not apply to: masks are mostly zeros and compress well

# all that zipfile and tarfile raise for an archive that is damaged, encrypted or has an unknown compression
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


class Member(NamedTuple):
    """An entry of a zip or tar archive."""

    name: str
    size: int  # unpacked, in bytes
    is_file: bool
    is_folder: bool
    open: Callable[[], IO[bytes]]


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 if the archive was made on a system without file types
        is_folder = info.filename.endswith(("/", "\\"))  # some zip files from Windows have backslashes
        is_file = not is_folder and kind in (0, stat.S_IFREG)
        yield Member(info.filename, info.file_size, is_file, is_folder, partial(archive.open, info))


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        opening = cast(Callable[[], IO[bytes]], partial(archive.extractfile, info))  # None only if it is not a file
        yield Member(info.name, info.size, info.isfile(), info.isdir(), opening)
    while archive.fileobj.read(2**20):  # the checksum of a compressed archive is compared at its end
        pass


def _files(archive: Path, members: Iterable[Member]) -> dict[str, Member]:
    """Check all members of an archive, and return its files by name."""
    limit = max(ALWAYS_ALLOWED, MAX_EXPANSION * archive.stat().st_size)
    files: dict[str, Member] = {}
    total = 0
    for number, member in enumerate(members, 1):
        name = member.name.replace("\\", "/")
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or ".." in parts:
            raise InputError(f"{archive}: {member.name!r} would be written outside of its folder; do not trust it")
        if not (member.is_file or member.is_folder):
            raise InputError(f"{archive}: {member.name!r} is a link or a device, not a file; do not trust it")
        total += member.size
        if total > limit:
            raise InputError(f"{archive}: would unpack to more than {limit:,} bytes, far too many; do not trust it")
        if number > MAX_MEMBERS:
            raise InputError(f"{archive}: has more than {MAX_MEMBERS:,} members, far too many; do not trust it")
        if member.is_file:
            if "/".join(parts) in files:
                raise InputError(f"{archive}: has {member.name!r} twice; unpack it by hand and name the folder")
            files["/".join(parts)] = member
    return files


@contextmanager
def _opened(archive: Path) -> Iterator[dict[str, Member]]:
    """Open a zip or tar archive, and give its files by name."""
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                yield _files(archive, _tar_members(tar))
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                yield _files(archive, _zip_members(file))
        else:
            raise InputError(
                f"{archive}: is not a zip or tar archive, or is cut short; download it again or unpack it by hand"
            )
    except InputError:
        raise
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # from the file system; decoders give no number
            raise
        raise InputError(f"{archive}: cannot be unpacked ({error}); download it again") from error


def _walk(folder: Path) -> Iterator[str]:
    """List the files under ``folder``, relative to it. Follow each linked folder once: links can form a loop."""

    def refuse(error: OSError) -> None:
        raise error

    seen = {os.path.realpath(folder)}
    for root, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        for name in files:
            path = Path(root, name)
            # A pipe is left out, because reading it could block. A broken link is listed, so that it is reported.
            if path.is_file() or not path.exists():
                yield path.relative_to(folder).as_posix()
        targets = {name: os.path.realpath(Path(root, name)) for name in sorted(folders)}
        folders[:] = [name for name, target in targets.items() if target not in seen]
        seen.update(targets.values())


def list_files(source: PathLike) -> list[str]:
    """
    List the files of a folder, at any depth, or of a zip or tar archive. Nothing is unpacked.

    Args:
        source: the folder or archive.

    Returns:
        The sorted paths relative to ``source``, with ``/``. The files that macOS adds to archives (``__MACOSX``) are
        left out.

    Raises:
        InputError: ``source`` does not exist, is not an archive, or is an archive that cannot be trusted: it has a
            link, a path outside of its folder, or far too much content for its size.
    """
    source = Path(source)
    if source.is_dir():
        names = list(_walk(source))
    elif source.is_file():
        with _opened(source) as files:
            names = list(files)
    else:
        raise InputError(f"{source}: no such file or folder")
    return sorted(name for name in names if not name.startswith("__MACOSX/"))


def check_archive(archive: Path) -> None:
    """
    Read all files of a zip or tar archive, so that their checksums are compared. Nothing is unpacked.

    Raises:
        InputError: as for :func:`list_files`, or the archive is damaged.
    """
    with _opened(archive) as files:
        for member in tqdm(files.values(), desc="check", unit="file", disable=None):
            with member.open() as packed:
                while packed.read(2**20):
                    pass


@contextmanager
def unpacked(source: PathLike, names: Iterable[str]) -> Iterator[Path]:
    """
    Give a folder with the files ``names`` of ``source``: ``source`` itself if it is a folder, else a temporary folder
    with these files, which is removed afterwards.

    ``monai.apps.extractall`` takes any folder that is not empty for a finished one, leaves part of an archive behind
    when it is interrupted, and unpacks any amount of data. This function checks all members first. Then it writes only
    the content of files, never links, owners or modes.

    Raises:
        InputError: as for :func:`list_files`, or the archive is damaged, or the disk is full.
    """
    source = Path(source)
    if source.is_dir():
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="dpsau2net-") as folder:
        wanted = set(names)
        if wanted:
            _unpack(source, wanted, Path(folder))
        yield Path(folder)


def _unpack(archive: Path, names: set[str], folder: Path) -> None:
    with _opened(archive) as files:
        members = [(name, member) for name, member in files.items() if name in names]
        for name, member in tqdm(members, desc="unpack", unit="file", disable=None):
            target = folder / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as packed, open(target, "xb") as file:
                    shutil.copyfileobj(packed, file)
            except OSError as error:
                reason = error.strerror or error
                raise InputError(
                    f"{archive}: {name!r} cannot be unpacked to {folder} ({reason}); set TMPDIR to another folder"
                ) from error
