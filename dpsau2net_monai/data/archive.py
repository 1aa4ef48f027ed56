"""Archives of images: what is in them, unpacking that nothing can leave, and fetching them."""

from __future__ import annotations

import hashlib
import logging
import lzma
import os
import re
import shutil
import socket
import stat
import sys
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple
from urllib.error import ContentTooShortError, HTTPError

from monai.apps.utils import HashCheckError, check_hash, download_url
from tqdm import tqdm

from ..errors import InputError
from ..files import whole_file

__all__ = ["download", "list_files", "unpacked"]

PathLike = str | os.PathLike

MOST_MEMBERS = 500_000
EXPANSION = 100  # times the archive's size ...
HARMLESS = 2**30  # ... which is no matter below these bytes: masks are mostly zeros and shrink by more than that
TIMEOUT = 60.0  # seconds without a byte

# all that zipfile and tarfile raise for an archive that is damaged, encrypted or of an unknown compression
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
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive comes from a system without such kinds
        is_file = not info.is_dir() and kind in (0, stat.S_IFREG)
        yield Member(info.filename, info.file_size, is_file, info.is_dir(), lambda info=info: archive.open(info))


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        yield Member(info.name, info.size, info.isfile(), info.isdir(), lambda info=info: archive.extractfile(info))
    while archive.fileobj.read(2**20):  # to the end, where a compressed archive's checksum is compared
        pass


def _checked(archive: Path, members: Iterable[Member]) -> dict[str, Member]:
    """The files of an archive by name, once no member is found that has no place in an archive of images."""
    limit = max(HARMLESS, EXPANSION * archive.stat().st_size)
    files: dict[str, Member] = {}
    total = 0
    for number, member in enumerate(members, 1):
        name = member.name.replace("\\", "/")  # as some zips from Windows have it
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or ".." in parts:
            raise InputError(f"{archive}: {member.name!r} would be unpacked outside of its folder; do not trust it")
        if not (member.is_file or member.is_folder):
            raise InputError(f"{archive}: {member.name!r} is a link or a device, not a file; do not trust it")
        total += member.size
        if total > limit:
            raise InputError(f"{archive}: would expand to over {limit:,} bytes, absurdly many; do not trust it")
        if number > MOST_MEMBERS:
            raise InputError(f"{archive}: has over {MOST_MEMBERS:,} members, absurdly many; do not trust it")
        if member.is_file:
            if "/".join(parts) in files:
                raise InputError(f"{archive}: {member.name!r} is in it twice; unpack it by hand and name the folder")
            files["/".join(parts)] = member
    return files


@contextmanager
def _opened(archive: Path) -> Iterator[dict[str, Member]]:
    """Open a zip or tar archive for reading its files, which are given by name."""
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                yield _checked(archive, _tar_members(tar))
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                yield _checked(archive, _zip_members(file))
        else:
            raise InputError(
                f"{archive}: is no zip or tar archive, or is cut short; fetch it anew or unpack it by hand"
            )
    except InputError:
        raise
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the file system's; decoders give no number
            raise
        raise InputError(f"{archive}: cannot be unpacked ({error}); fetch it anew") from error


def _walk(folder: Path) -> Iterator[str]:
    """The files under ``folder``, relative to it; linked folders are entered, but none twice, as links can go round."""

    def refuse(error: OSError) -> None:
        raise error

    seen = {os.path.realpath(folder)}
    for root, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        for name in files:
            path = Path(root, name)
            if path.is_file() or not path.exists():  # not what one could wait on for ever; a broken link is reported
                yield path.relative_to(folder).as_posix()
        targets = {name: os.path.realpath(Path(root, name)) for name in sorted(folders)}
        folders[:] = [name for name, target in targets.items() if target not in seen]
        seen.update(targets.values())


def list_files(source: PathLike) -> list[str]:
    """
    List the files of a folder, at any depth, or of a zip or tar archive; nothing is unpacked.

    Args:
        source: the folder or archive.

    Returns:
        The paths relative to ``source``, with ``/``, sorted; without those that macOS adds to archives (``__MACOSX``).

    Raises:
        InputError: ``source`` is not there or is no archive, or the archive has a member that would leave the folder
            that it is unpacked to, a link, or would expand absurdly.
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


@contextmanager
def unpacked(source: PathLike, names: Iterable[str]) -> Iterator[Path]:
    """
    Give a folder that has the files ``names`` of ``source``: itself if it is a folder, else a temporary one with what
    was unpacked, removed afterwards.

    ``monai.apps.extractall`` takes a folder that has anything in it for a finished one, leaves half of an archive
    behind when it is stopped, and unpacks whatever expands absurdly. Here only bytes of files are written, never links,
    owners or modes, and nothing before every member of the archive was checked.

    Raises:
        InputError: as :func:`list_files`, or the archive is damaged, or there is no room.
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
                    f"{archive}: {name!r} cannot be unpacked to {folder} ({reason}); TMPDIR names another place"
                ) from error


def download(url: str, path: PathLike, sha256: str | None = None) -> str:
    """
    Fetch a zip archive, unless ``path`` is there already.

    The transfer, its progress bar and the comparison of the hash are ``monai.apps.download_url``'s. That waits for ever
    on a server that falls silent, says "downloaded" where it may not write, may leave half a file when it is stopped
    while it moves the file into its place, and without a hash takes any file; so here it writes beside the
    place, and the file takes it only when every member has passed the zip's own checksums.

    Args:
        url: where it is.
        path: file to write; kept for the next time.
        sha256: the SHA-256 that the file must have, of one that is there already, too; None: any.

    Returns:
        The file's SHA-256.

    Raises:
        InputError: in one line, why there is no such file; nothing is left of it then.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the archive's file to write, such as {path / Path(url).name}")
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise InputError(f"{sha256}: is no SHA-256, which has 64 digits of 0-9 and a-f")
    sha256 = sha256 and sha256.lower()
    if path.exists():
        if sha256 and not _quietly(check_hash, path, sha256):
            raise InputError(f"{path}: is there already, but has another SHA-256 than {sha256}; remove it")
    else:
        with whole_file(path) as part:
            _transfer(url, part, sha256)
            _check_zip(url, part)
    return sha256 or _sha256(path)


def _quietly(function: Callable, *args, **options):  # type: ignore[no-untyped-def]
    """Call a function of MONAI's without its log on standard output, and its warning where no hash is given."""
    logger = logging.getLogger("monai.apps")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **options)
    finally:
        logger.setLevel(level)


def _transfer(url: str, path: Path, sha256: str | None) -> None:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # the one way to give urlretrieve, which MONAI calls, a limit
    try:
        _quietly(download_url, url, path, sha256, "sha256", progress=sys.stderr.isatty())
    except HashCheckError as error:
        raise InputError(f"{url}: what came has another SHA-256 than {sha256}; nothing was kept") from error
    except HTTPError as error:
        raise InputError(f"{url}: cannot be fetched ({error.code} {error.reason})") from error
    except ContentTooShortError as error:
        raise InputError(f"{url}: was cut short on the way; nothing was kept, so run it again") from error
    except (OSError, HTTPException) as error:
        reason = str(getattr(error, "reason", error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{url}: cannot be fetched ({reason})") from error
    finally:
        socket.setdefaulttimeout(timeout)
    if not path.exists():  # MONAI passes over a PermissionError
        raise InputError(f"{path.parent}: cannot be written to")


def _check_zip(url: str, path: Path) -> None:
    try:
        with _opened(path) as files:
            for member in tqdm(files.values(), desc="check", unit="file", disable=None):
                with member.open() as packed:
                    while packed.read(2**20):  # to the end, where zipfile compares the checksum
                        pass
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{url}: what came is no whole archive, and was not kept: {reason}") from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
