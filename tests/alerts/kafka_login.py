"""A login before a Kafka broker that keeps no users: SASL/PLAIN as brokers speak it, and then the broker itself.

Of Kafka's protocol it knows what comes before the login: it answers ``SaslHandshake`` and ``SaslAuthenticate``, passes
``ApiVersions`` on to the broker, and hangs up at anything else from somebody who has not logged in.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.alerts.tls_front import join

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
UNSUPPORTED_SASL_MECHANISM, SASL_AUTHENTICATION_FAILED = 33, 58


class Front(socketserver.ThreadingTCPServer):
    """Lets one user through. ``logins`` are the names that got in, one for each connection."""

    daemon_threads = True

    def __init__(self, port: int, *, behind: int, user: str, password: str) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.behind = behind
        self.known = (user, password)
        self.logins: list[str] = []
        self.refused = 0


class _Connection(socketserver.BaseRequestHandler):
    server: Front

    def handle(self) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.server.behind)) as broker:
            if self._log_in(broker):
                join(self.request, broker)

    def _log_in(self, broker: socket.socket) -> bool:
        while (request := _read(self.request)) is not None:
            key, version, number = struct.unpack_from(">hhi", request)
            content = request[10 + max(0, struct.unpack_from(">h", request, 8)[0]) :]  # behind the client's name
            if key == API_VERSIONS:
                _write(broker, request)
                _write(self.request, _read(broker) or b"")
            elif key == SASL_HANDSHAKE:
                offered = content[2:]
                error = 0 if offered == b"PLAIN" else UNSUPPORTED_SASL_MECHANISM
                self._answer(number, struct.pack(">hi", error, 1) + _string("PLAIN"))
            elif key == SASL_AUTHENTICATE:
                return self._authenticate(number, version, content[4:])
            else:
                return False
        return False

    def _authenticate(self, number: int, version: int, said: bytes) -> bool:
        _, user, password = said.decode().split("\0")
        welcome = (user, password) == self.server.known
        if welcome:
            self.server.logins.append(user)
        else:
            self.server.refused += 1
        code = struct.pack(">h", 0 if welcome else SASL_AUTHENTICATION_FAILED)
        reason = struct.pack(">h", -1) if welcome else _string("Authentication failed: Invalid username or password")
        lifetime = struct.pack(">q", 0) if version else b""
        self._answer(number, code + reason + struct.pack(">i", 0) + lifetime)
        return welcome

    def _answer(self, number: int, content: bytes) -> None:
        _write(self.request, struct.pack(">i", number) + content)


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _read(connection: socket.socket) -> bytes | None:
    """Return one request or answer; None at the end."""
    with connection.makefile("rb", buffering=0) as stream:
        size = _exactly(stream, 4)
        return _exactly(stream, struct.unpack(">i", size)[0]) if size else None


def _exactly(stream: socket.SocketIO, count: int) -> bytes:
    """Return so many bytes; none when the connection ends before."""
    found = b""
    while len(found) < count:
        more = stream.read(count - len(found))
        if not more:
            return b""
        found += more
    return found


def _write(connection: socket.socket, message: bytes) -> None:
    connection.sendall(struct.pack(">i", len(message)) + message)


@contextmanager
def listening(port: int, *, behind: int, user: str, password: str) -> Iterator[Front]:
    """Ask for a login on a port, and pass on to the broker on another."""
    with Front(port, behind=behind, user=user, password=password) as front:
        thread = threading.Thread(target=front.serve_forever, daemon=True)
        thread.start()
        yield front
        front.shutdown()
        thread.join()
