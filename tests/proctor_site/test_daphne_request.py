"""Oversized bodies in a real daphne process: what is refused is kept nowhere."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from django.conf import settings

from tests.alerts.test_daphne import running_daphne

pytestmark = pytest.mark.django_db(transaction=True)
MEGABYTE = 1 << 20


@pytest.fixture
def daphne(transactional_db: None, tmp_path: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A web process; yields its port and the process."""
    with running_daphne(tmp_path) as (url, process):
        port = urlsplit(url).port
        assert port is not None
        yield port, process


class Sender:
    """Sends a body piece by piece and looks at what the server holds of it."""

    def __init__(self, port: int, path: str, *headers: str) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers, "", ""]
        self._connection.sendall("\r\n".join(lines).encode())

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def send_chunk(self, data: bytes) -> None:
        self._connection.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def answer(self) -> tuple[int, str]:
        """Return the status and the problem's code."""
        received = b""
        while b"}" not in received:
            more = self._connection.recv(65536)
            assert more, received
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["code"]

    def close(self) -> None:
        self._connection.close()


def held_bytes(process: psutil.Process) -> int:
    """Return the memory of the process and its temporary files, which have no name."""
    files = 0
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        target = link.readlink() if link.is_symlink() else Path()
        if "(deleted)" in str(target) or "/tmp" in str(target):
            files += link.stat().st_size
    return int(process.memory_info().rss) + files


BEARER = "Authorization: Bearer sdp_nobody_0"


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/api/v1/enroll", (), (401, "not_authenticated")),
        ("/api/v1/session/start", (BEARER,), (413, "request_too_large")),
        ("/admin/login/", (), (413, "request_too_large")),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_an_oversized_body_is_refused_and_kept_nowhere(
    daphne: tuple[int, psutil.Process], path: str, headers: tuple[str, ...], expected: tuple[int, str], chunked: bool
) -> None:
    port, process = daphne
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {40 * MEGABYTE}"
    sender = Sender(port, path, length, *headers)
    send = sender.send_chunk if chunked else sender.send
    send(bytes(MEGABYTE))
    before = held_bytes(process)
    for _ in range(39):
        send(bytes(MEGABYTE))
    assert held_bytes(process) - before < 8 * MEGABYTE
    if chunked:
        sender.send(b"0\r\n\r\n")
    assert sender.answer() == expected
    sender.close()


def test_pictures_with_credentials_reach_the_application(daphne: tuple[int, psutil.Process]) -> None:
    sender = Sender(daphne[0], "/api/v1/enroll?x=1", f"Content-Length: {3 * MEGABYTE}", BEARER)
    sender.send(bytes(3 * MEGABYTE))
    assert sender.answer() == (401, "key_invalid")
    sender.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_whoever_never_stops_sending_is_cut_off(daphne: tuple[int, psutil.Process], chunked: bool) -> None:
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {10**12}"
    sender = Sender(daphne[0], "/api/v1/enroll", length, BEARER)
    allowed = 2 * settings.BODY_MAX_BYTES // MEGABYTE
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        send_forever(sender.send_chunk if chunked else sender.send, allowed + 50)
    sender.close()


def send_forever(send: Callable[[bytes], None], megabytes: int) -> None:
    for _ in range(megabytes):
        send(bytes(MEGABYTE))
