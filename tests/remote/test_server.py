"""Addresses of servers, and a server that is not there. A real server is asked in tests/host/test_post.py."""

import socket
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from refusals import refusal

from everanimate_core.remote.server import Server


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8188", "http://127.0.0.1:8188"),
        ("http://127.0.0.1:8188/", "http://127.0.0.1:8188"),
        ("https://example.org/comfy/", "https://example.org/comfy"),
        ("http://[::1]:8188", "http://[::1]:8188"),
    ],
)
def test_addresses(url, base):
    assert Server(url).url == base


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8188", "localhost", "ftp://a", "http://", "http://a:b", "http://[::1", "http://a b", "http://a:0", ""],
)
def test_what_is_no_address_is_refused(url):
    rule = "server must be an address that begins with http:// or https:// (http://127.0.0.1:8188)"
    assert refusal(Server, url) == f"{rule}; got {url}."


each_way = pytest.mark.parametrize(
    "ask", [lambda server: server.ask("/queue"), lambda server: server.events().__enter__()], ids=["http", "websocket"]
)


@pytest.fixture
def nobody():
    """The address of a port at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{probe.getsockname()[1]}"


@each_way
def test_a_server_that_is_not_there(nobody, ask):
    message = refusal(ask, Server(nobody), kind=ConnectionError)
    assert message.startswith(f"a ComfyUI must be up at {nobody} (start it, or set --server); got ")
    assert "refused" in message


@pytest.fixture
def files(tmp_path):
    """The address of a server that is up and is no ComfyUI: it has files, none but `history`, which is no JSON."""
    (tmp_path / "history").write_text("<html>")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@each_way
def test_a_server_that_is_no_comfyui(files, ask):
    with pytest.raises(ConnectionError) as caught:
        ask(Server(files))
    assert str(caught.value).startswith(f"a ComfyUI must be up at {files} (start it, or set --server); got ")
    assert "404" in str(caught.value)


def test_an_answer_that_is_no_json(files):
    with pytest.raises(ConnectionError) as caught:
        Server(files).ask("/history")
    message = f"a ComfyUI must be up at {files} (start it, or set --server); got an answer that is no JSON."
    assert str(caught.value) == message
