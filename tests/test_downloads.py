"""Downloads from a server of our own: whole and checked, or nothing."""

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from refusals import refusal

from everanimate_core import downloads
from everanimate_core.downloads import Download, cache_folder, fetch

CONTENT = bytes(range(256)) * 1000


class Handler(BaseHTTPRequestHandler):
    """/whole.whl: CONTENT. /cut.whl: a part of it, and the connection ends. /endless.whl: without an end. /other.whl:
    as long, something else. /gone.whl: 404."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        name = self.path.strip("/").removesuffix(".whl")
        if name == "gone":
            return self.send_error(404)
        self.send_response(200)
        if name == "endless":
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            try:
                while True:
                    self.wfile.write(CONTENT)
            except OSError:
                return None
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if name == "cut":
            self.wfile.write(CONTENT[:100_000])
            self.close_connection = True
        else:
            self.wfile.write(CONTENT if name == "whole" else CONTENT[::-1])

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


@pytest.fixture
def file(server):
    """file(name) -> the download of CONTENT from a path of the server."""
    return lambda name: Download(
        f"http://127.0.0.1:{server.server_port}/{name}.whl", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT)
    )


def test_a_file_that_arrives_whole(file, server, tmp_path):
    said, whole = [], file("whole")
    path = fetch(whole, tmp_path / "new" / "folder", said.append)
    assert path == tmp_path / "new" / "folder" / "whole.whl"
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    # Its size comes first, and then how far it is.
    assert said[0] == f"Fetching {whole.url} (0 MB)"
    assert 2 <= len(said) <= 11
    assert said[-1] == "0.3 of 0.3 MB"

    # It is not fetched again, unless it is another one.
    before, said = len(server.asked), []
    assert fetch(whole, path.parent, said.append) == path
    assert said == [f"{path} is there already"] and len(server.asked) == before
    path.write_bytes(CONTENT[:-1])
    fetch(whole, path.parent, said.append)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["cut", "endless", "other", "gone"])
@pytest.mark.parametrize("older", [b"an older file", None])
def test_a_file_that_does_not(file, tmp_path, name, older):
    path = tmp_path / f"{name}.whl"
    if older is not None:
        path.write_bytes(older)
    message = refusal(fetch, file(name), tmp_path, lambda line: None, kind=OSError)
    if name == "gone":
        assert (
            message == f"PyPI must be reachable (or fetch {file(name).url} elsewhere); got HTTP Error 404: Not Found."
        )
    elif name == "other":
        assert message.endswith(f"; got sha256 {hashlib.sha256(CONTENT[::-1]).hexdigest()}.")
    else:
        assert f"{name}.whl must arrive as PyPI has it (256000 bytes, sha256 " in message or "IncompleteRead" in message
    assert [(one, one.read_bytes()) for one in tmp_path.iterdir()] == ([] if older is None else [(path, older)])


def test_a_server_that_falls_silent_or_is_not_there(file, tmp_path, monkeypatch):
    with pytest.raises(OSError, match=r"^PyPI must be reachable .*refused"):
        fetch(replace(file("whole"), url="http://127.0.0.1:9/whole.whl"), tmp_path, lambda line: None)
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as silent:  # it is never told to serve
        url = f"http://127.0.0.1:{silent.server_port}/whole.whl"
        with pytest.raises(OSError, match=r"^PyPI must be reachable .*timed out"):
            fetch(replace(file("whole"), url=url), tmp_path, lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(file, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"^(?!PyPI)"):
        fetch(file("whole"), tmp_path / "file" / "folder", lambda line: None)


def test_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "everanimate"
    unset = Path.home() / ".cache" / "everanimate"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == unset
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == unset
