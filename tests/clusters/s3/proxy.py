"""A proxy in front of an S3 gateway that does what networks and stores do on bad days.

It speaks plain HTTP/1.1 and changes nothing of what it passes on, so signatures stay valid.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Literal
from urllib.parse import unquote

Action = Literal["answer", "answer after", "close", "lose", "cut", "late", "slow", "silent"]

ALWAYS = 1_000_000
LATE_SECONDS = 2.0
SLOW_SECONDS = 1.5
# The client gives up an answer after 30 s (`object_stores`).
SILENT_SECONDS = 45.0


@dataclass(frozen=True)
class StoreFault:
    """What happens to requests.

    Attributes:
        action: `answer` refuses with `status`; `answer after` does so when the store has done what was asked; `close`
            closes the connection; `lose` does so when the store has done what was asked; `cut` sends half of the
            answer; `late` closes the connection and passes the request on `LATE_SECONDS` later; `slow` waits first;
            `silent` passes it on and answers after `SILENT_SECONDS`.
        target: Regular expression for `METHOD key` or `METHOD key?query`.
        share: Part of these requests that it happens to.
        times: How often at most.
        status: HTTP status.
        code: S3's own code of the error.
    """

    action: Action
    target: str
    share: float = 1.0
    times: int = ALWAYS
    status: int = 503
    code: str = "SlowDown"


@dataclass(frozen=True)
class _Answer:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


class Proxy(ThreadingHTTPServer):
    """A proxy; `faults` are what happens from now on.

    Args:
        upstream: Port of the gateway on this machine.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self._lock = threading.Lock()
        self.set_faults((), Random(0))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def set_faults(self, faults: Sequence[StoreFault], random: Random) -> None:
        with self._lock:
            self._faults = tuple(faults)
            self._struck: Counter[StoreFault] = Counter()
            self._random = random

    @property
    def strikes(self) -> int:
        """How often a fault of now has struck."""
        return self._struck.total()

    def choose(self, request: str) -> StoreFault | None:
        """Return what happens to a request."""
        with self._lock:
            for fault in self._faults:
                left = fault.times - self._struck[fault]
                if left and re.search(fault.target, request) and self._random.random() < fault.share:
                    self._struck[fault] += 1
                    return fault
        return None

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that the other side has closed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._upstream: HTTPConnection | None = None

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        shown = f"{self.command} {unquote(path)}{'?' if query else ''}{unquote(query)}"
        fault = self.server.choose(shown)
        action = fault.action if fault else ""
        if action == "slow":
            time.sleep(SLOW_SECONDS)
        if action == "close":
            return self._close()
        if action == "late":
            again = (self.command, self.path, body, dict(self.headers))
            threading.Timer(LATE_SECONDS, self._pass_on_late, again).start()
            return self._close()
        if fault and action == "answer":
            return self._send(refusal(fault))
        try:
            answer = self._ask(body)
        except (OSError, HTTPException):
            self._upstream = None
            return self._close()
        if action == "lose":
            return self._close()
        if action == "silent":
            time.sleep(SILENT_SECONDS)
        if fault and action == "answer after":
            answer = refusal(fault)
        return self._send(answer, half=action == "cut")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815

    def _ask(self, body: bytes) -> _Answer:
        fresh = self._upstream is None
        if self._upstream is None:
            self._upstream = HTTPConnection("127.0.0.1", self.server.upstream, timeout=120)
        try:
            self._upstream.request(self.command, self.path, body, dict(self.headers))
            found = self._upstream.getresponse()
        except (OSError, HTTPException):
            # The gateway closes connections that were idle, and all of them when it ends.
            self._upstream.close()
            self._upstream = None
            if fresh:
                raise
            return self._ask(body)
        return _Answer(found.status, found.reason, found.getheaders(), found.read())

    def _pass_on_late(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
        connection = HTTPConnection("127.0.0.1", self.server.upstream, timeout=120)
        with suppress(OSError, HTTPException):
            connection.request(method, path, body, headers)
            connection.getresponse().read()
        connection.close()

    def _send(self, answer: _Answer, half: bool = False) -> None:
        self.send_response_only(answer.status, answer.reason)
        length = len(answer.body)
        for name, value in answer.headers:
            if name.lower() == "content-length":
                length = int(value)
            elif name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if half else answer.body)
        if half:
            self._close()

    def _close(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


def refusal(fault: StoreFault) -> _Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{fault.code}</Code></Error>'.encode()
    return _Answer(fault.status, fault.code, [("Content-Type", "application/xml")], body)


@contextmanager
def open_proxy(upstream: int) -> Iterator[Proxy]:
    with Proxy(upstream) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
