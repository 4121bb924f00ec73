"""Take the packets of a receiver out of aiortc before its jitter buffer. The only module that reaches inside aiortc.

aiortc would decode every stream in a thread of its own behind unbounded queues, hold sound back for four packets, and
stop for up to 512 packets where a lost one is not sent again. A proctor needs two pictures a second, sound by the
second, true arrival times and bounded memory, so packets are assembled, decoded and dropped by the gateway's own rules.
aiortc keeps everything before that: ICE, DTLS, SRTP, RTCP reports, NACK, RTX, REMB, and it sends the PLI we ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, cast

import aioice.ice
from aioice.stun import TransactionError
from aiortc import RTCPeerConnection
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtp import RtpPacket

_JITTER_BUFFER = "_RTCRtpReceiver__jitter_buffer"


class PacketTap(Protocol):
    """What takes the place of aiortc's jitter buffer."""

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take in a packet; return whether to ask the sender for a key frame, and no frame to decode."""


def divert(receiver: RTCRtpReceiver, tap: PacketTap) -> None:
    """Give every media packet of ``receiver`` to ``tap``; aiortc will decode none of them."""
    if not hasattr(receiver, _JITTER_BUFFER):
        raise RuntimeError("This version of aiortc keeps its jitter buffer elsewhere; see media_gateway/tap.py.")
    setattr(receiver, _JITTER_BUFFER, tap)


def payload_of(packet: RtpPacket) -> bytes:
    """Return the packet's payload without the codec's RTP header, as aiortc has parsed it."""
    return cast(bytes, packet._data)  # type: ignore[attr-defined]


def limit_addresses(addresses: Sequence[str]) -> None:
    """Make ICE of this process use only these local addresses.

    aioice takes every address but loopback, with one socket for each and peer. Without ``addresses`` this stays so, but
    a machine that has nothing else uses loopback.
    """
    original = _every_address

    def host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return list(addresses) or original(use_ipv4, use_ipv6) or ["127.0.0.1"]

    aioice.ice.get_host_addresses = host_addresses


_every_address = aioice.ice.get_host_addresses


async def is_reachable(connection: RTCPeerConnection, *, timeout_s: float) -> bool:
    """Ask the other side by a STUN binding request whether it is still there (RFC 7675's consent check, at once)."""
    checks = [_consent(ice) for ice in _ice_connections(connection)]
    try:
        async with asyncio.timeout(timeout_s):
            return all(await asyncio.gather(*checks))
    except TimeoutError:
        return False


def _ice_connections(connection: RTCPeerConnection) -> set[aioice.ice.Connection]:
    return {receiver.transport.transport._connection for receiver in connection.getReceivers()}


async def _consent(ice: aioice.ice.Connection) -> bool:
    pairs = list(ice._nominated.values())
    if not pairs or ice.remote_password is None:
        return False
    key = ice.remote_password.encode()
    for pair in pairs:
        try:
            await pair.protocol.request(ice.build_request(pair, nominate=False), pair.remote_addr, integrity_key=key)
        except TransactionError:
            return False
    return True
