"""HTTP through ``requests`` whose connections go to checked addresses only and end at a deadline.

urllib3 opens its sockets in ``_new_conn``; that is where the name is resolved, checked and connected, so the TLS layer
above still sees the host's name. At the exchange's deadline its sockets are shut down, whatever trickles in.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.poolmanager import PoolManager

from alerts import addresses

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 10.0
"""Longest silence."""
TOTAL_TIMEOUT_S = 15.0
"""From the start of connecting to the end of the answer."""


class Exchange:
    """One request and its answer, until a deadline: then its sockets are shut down, whatever they are waiting for.

    It keeps duplicates of the sockets, which neither TLS wrapping nor urllib3's closing can take away from it.
    """

    def __init__(self, timeout_s: float) -> None:
        self._sockets: list[socket.socket] = []
        self._over = threading.Event()
        self._timer = threading.Timer(timeout_s, self._end)
        self._timer.daemon = True
        self._timer.start()

    @property
    def is_over(self) -> bool:
        """Tell whether the deadline has passed."""
        return self._over.is_set()

    def watch(self, opened: socket.socket) -> None:
        """Take a socket into the exchange."""
        self._sockets.append(opened.dup())
        if self._over.is_set():
            self._end()

    def _end(self) -> None:
        self._over.set()
        for opened in self._sockets:
            with contextlib.suppress(OSError):  # closed by the other side meanwhile
                opened.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of everything."""
        self._timer.cancel()
        self._timer.join()
        for opened in self._sockets:
            opened.close()


def _connect(connection: HTTPConnection) -> socket.socket:
    """Connect to the first checked address that answers; raise urllib3's own error when none does."""
    host, port = connection._dns_host, int(connection.port or 0)  # the host as the TLS layer knows it, without brackets
    last: OSError | None = None
    for address in addresses.resolve(host, port, timeout_s=CONNECT_TIMEOUT_S):
        try:
            return _connect_to(address, port)
        except OSError as error:
            last = error
    raise NewConnectionError(connection, f"cannot connect to {host}:{port}: {last}")


def _connect_to(address: str, port: int) -> socket.socket:
    """Connect to a numeric address; nothing is looked up again on the way."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.settimeout(CONNECT_TIMEOUT_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.connect((address, port))
    except OSError:
        made.close()
        raise
    return made


class _Guarded:
    """Gives urllib3's connections the checked connect and the exchange's deadline."""

    def __init__(self, *args: Any, exchange: Exchange, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._exchange = exchange

    def _new_conn(self) -> socket.socket:
        made = _connect(self)  # type: ignore[arg-type]  # mixed into HTTPConnection
        self._exchange.watch(made)
        return made


class _GuardedHTTP(_Guarded, HTTPConnection):
    pass


class _GuardedHTTPS(_Guarded, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _GuardedHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedHTTPS


class GuardedAdapter(HTTPAdapter):
    """A ``requests`` adapter whose pools make guarded connections; it never retries and knows no proxies."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool: HTTPConnectionPool = super().get_connection_with_tls_context(*args, **kwargs)  # type: ignore[assignment]
        pool.conn_kw["exchange"] = self._exchange
        return pool


@contextlib.contextmanager
def guarded_session() -> Iterator[tuple[requests.Session, Exchange]]:
    """Yield a session for one exchange of ``TOTAL_TIMEOUT_S``; it ignores the environment's proxies and passwords."""
    exchange = Exchange(TOTAL_TIMEOUT_S)
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", GuardedAdapter(exchange))
            session.mount("https://", GuardedAdapter(exchange))
            yield session, exchange
    finally:
        exchange.close()
