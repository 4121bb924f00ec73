"""A TURN server over TLS (RFC 8656) for one test: long-term credentials, allocations and channels, and nothing else."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aioice import stun
from aioice.turn import make_integrity_key

from tests.alerts.certificates import Signed

REALM: Final = "test"
NONCE: Final = b"0123456789abcdef"
LIFETIME_S: Final = 600
_HEADER: Final = struct.Struct("!HH")
Address = tuple[str, int]


@dataclass
class TurnPeer:
    """Relays for whoever knows ``username`` and ``password``. ``refused``: requests with other credentials."""

    username: str
    password: str
    port: int = 0
    allocations: int = 0
    refused: int = 0
    relayed_bytes: int = 0
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def urls(self) -> str:
        return f"turns:127.0.0.1:{self.port}?transport=tcp"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client until it leaves."""
        task = asyncio.current_task()
        assert task is not None
        self.connections[task] = writer
        client = _Client(self, writer)
        try:
            while True:
                first, length = _HEADER.unpack(header := await reader.readexactly(_HEADER.size))
                if first & 0xC000 == 0x4000:  # channel data, padded to four bytes
                    data = await reader.readexactly(length)
                    await reader.readexactly(-length % 4)
                    client.send_to_peer(first, data)
                else:
                    client.answer(stun.parse_message(header + await reader.readexactly(16 + length)))
        except (asyncio.IncompleteReadError, OSError):
            pass  # it has left
        finally:
            client.close()
            writer.close()
            del self.connections[task]


class _Client(asyncio.DatagramProtocol):
    """A client's allocation; the datagrams are those of its relayed address."""

    def __init__(self, server: TurnPeer, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._writer = writer
        self._key = make_integrity_key(server.username, REALM, server.password)
        self._relay: asyncio.DatagramTransport | None = None
        self._peers: dict[int, Address] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, request: stun.Message) -> None:
        response = stun.Message(request.message_method, stun.Class.RESPONSE, transaction_id=request.transaction_id)
        if not request.check_message_integrity(self._key):
            self._server.refused += "MESSAGE-INTEGRITY" in request.attributes
            response.message_class = stun.Class.ERROR
            response.attributes = {"ERROR-CODE": (401, "Unauthorized"), "NONCE": NONCE, "REALM": REALM}
            response.add_fingerprint()
            self._writer.write(bytes(response))
            return
        if request.message_method == stun.Method.ALLOCATE:
            task = asyncio.ensure_future(self._allocate(response))
            self._tasks.add(task)
            return
        if request.message_method == stun.Method.CHANNEL_BIND:
            self._peers[request.attributes["CHANNEL-NUMBER"]] = request.attributes["XOR-PEER-ADDRESS"]
        elif request.message_method == stun.Method.REFRESH:
            response.attributes["LIFETIME"] = min(request.attributes["LIFETIME"], LIFETIME_S)
        self._reply(response)

    async def _allocate(self, response: stun.Message) -> None:
        loop = asyncio.get_running_loop()
        self._relay, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self._server.allocations += 1
        response.attributes["LIFETIME"] = LIFETIME_S
        response.attributes["XOR-MAPPED-ADDRESS"] = self._writer.get_extra_info("peername")
        response.attributes["XOR-RELAYED-ADDRESS"] = self._relay.get_extra_info("sockname")
        self._reply(response)

    def _reply(self, response: stun.Message) -> None:
        response.add_message_integrity(self._key)
        self._writer.write(bytes(response))

    def send_to_peer(self, channel: int, data: bytes) -> None:
        if self._relay is not None and channel in self._peers:
            self._server.relayed_bytes += len(data)
            self._relay.sendto(data, self._peers[channel])

    def datagram_received(self, data: bytes, addr: Address) -> None:
        for channel, peer in self._peers.items():
            if peer == addr:
                self._server.relayed_bytes += len(data)
                self._writer.write(_HEADER.pack(channel, len(data)) + data + bytes(-len(data) % 4))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._relay is not None:
            self._relay.close()


@asynccontextmanager
async def turn_over_tls(signed: Signed, *, username: str, password: str) -> AsyncIterator[TurnPeer]:
    """Serve at a free port of 127.0.0.1 while the block runs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed.certificate, signed.key)
    peer = TurnPeer(username, password)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=context)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        left = dict(peer.connections)
        for writer in left.values():
            writer.close()
        await asyncio.gather(*left)
