"""SDP, tokens and sound made wrong: each is refused or taken, nothing is kept, and nobody else's media waits."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from aiortc import RTCPeerConnection
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from media_gateway import sdp
from media_gateway.audio import WindowBuilder, opus_duration
from media_gateway.problems import ProblemError
from media_gateway.tokens import TokenError, mint, verify
from tests.hardening.mutate import TEXTS, mutated, mutated_lines
from tests.hardening.strain import MEGABYTE, grown_bytes, steps_measured
from tests.media_gateway.conftest import gateway, inbox, start_gateway, valkey
from tests.media_gateway.publishers import join_token
from tests.media_gateway.test_audio import clicks, opus
from tests.media_gateway.world import KEY, GatewayUnderTest

__all__ = ["gateway", "inbox", "start_gateway", "valkey"]

MOST_MS = 100.0
MAY_GROW = 12 * MEGABYTE


async def make_offer() -> str:
    connection = RTCPeerConnection()
    connection.addTrack(VideoStreamTrack())
    connection.addTrack(AudioStreamTrack())
    await connection.setLocalDescription(await connection.createOffer())
    text = connection.localDescription.sdp
    await connection.close()
    return text.replace("sendrecv", "sendonly")


@pytest.fixture
def offer() -> str:
    return asyncio.run(make_offer())


def swollen(offer: str) -> Iterator[tuple[str, str]]:
    """Yield offers of up to 64 KB that take a parser long: many of one thing, and many compared with many."""
    head = offer.index("\r\n", offer.index("m=video")) + 2
    types = "".join(f"a=rtpmap:{number} VP8/90000\r\n" for number in range(100, 1500))
    inserted = {
        "types and feedback for all": types + "a=rtcp-fb:* n\r\n" * 1900,
        "as much of it as is taken": types[: 27 * 120] + "a=rtcp-fb:* n\r\n" * 120,
        "sources": "".join(f"a=ssrc:{number} cname:x\r\n" for number in range(100, 3000)),
        "a group of sources": "a=ssrc-group:FID " + "1 " * 30_000 + "\r\n",
        "extensions": "a=extmap:1 urn\r\n" * 4000,
        "fingerprints": "a=fingerprint:sha-256 AA\r\n" * 2500,
        "a long number": "a=rtpmap:" + "9" * 60_000 + " VP8/90000\r\n",
        "candidates": "a=candidate:1 1 udp 1 1.1.1.1 5 typ host\r\n" * 1500,
        "nothing": "\r\n" * 30_000,
    }
    for name, text in inserted.items():
        yield name, (offer[:head] + text + offer[head:])[: sdp.MAX_BYTES]
    yield "streams", (offer + "m=video 9 UDP/TLS/RTP/SAVPF 97\r\n" * 3000)[: sdp.MAX_BYTES]
    yield "bundles", offer.replace("a=group:BUNDLE", "a=group:BUNDLE " + "0 " * 20_000)[: sdp.MAX_BYTES]


def read(text: str) -> None:
    """Read an offer and a fragment as the gateway does; what is wrong has a code."""
    for parse in (sdp.check_offer, sdp.parse_fragment):
        with contextlib.suppress(ProblemError):  # anything else is a fault of ours
            parse(text)


def test_five_thousand_offers_made_wrong_are_refused_or_taken_and_not_kept(offer: str) -> None:
    def work() -> None:
        for text in mutated_lines(offer, 2000, seed=1):
            read(text)
        for data in mutated([offer.encode()], 3000, seed=2):
            read(data.decode("utf-8", "replace"))

    assert grown_bytes(work) < MAY_GROW


async def test_no_body_holds_up_the_loop(gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = await make_offer()
    session_id = str(uuid.uuid4())
    headers = {"Authorization": f"Bearer {join_token(KEY, session_id)}", "Content-Type": "application/sdp"}
    bodies = [text.encode() for _, text in swollen(offer)]
    bodies += [text.encode("utf-8", "surrogatepass") for text in mutated_lines(offer, 120, seed=3)]
    bodies += list(mutated([offer.encode()], 120, seed=4))
    url = f"{gateway.url}/whip/{session_id}"
    async with aiohttp.ClientSession() as http:
        await http.post(url, data=offer.encode(), headers=headers)  # what is loaded at first is
        with steps_measured(monkeypatch) as steps:
            statuses = [(await http.post(url, data=body, headers=headers)).status for body in bodies]
            patch = headers | {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "x"}
            peer = f"{url}/{uuid.uuid4()}"
            statuses += [(await http.patch(peer, data=body, headers=patch)).status for body in bodies[:40]]
    assert steps.count > len(bodies)
    assert steps.longest_ms < MOST_MS, steps.what
    assert max(statuses) < 500
    assert {400, 404} <= set(statuses)


PATHS = [
    "/whip/../../etc/passwd", "/whip/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/whip/%00", "/whip/" + "a" * 4000,
    "/whip/%F0%9F%99%82", "/whip/%ff%fe", "/whip/a/b/c", "/whip//", "/whip/x?token=y", "/%2e/whip",
]  # fmt: skip


async def test_odd_addresses_and_headers_have_an_answer(gateway: GatewayUnderTest) -> None:
    session_id = str(uuid.uuid4())
    good = join_token(KEY, session_id)
    async with aiohttp.ClientSession() as http:
        for path in PATHS:
            async with http.post(
                gateway.url + path, data=b"v=0", headers={"Authorization": f"Bearer {good}"}
            ) as answer:
                assert 400 <= answer.status < 500, path
        for value in ("Bearer", "Bearer ", f"bearer  {good}x", "Basic eDp5", "Bearer a.b.c", "Bearer " + "x" * 7000):
            async with http.post(f"{gateway.url}/whip/{session_id}", headers={"Authorization": value}) as answer:
                assert answer.status == 401, value


def test_no_token_made_wrong_opens_anything() -> None:
    session_id = str(uuid.uuid4())
    token = join_token(KEY, session_id)
    none = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}
    _, body, signature = token.split(".")
    crafted = [
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        token + "=",
        token[:-4],
        f".{body}.",
        "a" * 65_536,
        *TEXTS,
    ]

    def refused(text: str) -> None:
        try:
            claims = verify(text, key=KEY)
        except TokenError:
            return
        assert mint(claims, key=KEY) == token, text  # base64 has several spellings of its last bits: the same token

    def work() -> None:
        for text in crafted:
            refused(text)
        for data in mutated([token.encode()], 5000, seed=5):
            refused(data.decode("latin-1"))

    assert grown_bytes(work) < MAY_GROW


def test_packets_made_wrong_become_sound_or_silence_and_are_not_kept() -> None:
    rate = 48_000
    packets = opus(clicks(1.2))
    originals = [payload for _, payload in packets][:50]

    def work() -> None:
        builder = WindowBuilder()
        broken = list(mutated(originals, 3000, seed=6))
        for second in range(60):
            start = second * rate
            part: list[tuple[int, Any]] = [
                (start + 960 * number, payload) for number, payload in enumerate(broken[second * 50 : second * 50 + 50])
            ]
            window = builder.build(part, start, start + rate)
            assert len(window.samples) - window.lead_in_samples == 16_000
        assert all(0 <= opus_duration(payload) <= 5760 for payload in broken)

    assert grown_bytes(work) < MAY_GROW
