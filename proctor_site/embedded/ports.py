"""Choose ports on the loopback interface, and tell whether one is free."""

from __future__ import annotations

import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Return whether a server could listen on ``host:port`` now, and none answers there on the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        if client.connect_ex((LOOPBACK, port)) == 0:  # some systems would let us bind beside a server on all addresses
            return False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is not "taken"
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def remembered_port(path: Path) -> int:
    """Return the port noted in ``path`` if it is still free, otherwise a free one, noted there for the next time."""
    noted = path.read_text().strip() if path.exists() else ""
    if noted.isdigit() and port_is_free(int(noted)):
        return int(noted)
    port = free_port()
    path.write_text(f"{port}\n")
    return port
