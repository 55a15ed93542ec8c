"""A ComfyUI that is up: asking it over HTTP, and its events over a websocket."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen
from uuid import uuid4

from ..backends.needs import extra_packages
from ..errors import InputError, one_line

TIMEOUT = 60  # seconds without an answer
_WAKE = 1  # seconds: on Windows, Ctrl+C is seen only between two calls that wait


class Refused(ConnectionError):
    """What the server does not do. text: of its answer."""

    def __init__(self, message: str, text: str):
        self.text = text
        super().__init__(message)


class Server:
    """A ComfyUI at an address such as http://127.0.0.1:8188. Raises InputError for what is no such address.

    All methods raise ConnectionError, with a sentence, when the server is not there, goes away, or is no ComfyUI.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.client_id = uuid4().hex
        try:
            parts = urlsplit(self.url)
            right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number, half an IPv6 address
            right = False
        if not right or not self.url.isprintable() or " " in self.url:
            example = "http://127.0.0.1:8188"
            raise InputError(
                "server", "must be an address that begins with http:// or https://", example, one_line(url)
            )

    def ask(self, path: str, data: Any = None) -> Any:
        """What the server answers, as JSON, or None for an empty answer. data: what is posted, if anything.

        Raises Refused for an answer that says that it does not do what it was asked for.
        """
        body = None if data is None else json.dumps(data).encode()
        request = Request(self.url + path, body, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=TIMEOUT) as answer:
                text = answer.read()
            return json.loads(text) if text else None
        except HTTPError as error:
            text = error.read().decode(errors="replace")
            raise Refused(self._wrong(f"{error.code} {error.reason} from {path}: {text}"), text) from error
        except (OSError, HTTPException) as error:
            raise self._failed(getattr(error, "reason", error)) from error
        except ValueError as error:
            raise self._failed("an answer that is no JSON") from error

    def takes_fractions(self, kind: str, name: str) -> bool:
        """Whether the input `name` of nodes of the class `kind` takes numbers that are not whole."""
        inputs = self.ask(f"/object_info/{quote(kind, safe='')}").get(kind, {}).get("input", {})
        declared = inputs.get("required", {}) | inputs.get("optional", {})
        # The first part is the type, several of them with commas, or the list of what can be chosen.
        return name in declared and "FLOAT" in str(declared[name][0]).split(",")

    @contextmanager
    def events(self) -> Iterator[Iterator[tuple[str, dict]]]:
        """Within the block: (kind, data) of what the server tells this client, as it comes.

        Raises ImportError, which says how to install it, where the package that reads them is not there.
        """
        with extra_packages("running a graph on a server"):
            from websocket import WebSocketException, create_connection
        address = f"ws{self.url.removeprefix('http')}/ws?clientId={self.client_id}"
        try:
            # Without an origin: behind a proxy, the server would take its own name for that of another site.
            socket = create_connection(address, timeout=TIMEOUT, suppress_origin=True)
        except (OSError, WebSocketException) as error:
            raise self._failed(error) from error
        try:
            socket.settimeout(_WAKE)
            yield self._read(socket)
        finally:
            socket.shutdown()

    def _read(self, socket: Any) -> Iterator[tuple[str, dict]]:
        from websocket import ABNF, WebSocketException, WebSocketTimeoutException

        while True:
            try:
                kind, content = socket.recv_data()
            except WebSocketTimeoutException:
                continue
            except (OSError, WebSocketException) as error:
                raise self._gone(error) from error
            if kind == ABNF.OPCODE_CLOSE:
                raise self._gone("a closed connection")
            if kind == ABNF.OPCODE_TEXT:  # pictures of what is being made are binary
                event = json.loads(content)
                yield event["type"], event.get("data") or {}

    def _failed(self, got: object) -> ConnectionError:
        return ConnectionError(self._wrong(got))

    def _wrong(self, got: object) -> str:
        return f"a ComfyUI must be up at {self.url} (start it, or set --server); got {one_line(got, 200)}."

    def _gone(self, got: object) -> ConnectionError:
        return ConnectionError(
            f"the ComfyUI at {self.url} went away while the graph ran (if it is up, its queue and history say how the "
            f"graph ended); got {one_line(got)}."
        )
