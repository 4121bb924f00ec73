"""Who may read ``/metrics``, wherever it is served: the addresses of ``METRICS_ALLOWED_NETWORKS``."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REFUSAL = "Metrics are not for this address.\n"
PRIVATE = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
"""The default."""


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks written so; raise ``ValueError`` naming what is none."""
    return tuple(ipaddress.ip_network(text.strip()) for text in texts if text.strip())


def is_allowed(peer: str, forwarded_for: str, allowed: Sequence[Network]) -> bool:
    """Tell whether every known sender may see them: a proxy on an allowed address must not lend it to the world.

    ``peer`` is the address of the connection, ``forwarded_for`` the header ``X-Forwarded-For`` or nothing.
    """
    senders = [peer, *(part for part in forwarded_for.split(",") if part.strip())]
    return all(_is_inside(sender.strip(), allowed) for sender in senders)


def _is_inside(sender: str, allowed: Sequence[Network]) -> bool:
    try:
        address = ipaddress.ip_address(sender)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in allowed)
