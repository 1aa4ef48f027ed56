from __future__ import annotations

import hashlib
import io
import resource
import signal
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler

import pytest

from dpsau2net_monai.errors import InputError
from dpsau2net_monai.importers import download
from dpsau2net_monai.importers.download import download_archive


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        # ZipInfo has a fixed time; with that of now, two test workers would see two SHA-256
        file.writestr(zipfile.ZipInfo("a/x.png"), b"one" * 1000)
        file.writestr(zipfile.ZipInfo("a/y.txt"), b"two")
    return data.getvalue()


GOOD = zipped()
SHA256 = hashlib.sha256(GOOD).hexdigest()
WHOLE, CUT = str(len(GOOD)), GOOD[:-100]
ANSWERS = {  # the server's body, and its Content-Length
    "/good.zip": (GOOD, WHOLE),
    "/cut.zip": (CUT, WHOLE),
    "/cut_without_length.zip": (CUT, None),
    "/damaged.zip": (GOOD.replace(b"two", b"tow"), WHOLE),
    "/page.zip": (b"<html>please log in</html>", None),
    "/silent.zip": (CUT, WHOLE),
    "/odd_length.zip": (GOOD, "many"),
    "/interrupted.zip": (CUT, WHOLE),
}


BEGUN, ENDED = threading.Event(), threading.Event()  # of the download that is interrupted


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/no_answer.zip":
            time.sleep(1)
        if self.path == "/loop.zip":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        if self.path not in ANSWERS:
            self.send_error(404)
            return
        body, length = ANSWERS[self.path]
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if self.path == "/interrupted.zip":
            BEGUN.set()
            ENDED.wait(60)
        if self.path == "/silent.zip":
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
def test_a_download_is_kept_and_not_repeated(server, sha256, tmp_path, capsys):
    path = tmp_path / "new" / "data.zip"
    assert download_archive(f"{server}/good.zip", path, sha256) == SHA256
    assert path.read_bytes() == GOOD
    assert list(path.parent.iterdir()) == [path]
    assert download_archive(f"{server}/no_longer_there.zip", path, sha256) == SHA256
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "name, sha256, says",
    [
        ("good.zip", "0" * 64, "has another SHA-256 than 000"),
        ("good.zip", "abc", "is not a SHA-256"),
        ("cut.zip", None, "100 more expected"),
        ("cut.zip", SHA256, "100 more expected"),
        ("cut_without_length.zip", None, "is not a whole archive"),
        ("cut_without_length.zip", SHA256, "has another SHA-256 than"),
        ("damaged.zip", None, "is not a whole archive"),
        ("page.zip", None, "is not a whole archive"),
        ("silent.zip", None, "timed out"),
        ("no_answer.zip", None, "timed out"),
        ("odd_length.zip", None, "cannot be downloaded"),
        ("loop.zip", None, "Exceeded 30 redirects"),
        ("none.zip", None, "404 Client Error: Not Found"),
    ],
)
def test_a_failed_download_leaves_nothing(server, name, sha256, says, tmp_path, monkeypatch):
    if says == "timed out":
        monkeypatch.setattr(download, "TIMEOUT", 0.3)
    with pytest.raises(InputError, match=says) as error:
        download_archive(f"{server}/{name}", tmp_path / "data.zip", sha256)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(server, tmp_path):
    """In a process of its own: a signal that comes too late would end the tests."""
    program = f"""
import signal
from dpsau2net_monai.importers.download import download_archive
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs with SIGINT ignored
download_archive("{server}/interrupted.zip", "{tmp_path}/data.zip")
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        assert BEGUN.wait(60)
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=60)
    ENDED.set()
    assert process.returncode != 0 and b"KeyboardInterrupt" in messages
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(server, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match=rf"cannot be downloaded to {tmp_path} \(.*File too large\)"):
            download_archive(f"{server}/good.zip", tmp_path / "data.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url, says",
    [
        ("http://127.0.0.1:9/data.zip", "Connection refused"),
        ("http://nowhere.invalid/data.zip", "Name or service not known|name resolution"),
    ],
)
def test_an_address_that_does_not_answer_gives_one_line(url, says, tmp_path):
    with pytest.raises(InputError, match=says) as error:
        download_archive(url, tmp_path / "data.zip")
    assert str(error.value).startswith(f"{url}: cannot be downloaded to {tmp_path} (")
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
    assert list(tmp_path.iterdir()) == []


def test_another_file_in_the_place_is_kept(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        download_archive("http://127.0.0.1:9/data.zip", tmp_path)
    (tmp_path / "data.zip").write_bytes(b"another")
    with pytest.raises(InputError, match="exists, but has another SHA-256"):
        download_archive("http://127.0.0.1:9/data.zip", tmp_path / "data.zip", SHA256)
    assert (tmp_path / "data.zip").read_bytes() == b"another"
