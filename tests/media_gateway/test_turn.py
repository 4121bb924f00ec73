"""Media through a TURN server that is reached by TLS alone, as from networks that let nothing else out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from aiortc import RTCIceServer

from tests.alerts.certificates import Authority
from tests.media_gateway.publishers import Camera
from tests.media_gateway.turn_peer import TurnPeer, turn_over_tls
from tests.media_gateway.world import GatewayUnderTest, Inbox, StartGateway, eventually

USER, PASSWORD = "candidate", "a-long-credential"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The one authority that this process believes, as OpenSSL's own variable says."""
    found = Authority(tmp_path, "authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(found.path))
    return found


def noisy() -> Camera:
    """A camera whose frames do not compress: some kilobytes each."""
    pixels = np.random.default_rng(5).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    return Camera(lambda _: pixels)


async def gateway_with(start_gateway: StartGateway, server: TurnPeer, password: str = PASSWORD) -> GatewayUnderTest:
    servers = [{"urls": server.urls, "username": USER, "credential": password}]
    return await start_gateway(ICE_SERVERS=json.dumps(servers))


async def test_frames_arrive_through_a_relay_that_both_sides_reach_by_tls(
    start_gateway: StartGateway, inbox: Inbox, tmp_path: Path, authority: Authority
) -> None:
    signed = authority.sign("turn", "127.0.0.1")
    async with turn_over_tls(signed, username=USER, password=PASSWORD) as server:
        gateway = await gateway_with(start_gateway, server)
        publisher = gateway.publisher(noisy())
        publisher.relay = RTCIceServer(server.urls, username=USER, credential=PASSWORD)
        async with publisher:
            await publisher.publish()
            answer = publisher.connection.remoteDescription.sdp
            await publisher.connected()
            await eventually(lambda: len(inbox.collect().frames) >= 2)
    assert "typ relay" in answer  # the gateway offers its own relayed address
    assert server.allocations >= 2
    assert server.relayed_bytes > 10_000  # more than the handshake
    assert server.refused == 0


@pytest.mark.parametrize("fault", ["stranger", "password"])
async def test_a_server_of_somebody_else_and_a_wrong_password_relay_nothing(
    start_gateway: StartGateway, inbox: Inbox, tmp_path: Path, authority: Authority, fault: str
) -> None:
    """The gateway answers all the same, with the addresses it has: who can reach those needs no relay."""
    signer = Authority(tmp_path, "stranger") if fault == "stranger" else authority
    async with turn_over_tls(signer.sign("turn", "127.0.0.1"), username=USER, password=PASSWORD) as server:
        gateway = await gateway_with(start_gateway, server, "wrong" if fault == "password" else PASSWORD)
        async with gateway.publisher(noisy()) as publisher:
            await publisher.publish()
            assert "typ relay" not in publisher.connection.remoteDescription.sdp
            await publisher.connected()
            await eventually(lambda: len(inbox.collect().frames) >= 1)
    assert (server.allocations, server.relayed_bytes) == (0, 0)
    assert (server.refused > 0) == (fault == "password")
