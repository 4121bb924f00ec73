"""gRPC channels to other people's servers, which lead to checked addresses only.

The name is resolved and checked here, and gRPC is given numbers to connect to: it looks nothing up and asks no proxy,
so a name that answers differently the second time gains nothing. Certificates are still checked for the name.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import grpc
from django.conf import settings

from alerts import addresses

CONNECT_TIMEOUT_S: Final = 5.0
KEPT: Final = 64
"""Channels that are kept open."""
REPLY_BYTES: Final = 64 * 1024
FORM: Final = "The address must be grpc://host:port or grpcs://host:port"
_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),  # the delivery's schedule repeats, and counts
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.use_local_subchannel_pool", 1),  # a connection is never shared with a channel for another name
    ("grpc.max_receive_message_length", REPLY_BYTES),
)


@dataclass(frozen=True, slots=True)
class Place:
    """What an address names. ``host`` is in ASCII, an IPv6 address without brackets."""

    host: str
    port: int
    secure: bool

    @property
    def authority(self) -> str:
        """Return how a client names the server it wants."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(address: str) -> Place:
    """Return what an address names; raise ``AddressRefusedError`` unless it is ``grpc(s)://host:port``."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise addresses.AddressRefusedError(f"{FORM}.") from None
    if parts.scheme not in ("grpc", "grpcs") or not host or not port or not address.isprintable() or " " in address:
        raise addresses.AddressRefusedError(f"{FORM}.")
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise addresses.AddressRefusedError(f"{FORM}, without path, user name or password.")
    return Place(addresses.host_in_ascii(host), port, parts.scheme == "grpcs")


def resolve(place: Place) -> list[str]:
    """Return the numeric addresses; raise as ``addresses.resolve`` does."""
    return addresses.resolve(place.host, place.port, timeout_s=CONNECT_TIMEOUT_S)


class Channels:
    """Channels by place, each used again for as long as the name resolves to the same addresses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[Place, tuple[str, ...]], grpc.Channel] = OrderedDict()

    def get(self, place: Place) -> grpc.Channel:
        """Return a channel, connected or not.

        Raises ``AddressRefusedError``, ``NameUnresolvedError``, or ``OSError`` for a file of the settings.
        """
        key = place, tuple(sorted(found := resolve(place)))
        with self._lock:
            if (channel := self._open.get(key)) is not None:
                self._open.move_to_end(key)
                return channel
        made = _connect(place, found)
        with self._lock:
            # Channels that are let go are not closed: another thread's call may be under way. They end with the last.
            self._open[key] = made
            while len(self._open) > KEPT:
                self._open.popitem(last=False)
        return made

    def forget(self, place: Place) -> None:
        """Let the channels of a place go: they would wait longer and longer before they connect again."""
        with self._lock:
            for key in [key for key in self._open if key[0] == place]:
                del self._open[key]

    def clear(self) -> None:
        """Let all go, as a forked child must."""
        self._lock = threading.Lock()
        self._open.clear()


def _connect(place: Place, found: list[str]) -> grpc.Channel:
    """Open a channel to the addresses of the first family that connects; the last one's failure is the call's."""
    *others, last = _by_family(found)
    for family in others:
        channel = _channel(place, family)
        try:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_TIMEOUT_S)
        except grpc.FutureTimeoutError:
            channel.close()
        else:
            return channel
    return _channel(place, last)


def _by_family(found: list[str]) -> list[list[str]]:
    """Group addresses, the family of the resolver's first answer first: one target of gRPC's takes one family."""
    families = dict.fromkeys(map(_family, found))
    return [[address for address in found if _family(address) == family] for family in families]


def _family(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"


def _channel(place: Place, family: list[str]) -> grpc.Channel:
    written = (f"[{address}]:{place.port}" if ":" in address else f"{address}:{place.port}" for address in family)
    target = f"{_family(family[0])}:{','.join(written)}"
    options = [*_OPTIONS, ("grpc.default_authority", place.authority)]
    if not place.secure:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, _credentials(), [*options, ("grpc.ssl_target_name_override", place.host)])


def _credentials() -> grpc.ChannelCredentials:
    """Return whom to trust and who we are, as the settings say; without them: public authorities, and nobody."""
    return grpc.ssl_channel_credentials(
        _content(settings.GRPC_PUSH_CA), _content(settings.GRPC_PUSH_KEY), _content(settings.GRPC_PUSH_CERTIFICATE)
    )


def _content(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None


CHANNELS: Final = Channels()
os.register_at_fork(after_in_child=CHANNELS.clear)
