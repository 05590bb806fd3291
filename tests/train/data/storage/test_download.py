"""Downloads from a local server: complete, resumed, with a wrong hash, refused."""

import contextlib
import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from train.data.storage.download import Remote, download
from train.errors import UserError

CONTENT = bytes(range(256)) * 10_000
MD5 = hashlib.md5(CONTENT).hexdigest()


# Answers of servers with these headers.
ODD = {
    "/abc": {"Content-Length": "abc"},
    "/negative": {"Content-Length": "-5"},
    "/none": {},
    "/huge": {"Content-Length": "9" * 30},
    "/circle": {"Location": "/circle"},
    "/local": {"Location": "file:///etc/passwd"},
    **dict.fromkeys(("/login", "/marked", "/comment", "/empty"), {"Content-Type": "text/html"}),
    "/shifted": {"Content-Range": "bytes 7-99/100"},
}

PAGES = {
    "/login": b"<!DOCTYPE html>please log in",
    "/marked": b"\xef\xbb\xbf<html>please log in",
    "/comment": b"<!-- a proxy --><html>please log in",
    "/empty": b"",
}


class Handler(BaseHTTPRequestHandler):
    """A server: /whole resumes, /old cannot, /cut sends half of the announced length."""

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.split("=")[1].rstrip("-")) if asked else 0
        if self.path.startswith("/status/"):
            self.send_error(int(self.path.rpartition("/")[2]))
            return
        if self.path == "/gone":
            self.send_error(404)
            return
        if self.path in ODD:
            self.send_oddly(ODD[self.path])
            return
        if start >= len(CONTENT) and self.path == "/whole":
            self.send_error(416)
            return
        rest = CONTENT[start:] if self.path == "/whole" else CONTENT
        self.send_response(206 if asked and self.path == "/whole" else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # A client that cannot save stops reading.
            self.wfile.write(rest[: len(rest) // 2] if self.path == "/cut" else rest)

    def send_oddly(self, headers):
        if "Location" in headers:
            self.send_response(302)
        else:
            self.send_response(206 if "Content-Range" in headers and self.headers["Range"] else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        page = PAGES.get(self.path, CONTENT)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(page)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        # shutdown() waits for the end of a poll, by default half a second.
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def make_remote(server, path, md5=MD5):
    return Remote(f"http://127.0.0.1:{server.server_port}{path}", md5)


def test_a_download_is_announced_and_complete(server, tmp_path, capsys):
    target = tmp_path / "new" / "data.tar.gz"
    download(make_remote(server, "/whole"), target)
    assert target.read_bytes() == CONTENT
    assert [file.name for file in target.parent.iterdir()] == ["data.tar.gz"]
    assert capsys.readouterr().err.startswith("downloading http://127.0.0.1")


@pytest.mark.parametrize("path, resumes", [("/whole", True), ("/old", False)])
def test_a_stopped_download_resumes_if_the_server_can(server, tmp_path, path, resumes):
    target = tmp_path / "data.tar.gz"
    with pytest.raises(UserError, match="closed after|IncompleteRead|more expected"):
        download(make_remote(server, "/cut"), target)
    have = (tmp_path / ".data.tar.gz.pit_jax.part").stat().st_size
    assert have == len(CONTENT) // 2 and not target.exists()
    download(make_remote(server, path), target)
    assert server.asked == [None, f"bytes={have}-"]
    assert target.read_bytes() == CONTENT


def test_a_complete_part_is_only_checked(server, tmp_path):
    (tmp_path / ".data.pit_jax.part").write_bytes(CONTENT)
    download(make_remote(server, "/whole"), tmp_path / "data")
    assert (tmp_path / "data").read_bytes() == CONTENT


def test_a_file_with_a_wrong_hash_is_refused_and_kept_as_bad(server, tmp_path):
    target = tmp_path / "data"
    with pytest.raises(UserError, match=f"expected a file with md5 {'0' * 32}, got {MD5}"):
        download(make_remote(server, "/whole", md5="0" * 32), target)
    assert [file.name for file in tmp_path.iterdir()] == ["data.bad"]


def test_no_bad_file_is_overwritten(server, tmp_path):
    for name in ("data.bad", "data.2.bad", "data.3.bad"):
        with pytest.raises(UserError, match=f"kept as {tmp_path}/{name};"):
            download(make_remote(server, "/whole", md5="0" * 32), tmp_path / "data")
        (tmp_path / name).write_bytes(CONTENT + name.encode())
    for name in ("data.bad", "data.2.bad", "data.3.bad"):
        assert (tmp_path / name).read_bytes() == CONTENT + name.encode()


@pytest.mark.parametrize("path", ["/whole", "/old", "/cut"])
def test_unfinished_files_of_other_programs_are_not_touched(server, tmp_path, path):
    others = ["data.part", "data.crdownload", "data.bad"]
    for name in others:
        (tmp_path / name).write_bytes(CONTENT[:1000])
    with contextlib.suppress(UserError):
        download(make_remote(server, path), tmp_path / "data")
    assert server.asked == [None]
    assert all((tmp_path / name).read_bytes() == CONTENT[:1000] for name in others)


def test_the_error_of_a_refused_download_has_the_status(server, tmp_path):
    with pytest.raises(UserError, match="could not be fetched to .*404"):
        download(make_remote(server, "/gone"), tmp_path / "data")
    with pytest.raises(UserError, match="could not be fetched"):
        download(Remote("http://127.0.0.1:9/none", MD5), tmp_path / "data")


def test_a_folder_that_cannot_be_written_raises_an_error(server, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="could not be fetched"):
        download(make_remote(server, "/whole"), tmp_path / "file" / "data")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("path", ["/abc", "/negative", "/none", "/huge"])
def test_an_invalid_content_length_is_ignored_and_the_hash_decides(server, tmp_path, path):
    download(make_remote(server, path), tmp_path / "data")
    assert (tmp_path / "data").read_bytes() == CONTENT
    with pytest.raises(UserError, match="expected a file with md5"):
        download(make_remote(server, path, "0" * 32), tmp_path / "other")


@pytest.mark.parametrize(
    "path, reason",
    [
        ("/status/404", "the server has no such file .404."),
        ("/status/403", "the server refuses it .403."),
        ("/status/401", "asks for a login"),
        ("/status/410", "no longer has the file"),
        ("/circle", "redirects in a circle"),
        ("/local", "redirects in a circle, or to no web address"),
        ("/login", "sent a web page, such as a login, instead of the file"),
        ("/marked", "sent a web page, such as a login"),
        ("/comment", "sent a web page, such as a login"),
        ("/empty", "sent an empty answer"),
    ],
)
def test_answers_that_will_not_change_are_one_sentence_without_resuming(
    server, tmp_path, path, reason
):
    target = tmp_path / "new" / "data"
    with pytest.raises(UserError, match=reason) as error:
        download(make_remote(server, path), target)
    message = str(error.value)
    assert "\n" not in message and "resume" not in message and "repeat" not in message
    assert f"Put the official file at {target} by hand" in message
    assert not target.exists() and not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("path", ["/status/500", "/status/503", "/status/429"])
def test_servers_that_are_busy_are_asked_again_later(server, tmp_path, path):
    with pytest.raises(UserError, match="Repeat the command later"):
        download(make_remote(server, path), tmp_path / "data")
    (tmp_path / ".data.pit_jax.part").write_bytes(CONTENT[:9])
    with pytest.raises(UserError, match="Received bytes are kept; repeat the command to resume"):
        download(make_remote(server, path), tmp_path / "data")


def test_a_server_that_does_not_answer_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("train.data.storage.download.TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = Remote(f"http://127.0.0.1:{silent.getsockname()[1]}/data", MD5)
        with pytest.raises(UserError, match="did not answer for 0.2 seconds.*Repeat the command"):
            download(remote, tmp_path / "data")


def test_a_server_that_resumes_at_another_byte_sends_the_whole_file(server, tmp_path):
    (tmp_path / ".data.pit_jax.part").write_bytes(CONTENT[:9])
    download(make_remote(server, "/shifted"), tmp_path / "data")
    assert (tmp_path / "data").read_bytes() == CONTENT


def test_two_downloads_of_one_file_fetch_it_once(server, tmp_path):
    target = tmp_path / "data"
    threads = [
        threading.Thread(target=download, args=(make_remote(server, "/whole"), target))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert target.read_bytes() == CONTENT and server.asked == [None]
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def test_ctrl_c_keeps_the_part_and_the_next_start_resumes(server, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("train.data.storage.download.CHUNK", 100_000)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("rich.progress.Progress.advance", stop)
        download(make_remote(server, "/whole"), tmp_path / "data")
    assert (tmp_path / ".data.pit_jax.part").stat().st_size == 100_000
    download(make_remote(server, "/whole"), tmp_path / "data")
    assert server.asked == [None, "bytes=100000-"]
    assert (tmp_path / "data").read_bytes() == CONTENT
