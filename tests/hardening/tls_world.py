"""PostgreSQL and Redis behind TLS: the servers of the tests speak none themselves."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.alerts.certificates import Signed
from tests.alerts.tls_front import join

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""What a PostgreSQL client sends first (protocol 3, SSLRequest); ``S`` invites it to TLS."""


class _Front(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, signed: Signed, *, behind: tuple[str, int], postgres: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(signed.certificate, signed.key)
        self.behind, self.postgres = behind, postgres


class _Connection(socketserver.BaseRequestHandler):
    server: _Front

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            if self.server.postgres:
                if self.request.recv(8, socket.MSG_WAITALL) != _SSL_REQUEST:
                    return  # who does not ask for TLS is not served
                self.request.sendall(b"S")
            with (
                self.server.context.wrap_socket(self.request, server_side=True) as outer,
                socket.create_connection(self.server.behind) as inner,
            ):
                join(outer, inner)


@contextmanager
def tls_before(signed: Signed, *, host: str, port: int, postgres: bool = False) -> Iterator[_Front]:
    """Accept TLS on a port of the front's choice and pass on to ``host`` and ``port``."""
    with _Front(signed, behind=(host, port), postgres=postgres) as front:
        thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield front
        front.shutdown()
        thread.join()
