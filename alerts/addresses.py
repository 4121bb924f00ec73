"""Which network addresses alerts may be sent to: public ones, and those of ``WEBHOOK_ALLOWED_NETWORKS``.

A name is resolved, every address it resolves to is checked, and the connection is made to a checked address: a name
that answers differently the second time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import threading
from collections.abc import Sequence
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_IPV6_ASSIGNED = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given out for global unicast; the rest is special or reserved."""
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("192.88.99.0/24", "2001:db8::/32", "3fff::/20")))
"""The withdrawn 6to4 relays, and documentation: not every Python knows them as not global."""
_CLOUD_METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})
"""Answers only inside a cloud although the address is public (Azure's). The others are link-local or private."""
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
"""A part of a host name. Underscores stand in names of containers, though not in those of the public DNS."""
_NAME_LENGTH = 253


class AddressRefusedError(Exception):
    """An address alerts are not delivered to."""


class TransportUnavailableError(AddressRefusedError):
    """An address of a kind that this deployment does not deliver to at all."""


class NameUnresolvedError(OSError):
    """A host name that could not be resolved."""


@lru_cache(maxsize=8)
def _parse_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text.strip()) for text in texts if text.strip())
    except ValueError as error:
        raise ImproperlyConfigured(f"WEBHOOK_ALLOWED_NETWORKS: {error}") from None


def allowed_networks() -> tuple[Network, ...]:
    """Return the networks of ``WEBHOOK_ALLOWED_NETWORKS``; raise ``ImproperlyConfigured`` for what is none."""
    return _parse_networks(tuple(settings.WEBHOOK_ALLOWED_NETWORKS))


def effective(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one carries inside (mapped, 6to4, Teredo, NAT64), or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


def is_allowed(address: Address) -> bool:
    """Tell whether alerts may go to this address."""
    inner = effective(address)
    if any(candidate in network for network in allowed_networks() for candidate in (address, inner)):
        return True
    return inner.is_global and not _is_special(inner)


def _is_special(address: Address) -> bool:
    """Tell whether an address is not for everybody although Python's ``is_global`` may say so."""
    if address.version == 6 and address not in _IPV6_ASSIGNED:  # for example fec0::/10, site-local
        return True
    if address.is_multicast or address.is_reserved or address.is_unspecified or address in _CLOUD_METADATA:
        return True
    return any(address in network for network in _NOT_PUBLIC)


def host_in_ascii(host: str) -> str:
    """Return a host's name as it is looked up, IPv6 without brackets.

    Raises ``AddressRefusedError`` for what can be no name, whoever is asked: one that only does not resolve passes.
    """
    if _literal(host) is not None:
        return host.strip("[]")
    try:
        name = host.encode("idna").decode()
    except UnicodeError:  # a label too long or empty, or characters that no name has
        name = ""
    labels = name.removesuffix(".").split(".")
    numbers = labels[-1].isdigit() and not _is_number(name)
    if len(name) > _NAME_LENGTH or numbers or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressRefusedError(f"{host[:_NAME_LENGTH]} can be no host's name.")
    return name


def _is_number(name: str) -> bool:
    """Tell whether the system takes a name for an IPv4 address, written in one of the old ways."""
    try:
        socket.inet_aton(name)
    except OSError:
        return False
    return True


def resolve(host: str, port: int, *, timeout_s: float) -> list[str]:
    """Return every address of ``host``, in the resolver's order, all of them allowed.

    Raises ``AddressRefusedError`` when one of them is not allowed, ``NameUnresolvedError`` when there is none in time.
    """
    literal = _literal(host)
    found = [str(literal)] if literal is not None else _look_up(host, port, timeout_s)
    for text in found:
        if not is_allowed(ipaddress.ip_address(text)):
            raise AddressRefusedError(_refusal(host))
    return found


def _refusal(host: str) -> str:
    """Word a refusal without telling what the name resolved to: that would map the inside for an outsider."""
    return f"{host} is, or resolves to, an address that is not public; WEBHOOK_ALLOWED_NETWORKS can allow it."


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").split("%", 1)[0])
    except ValueError:
        return None


def _look_up(host: str, port: int, timeout_s: float) -> list[str]:
    """Ask the system's resolver in a thread of its own: it knows no time limit and must not hold others up."""
    answers: queue.SimpleQueue[Sequence[str] | OSError] = queue.SimpleQueue()
    threading.Thread(target=_ask, args=(host, port, answers), name=f"resolve {host}", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise NameUnresolvedError(f"{host} was not resolved within {timeout_s:g} s") from None
    if isinstance(answer, OSError):
        raise NameUnresolvedError(f"{host} cannot be resolved: {answer}") from None
    return list(dict.fromkeys(answer))


def _ask(host: str, port: int, answers: queue.SimpleQueue[Sequence[str] | OSError]) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        answers.put([str(entry[4][0]).split("%", 1)[0] for entry in found])
    except (OSError, UnicodeError) as error:  # UnicodeError: a label too long or empty for IDNA
        answers.put(error if isinstance(error, OSError) else OSError(str(error)))
