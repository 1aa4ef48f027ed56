from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from dpsau2net_monai.errors import InputError
from dpsau2net_monai.importers import archive
from dpsau2net_monai.importers.archive import list_files, unpacked

FILES = {"a/x.png": b"one" * 1000, "a/ü y.txt": b"two"}


def zipped(members: dict[str, bytes], mode: int = 0) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, content)
    return data.getvalue()


def tarred(members: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(content)
            else:
                info.linkname = content.decode()
            file.addfile(info, io.BytesIO(content))
    return data.getvalue()


def bomb(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("a/x.png", "w", force_zip64=True) as member,
    ):
        for _ in range(4):
            member.write(bytes(2**20))


def tar_bomb(path: Path) -> None:
    """Write a header that announces 4 GiB, without the data. It must be refused before the data are read."""
    info = tarfile.TarInfo("a/x.png")
    info.size = 2**32
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))


def encrypted(path: Path) -> None:
    data = bytearray(zipped({"a/x.png": b"one"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)


def unpack_all(source: Path) -> dict[str, bytes]:
    names = list_files(source)
    with unpacked(source, names) as folder:
        return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "folder"])
def test_files_of_archives_and_folders(kind, tmp_path):
    source = tmp_path / f"source.{kind}"
    members = {**FILES, "__MACOSX/a/._x.png": b""}
    if kind == "folder":
        for name, content in members.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content)
        (source / "a" / "loop").symlink_to(source)
    elif kind == "zip":  # as from Windows, with an entry for the folder
        source.write_bytes(zipped({"a\\": b""} | {name.replace("/", "\\"): members[name] for name in members}))
    else:
        source.write_bytes(tarred(members))
    assert unpack_all(source) == FILES
    with unpacked(source, ["a/ü y.txt"]) as folder:
        assert (folder / "a" / "x.png").exists() == (kind == "folder")
    assert folder.exists() == (kind == "folder")


def write(data: bytes):
    return lambda path: path.write_bytes(data)


@pytest.mark.parametrize(
    "spoil, says",
    [
        (write(zipped({"ok.png": b"", "../x.png": b""})), r"'../x.png' would be written outside"),
        (write(zipped({"a/../../x.png": b""})), r"'a/../../x.png' would be written outside"),
        (write(zipped({"..\\x.png": b""})), "would be written outside"),
        (write(zipped({"/x.png": b""})), r"'/x.png' would be written outside"),
        (write(zipped({"C:\\x.png": b""})), "would be written outside"),
        (write(zipped({"x.png": b"/etc/passwd"}, stat.S_IFLNK | 0o777)), r"'x.png' is a link"),
        (write(zipped({"a/x.png": b"", "a//x.png": b""})), "has 'a//x.png' twice"),
        (write(zipped({"x": b"", "x/y.png": b""})), "cannot be unpacked"),
        (write(tarred({"../x.png": b""})), r"'../x.png' would be written outside"),
        (write(tarred({"x.png": b"/etc/passwd"}, tarfile.SYMTYPE)), r"'x.png' is a link"),
        (write(tarred({"x.png": b"/etc/passwd"}, tarfile.LNKTYPE)), r"'x.png' is a link"),
        (write(tarred({"x.png": b""}, tarfile.FIFOTYPE)), "is a link or a device"),
        (write(zipped(FILES)[:-30]), "is cut short"),
        (write(tarred(FILES)[:-30]), "cannot be unpacked"),
        (write(tarred(FILES)[:-8] + bytes(8)), "cannot be unpacked"),
        (write(zipped(FILES).replace(b"two", b"tow")), "cannot be unpacked"),
        (write(b"Rar!\x1a\x07"), "is not a zip or tar archive"),
        (encrypted, "cannot be unpacked"),
        (bomb, "far too many"),
        (tar_bomb, "far too many"),
        (lambda path: None, "no such file or folder"),
    ],
)
def test_a_refused_archive_leaves_nothing(spoil, says, tmp_path, monkeypatch):
    temporary = tmp_path / "deep" / "temporary"
    temporary.mkdir(parents=True)
    monkeypatch.setattr(archive.tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(archive, "ALWAYS_ALLOWED", 2**20)
    source = tmp_path / "source"
    spoil(source)
    with pytest.raises(InputError, match=says) as error:
        unpack_all(source)
    assert str(error.value).startswith(str(source)) and "\n" not in str(error.value)
    assert {*tmp_path.rglob("*")} - {source} == {temporary.parent, temporary}


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    (tmp_path / "a.zip").write_bytes(zipped({f"{i}.png": b"" for i in range(4)}))
    with pytest.raises(InputError, match="more than 3 members"):
        list_files(tmp_path / "a.zip")
