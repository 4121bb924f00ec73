"""HTTP through ``requests`` whose connections go to checked addresses only and end at a deadline.

urllib3 opens its sockets in ``_new_conn``; that is where the name is resolved, checked and connected, so the TLS layer
above still sees the host's name. Every socket gets a watchman: at the deadline it is shut down, whatever trickles in.
"""

from __future__ import annotations

import socket
import threading
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


class Watchman:
    """Shuts a socket down at a deadline. It watches a duplicate, which TLS wrapping cannot take away from it."""

    def __init__(self, watched: socket.socket, timeout_s: float) -> None:
        self._socket = watched.dup()
        self._timer = threading.Timer(timeout_s, self._shut_down)
        self._timer.daemon = True
        self._timer.start()

    def _shut_down(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # closed by the other side meanwhile

    def dismiss(self) -> None:
        """Stop watching and let go of the socket."""
        self._timer.cancel()
        self._timer.join()
        self._socket.close()


def _connect(connection: HTTPConnection) -> socket.socket:
    """Connect to the first checked address that answers; raise urllib3's own error when none does."""
    host, port = connection._dns_host, int(connection.port or 0)  # the host as the TLS layer knows it, without brackets
    last: OSError | None = None
    for address in addresses.resolve(host, port, timeout_s=CONNECT_TIMEOUT_S):
        try:
            made = socket.create_connection((address, port), timeout=CONNECT_TIMEOUT_S)
        except OSError as error:
            last = error
            continue
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    raise NewConnectionError(connection, f"cannot connect to {host}:{port}: {last}")


class _Guarded:
    """Adds the checked connect and the watchman to urllib3's connections."""

    _watchman: Watchman | None = None

    def _new_conn(self) -> socket.socket:
        made = _connect(self)  # type: ignore[arg-type]  # mixed into HTTPConnection
        self._watchman = Watchman(made, TOTAL_TIMEOUT_S)
        return made

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        if self._watchman is not None:
            self._watchman.dismiss()
            self._watchman = None


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

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}


def guarded_session() -> requests.Session:
    """Return a session that ignores proxies and credentials of the environment. Close it after use."""
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", GuardedAdapter())
    session.mount("https://", GuardedAdapter())
    return session
