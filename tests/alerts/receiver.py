"""A real HTTP server that receives webhooks, well or badly, as the path asks."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    port: int = 0  # of the client: tells connections apart
    at: float = field(default_factory=time.time)


class Receiver(ThreadingHTTPServer):
    """Keeps what it received in ``requests``. ``behaviour`` answers; by default what the path says."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Received] = []
        self.stopping = threading.Event()
        self.statuses: list[int] = []  # given out one by one, then the path decides
        self.behaviours: dict[str, Callable[[_Handler], None]] = {}
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def url(self, path: str = "/ok") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"  # connections are kept alive

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        headers = {k.lower(): v for k, v in self.headers.items()}
        received = Received(self.path, headers, self.rfile.read(length), self.client_address[1])
        self.server.requests.append(received)
        if self.server.statuses:
            self.answer(self.server.statuses.pop(0))
        elif self.path in self.server.behaviours:
            self.server.behaviours[self.path](self)
        else:
            getattr(self, self.path.strip("/").split("/")[0].replace("-", "_"))()

    def do_GET(self) -> None:
        self.server.requests.append(Received(self.path, dict(self.headers.items()), b""))
        self.answer(200)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def answer(self, status: int, body: bytes = b"thanks", **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def ok(self) -> None:
        self.answer(200)

    def status(self) -> None:
        self.answer(int(self.path.rsplit("/", 1)[1]), b"why: because")

    def redirect(self) -> None:
        self.answer(302, b"", location=self.server.url("/redirected"))

    def big(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(10_000_000))
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(b"x" * 10_000)

    def hang(self) -> None:
        self.server.stopping.wait(30)

    def drip_headers(self) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 1000:
            self.wfile.write(bytes([byte]))
            if self.server.stopping.wait(0.1):
                return

    def drip_body(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "5000")
        self.end_headers()
        for _ in range(5000):
            self.wfile.write(b"y")
            if self.server.stopping.wait(0.1):
                return

    def cut(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "5000")
        self.end_headers()
        self.wfile.write(b"only this")
        self.close_connection = True

    def cut_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 20")
        self.close_connection = True

    def nothing(self) -> None:
        self.close_connection = True

    def garbage(self) -> None:
        self.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
        self.close_connection = True


@contextlib.contextmanager
def running() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.stopping.set()
        receiver.shutdown()
        receiver.server_close()
