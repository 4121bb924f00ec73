"""HTTP through ``requests`` whose connections go to checked addresses only, and whose exchanges end at a deadline.

urllib3 opens its sockets in ``_new_conn``; that is where the name is resolved, checked and connected, so the TLS layer
above still sees the host's name. Connections are kept alive: one that is used again goes to the address that was
checked when it was made. At an exchange's deadline the socket is shut down, whatever trickles in.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
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
KEPT_HOSTS = 64
KEPT_CONNECTIONS = 32
"""Connections kept alive per host, of the ``KEPT_HOSTS`` that were used last."""


class Exchange:
    """One request and its answer, until a deadline: then its socket is shut down, whatever it is waiting for.

    It keeps a duplicate of the socket, which neither TLS wrapping nor urllib3's closing can take away from it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.is_over = False
        """Whether the deadline has passed."""
        self.is_reused = False
        """Whether the connection had been used before."""

    def watch(self, opened: socket.socket, *, reused: bool) -> None:
        """Take a socket into the exchange."""
        with self._lock:
            self.is_reused = reused
            self._sockets.append(opened.dup())
        if self.is_over:
            self.end()

    def end(self) -> None:
        """Break the exchange off."""
        with self._lock:
            self.is_over = True
            for opened in self._sockets:
                with contextlib.suppress(OSError):  # closed by the other side meanwhile
                    opened.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            for opened in self._sockets:
                opened.close()
            self._sockets.clear()


class Deadlines:
    """Ends exchanges when their time is over: one thread for all of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, Exchange]] = []
        self._numbers = itertools.count()
        self._under_way: set[int] = set()
        threading.Thread(target=self._run, name="deadlines", daemon=True).start()

    @contextlib.contextmanager
    def exchange(self, timeout_s: float) -> Iterator[Exchange]:
        """Yield an exchange that is ended after ``timeout_s``."""
        made = Exchange()
        with self._changed:
            number = next(self._numbers)
            first = not self._waiting or self._waiting[0][0] > time.monotonic() + timeout_s
            heapq.heappush(self._waiting, (time.monotonic() + timeout_s, number, made))
            self._under_way.add(number)
            if first:
                self._changed.notify()
        try:
            yield made
        finally:
            with self._changed:
                self._under_way.discard(number)
            made.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                at, number, exchange = self._waiting[0]
                if number in self._under_way and (left_s := at - time.monotonic()) > 0:
                    self._changed.wait(left_s)
                    continue
                heapq.heappop(self._waiting)
                if number not in self._under_way:
                    continue
            exchange.end()


_current = threading.local()
"""``exchange``: that of this thread. urllib3 hands connections from one exchange to the next without telling them."""


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
    """Gives urllib3's connections the checked connect and the deadline of the exchange they are used in."""

    _plain: socket.socket | None = None  # below TLS, which knows no dup()
    _used = False

    def _new_conn(self) -> socket.socket:
        made = _connect(self)  # type: ignore[arg-type]  # mixed into HTTPConnection
        _current.exchange.watch(made, reused=False)
        self._forget()
        self._plain = made.dup()
        return made

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self._used and self._plain is not None:
            _current.exchange.watch(self._plain, reused=True)
        super().request(*args, **kwargs)  # type: ignore[misc]  # may connect first
        self._used = True

    def close(self) -> None:
        self._forget()
        super().close()  # type: ignore[misc]

    def _forget(self) -> None:
        self._used = False
        if self._plain is not None:
            self._plain.close()
            self._plain = None


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

    def __init__(self) -> None:
        super().__init__(pool_connections=KEPT_HOSTS, pool_maxsize=KEPT_CONNECTIONS)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}


# One of each per process: a forked child shares neither threads nor connections with its parent.
@functools.cache
def _deadlines() -> Deadlines:
    return Deadlines()


@functools.cache
def _session() -> requests.Session:
    """Make the session: it ignores the environment's proxies and passwords, and keeps no cookies."""
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.mount("http://", GuardedAdapter())
    session.mount("https://", GuardedAdapter())
    return session


os.register_at_fork(after_in_child=_deadlines.cache_clear)
os.register_at_fork(after_in_child=_session.cache_clear)


@contextlib.contextmanager
def exchange() -> Iterator[tuple[requests.Session, Exchange]]:
    """Yield the session for one exchange of ``TOTAL_TIMEOUT_S`` in this thread."""
    with _deadlines().exchange(TOTAL_TIMEOUT_S) as made:
        _current.exchange = made
        try:
            yield _session(), made
        finally:
            del _current.exchange
