from __future__ import annotations

import gzip
import hashlib
import io
import stat
import tarfile
import time
import zipfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from dpsau2net_monai.data import archive
from dpsau2net_monai.data.archive import download, list_files, unpacked
from dpsau2net_monai.errors import InputError

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
    """A header that promises 4 GiB of zeros, of which none need follow: it must be refused before they are read."""
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
    else:
        source.write_bytes((zipped if kind == "zip" else tarred)(members))
    assert unpack_all(source) == FILES
    with unpacked(source, ["a/ü y.txt"]) as folder:
        assert (folder / "a" / "x.png").exists() == (kind == "folder")
    assert folder.exists() == (kind == "folder")


def write(data: bytes):
    return lambda path: path.write_bytes(data)


@pytest.mark.parametrize(
    "spoil, says",
    [
        (write(zipped({"ok.png": b"", "../x.png": b""})), r"'../x.png' would be unpacked outside"),
        (write(zipped({"a/../../x.png": b""})), r"'a/../../x.png' would be unpacked outside"),
        (write(zipped({"..\\x.png": b""})), "would be unpacked outside"),
        (write(zipped({"/x.png": b""})), r"'/x.png' would be unpacked outside"),
        (write(zipped({"C:\\x.png": b""})), "would be unpacked outside"),
        (write(zipped({"x.png": b"/etc/passwd"}, stat.S_IFLNK | 0o777)), r"'x.png' is a link"),
        (write(zipped({"a/x.png": b"", "a//x.png": b""})), "is in it twice"),
        (write(zipped({"x": b"", "x/y.png": b""})), "cannot be unpacked"),
        (write(tarred({"../x.png": b""})), r"'../x.png' would be unpacked outside"),
        (write(tarred({"x.png": b"/etc/passwd"}, tarfile.SYMTYPE)), r"'x.png' is a link"),
        (write(tarred({"x.png": b"/etc/passwd"}, tarfile.LNKTYPE)), r"'x.png' is a link"),
        (write(tarred({"x.png": b""}, tarfile.FIFOTYPE)), "is a link or a device"),
        (write(zipped(FILES)[:-30]), "is cut short"),
        (write(tarred(FILES)[:-30]), "cannot be unpacked"),
        (write(tarred(FILES)[:-8] + bytes(8)), "cannot be unpacked"),
        (write(zipped(FILES).replace(b"two", b"tow")), "cannot be unpacked"),
        (write(b"Rar!\x1a\x07"), "is no zip or tar archive"),
        (encrypted, "cannot be unpacked"),
        (bomb, "absurdly"),
        (tar_bomb, "absurdly"),
        (lambda path: None, "no such file or folder"),
    ],
)
def test_what_is_refused_leaves_nothing(spoil, says, tmp_path, monkeypatch):
    temporary = tmp_path / "deep" / "temporary"
    temporary.mkdir(parents=True)
    monkeypatch.setattr(archive.tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(archive, "HARMLESS", 2**20)
    source = tmp_path / "source"
    spoil(source)
    with pytest.raises(InputError, match=says) as error:
        unpack_all(source)
    assert str(error.value).startswith(str(source)) and "\n" not in str(error.value)
    assert {*tmp_path.rglob("*")} - {source} == {temporary.parent, temporary}


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    (tmp_path / "a.zip").write_bytes(zipped({f"{i}.png": b"" for i in range(4)}))
    with pytest.raises(InputError, match="over 3 members"):
        list_files(tmp_path / "a.zip")


GOOD = zipped(FILES)
SHA256 = hashlib.sha256(GOOD).hexdigest()
ANSWERS = {  # what the server sends as body, and by how much its Content-Length is too large
    "/good.zip": (GOOD, 0),
    "/cut.zip": (GOOD[:-100], 100),
    "/unsaid_cut.zip": (GOOD[:-100], None),
    "/damaged.zip": (GOOD.replace(b"two", b"tow"), 0),
    "/page.zip": (b"<html>please log in</html>", 0),
    "/silent.zip": (GOOD[:-100], 100),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path not in ANSWERS:
            self.send_error(404)
            return
        body, missing = ANSWERS[self.path]
        self.send_response(200)
        if missing is not None:
            self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/silent.zip":
            self.wfile.flush()
            time.sleep(1)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope="module")
def server(serving):
    with serving(Handler) as url:
        yield url


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("sha256", [None, SHA256, SHA256.upper()])
def test_download(server, sha256, tmp_path, capsys):
    path = tmp_path / "new" / "data.zip"
    assert download(f"{server}/good.zip", path, sha256) == SHA256
    assert path.read_bytes() == GOOD
    assert download(f"{server}/no_longer_there.zip", path, sha256) == SHA256  # not fetched twice
    assert capsys.readouterr().out == ""  # MONAI's log


@pytest.mark.parametrize(
    "name, sha256, says",
    [
        ("good.zip", "0" * 64, "another SHA-256 than 000"),
        ("good.zip", "abc", "is no SHA-256"),
        ("cut.zip", None, "was cut short on the way"),
        ("cut.zip", SHA256, "was cut short on the way"),
        ("unsaid_cut.zip", None, "no whole archive"),
        ("damaged.zip", None, "no whole archive"),
        ("page.zip", None, "no whole archive"),
        ("silent.zip", None, "timed out"),
        ("none.zip", None, "404 Not Found"),
    ],
)
def test_failed_downloads_leave_nothing(server, name, sha256, says, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "TIMEOUT", 0.3)
    with pytest.raises(InputError, match=says) as error:
        download(f"{server}/{name}", tmp_path / "data.zip", sha256)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_downloads_that_cannot_begin(tmp_path):
    with pytest.raises(InputError, match="cannot be fetched"):
        download("http://127.0.0.1:9/data.zip", tmp_path / "data.zip")
    with pytest.raises(InputError, match="is a folder"):
        download("http://127.0.0.1:9/data.zip", tmp_path)
    (tmp_path / "data.zip").write_bytes(b"another")
    with pytest.raises(InputError, match="is there already, but has another SHA-256"):
        download("http://127.0.0.1:9/data.zip", tmp_path / "data.zip", SHA256)
    assert (tmp_path / "data.zip").read_bytes() == b"another"
