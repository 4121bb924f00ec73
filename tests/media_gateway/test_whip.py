"""The WHIP endpoint: what it accepts, and how it refuses."""

from __future__ import annotations

import asyncio
import html
import json
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiortc import RTCSessionDescription

from detection.messages import revoked_key
from media_gateway.problems import CODES
from media_gateway.tokens import JoinClaims, mint
from tests.media_gateway.publishers import Camera, Microphone, WhipPublisher, join_token, plain_picture, tone
from tests.media_gateway.world import KEY, GatewayUnderTest, Inbox, OwnValkey, StartGateway, eventually

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"


def grey() -> Camera:
    return Camera(lambda seconds: plain_picture((99, 99, 99)))


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def an_offer(gateway: GatewayUnderTest, *tracks: Any) -> tuple[WhipPublisher, str]:
    """Return an offer that would be accepted, and its publisher, whose connection is closed again."""
    async with gateway.publisher(*(tracks or (grey(), Microphone(tone(440))))) as publisher:
        return publisher, await publisher.offer()


async def refused(response: aiohttp.ClientResponse, status: int, code: str) -> dict[str, Any]:
    """Check that ``response`` is the problem expected and return its document."""
    document = json.loads(await response.text())
    assert (response.status, document.get("code")) == (status, code), document
    assert response.content_type == "application/problem+json"
    assert document["status"] == status
    assert (document["title"], document["type"]) == (CODES[code].title, f"/problems#{code}")
    assert document["detail"]
    return dict(document)


async def post(
    http: aiohttp.ClientSession, gateway: GatewayUnderTest, publisher: WhipPublisher, body: str | bytes, **headers: str
) -> aiohttp.ClientResponse:
    url = f"{gateway.url}/whip/{publisher.session_id}"
    return await http.post(url, data=body, headers={"Content-Type": SDP, **publisher.headers, **headers})


async def test_a_publisher_is_answered_as_the_rfc_says(
    start_gateway: StartGateway, http: aiohttp.ClientSession
) -> None:
    servers = [{"urls": "turn:127.0.0.1:3478?transport=tcp", "username": 'a"b', "credential": "c"}]
    gateway = await start_gateway(ICE_SERVERS=json.dumps(servers))
    publisher, offer = await an_offer(gateway)
    response = await post(http, gateway, publisher, offer)
    answer = await response.text()
    assert response.status == 201, answer
    assert response.content_type == SDP
    assert response.headers["Location"].startswith(f"/whip/{publisher.session_id}/")
    assert re.fullmatch(r'"[^"]+"', response.headers["ETag"])
    assert response.headers["Accept-Patch"] == FRAGMENT
    assert response.headers["Link"] == (
        '<turn:127.0.0.1:3478?transport=tcp>; rel="ice-server"; username="a\\"b"; credential="c"; '
        'credential-type="password"'
    )
    audio = answer[answer.index("m=audio") :]
    assert "a=ptime:60\r\n" in audio
    assert "a=maxptime:60\r\n" in audio
    assert "opus/48000" in audio
    assert "PCMU" not in audio
    assert answer.count("a=recvonly") == 2
    assert "127.0.0.1" in answer


async def test_the_answer_of_deleting_is_200_and_then_404(
    gateway: GatewayUnderTest, http: aiohttp.ClientSession
) -> None:
    async with gateway.publisher(grey()) as publisher:
        await publisher.publish()
        assert await publisher.hang_up() == 200
        response = await http.delete(gateway.url + publisher.location, headers=publisher.headers)
        await refused(response, 404, "peer_unknown")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "token_missing"),
        ({"Authorization": "Basic YTpi"}, 401, "token_missing"),
        ({"Authorization": "Bearer "}, 401, "token_missing"),
        ({"Authorization": "Bearer nonsense"}, 401, "token_invalid"),
    ],
)
async def test_who_has_no_token_is_turned_away(
    gateway: GatewayUnderTest, http: aiohttp.ClientSession, headers: dict[str, str], status: int, code: str
) -> None:
    for method, path in (("POST", ""), ("PATCH", "/peer"), ("DELETE", "/peer")):
        url = f"{gateway.url}/whip/{uuid.uuid4()}{path}"
        response = await http.request(method, url, data="v=0", headers={"Content-Type": SDP, **headers})
        await refused(response, status, code)
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_an_expired_token_is_no_false_one(gateway: GatewayUnderTest, http: aiohttp.ClientSession) -> None:
    publisher, offer = await an_offer(gateway)
    publisher.token = mint(JoinClaims(publisher.session_id, 1.0, 2.0, 2.0, 1.0), key=KEY)
    response = await post(http, gateway, publisher, offer)
    await refused(response, 401, "token_expired")
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    publisher.token = join_token("another-key-of-sufficient-length-456", publisher.session_id)
    await refused(await post(http, gateway, publisher, offer), 401, "token_invalid")


async def test_a_token_of_another_session_opens_nothing(gateway: GatewayUnderTest, http: aiohttp.ClientSession) -> None:
    async with gateway.publisher(grey()) as publisher:
        await publisher.publish()
        stranger = {"Authorization": f"Bearer {join_token(KEY, str(uuid.uuid4()))}"}
        url = f"{gateway.url}/whip/{publisher.session_id}"
        offer = publisher.connection.localDescription.sdp
        for method, address, kind in (
            ("POST", url, SDP),
            ("PATCH", gateway.url + publisher.location, FRAGMENT),
            ("DELETE", gateway.url + publisher.location, SDP),
        ):
            response = await http.request(method, address, data=offer, headers={"Content-Type": kind, **stranger})
            await refused(response, 403, "token_wrong_session")
        await publisher.connected()  # nothing has happened to it


async def test_an_ended_session_stays_ended(
    gateway: GatewayUnderTest, http: aiohttp.ClientSession, valkey: OwnValkey
) -> None:
    publisher, offer = await an_offer(gateway)
    valkey.client().set(revoked_key(publisher.session_id), "1")
    await refused(await post(http, gateway, publisher, offer), 409, "session_ended")


async def test_only_sdp_can_be_posted(gateway: GatewayUnderTest, http: aiohttp.ClientSession) -> None:
    publisher, offer = await an_offer(gateway)
    response = await post(http, gateway, publisher, offer, **{"Content-Type": "application/json"})
    await refused(response, 415, "content_type_unsupported")
    assert response.headers["Accept-Post"] == SDP


async def test_a_huge_body_is_refused(gateway: GatewayUnderTest, http: aiohttp.ClientSession) -> None:
    publisher, offer = await an_offer(gateway)
    padding = "a=x-padding:" + "x" * 200 + "\r\n"
    await refused(await post(http, gateway, publisher, offer + padding * 400), 413, "body_too_large")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        b"\xff\xfe\x00",
        "v=0\r\nm=video",
        "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
        "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 300\r\na=sendonly\r\n",
        "v=x\r\n",
        "v=0\r\na=setup:nonsense\r\n",
        '{"type": "offer", "sdp": "v=0"}',
    ],
)
async def test_broken_sdp_is_refused(gateway: GatewayUnderTest, http: aiohttp.ClientSession, body: str | bytes) -> None:
    publisher, _ = await an_offer(gateway)
    await refused(await post(http, gateway, publisher, body), 400, "sdp_invalid")


async def test_an_offer_broken_anywhere_is_refused_or_accepted_but_never_fails(
    gateway: GatewayUnderTest, http: aiohttp.ClientSession
) -> None:
    """Leave out each line in turn, and cut each line short."""
    publisher, offer = await an_offer(gateway)
    lines = offer.splitlines()
    broken = [[*lines[:i], *lines[i + 1 :]] for i in range(len(lines))]
    broken += [[*lines[:i], lines[i][: len(lines[i]) // 2], *lines[i + 1 :]] for i in range(len(lines))]
    assert len(broken) > 60
    statuses = set()
    for variant in broken:
        response = await post(http, gateway, publisher, "\r\n".join(variant) + "\r\n")
        statuses.add(response.status)
        assert response.status in (201, 400, 406, 422), (response.status, await response.text())
    assert {201, 400} <= statuses


async def test_a_stream_without_video_is_refused(gateway: GatewayUnderTest, http: aiohttp.ClientSession) -> None:
    publisher, offer = await an_offer(gateway, Microphone(tone(440)))
    await refused(await post(http, gateway, publisher, offer), 422, "video_missing")
    publisher, offer = await an_offer(gateway)
    receiving = offer.replace("a=sendonly", "a=recvonly")
    await refused(await post(http, gateway, publisher, receiving), 422, "video_missing")
    await refused(await post(http, gateway, publisher, offer.split("m=")[0]), 422, "video_missing")
    listening = receiving.replace("a=recvonly", "a=sendonly", 1)
    await refused(await post(http, gateway, publisher, listening), 406, "tracks_unsupported")


async def test_a_stream_without_sound_is_accepted(gateway: GatewayUnderTest, inbox: Inbox) -> None:
    async with gateway.publisher(grey()) as publisher:
        await publisher.publish()
        await eventually(lambda: inbox.collect().frames, what="a frame")


async def test_codecs_nobody_here_knows_are_refused(gateway: GatewayUnderTest, http: aiohttp.ClientSession) -> None:
    publisher, offer = await an_offer(gateway)
    foreign = offer.replace("VP8/90000", "AV1/90000").replace("H264/90000", "VP9/90000")
    await refused(await post(http, gateway, publisher, foreign), 422, "codec_unsupported")
    silent = offer.replace("opus/48000/2", "speex/32000")
    await refused(await post(http, gateway, publisher, silent), 422, "codec_unsupported")
    # H.264 in a profile that cannot be received, and nothing else.
    media = offer.split("m=")
    exotic = offer.replace("VP8/90000", "AV1/90000").replace("profile-level-id=42", "profile-level-id=f4")
    assert len(media) == 3
    await refused(await post(http, gateway, publisher, exotic), 422, "codec_unsupported")


async def test_more_tracks_than_one_of_each_are_refused(gateway: GatewayUnderTest, http: aiohttp.ClientSession) -> None:
    publisher, offer = await an_offer(gateway, grey(), grey())
    await refused(await post(http, gateway, publisher, offer), 406, "tracks_unsupported")
    async with gateway.publisher(grey()) as publisher:
        publisher.connection.createDataChannel("chat")
        offer = await publisher.offer()
    await refused(await post(http, gateway, publisher, offer), 406, "tracks_unsupported")


async def test_a_full_gateway_says_when_to_come_back(start_gateway: StartGateway, http: aiohttp.ClientSession) -> None:
    gateway = await start_gateway(GATEWAY_MAX_PEERS="1")
    async with gateway.publisher(grey()) as first:
        await first.publish()
        await first.connected()
        publisher, offer = await an_offer(gateway)
        response = await post(http, gateway, publisher, offer)
        await refused(response, 503, "gateway_full")
        assert int(response.headers["Retry-After"]) > 0
        # The session that is here already may replace its peer.
        same, offer = await an_offer(gateway)
        same.session_id, same.token = first.session_id, first.token
        assert (await post(http, gateway, same, offer)).status == 201


async def test_the_type_of_a_problem_leads_to_the_table(gateway: GatewayUnderTest, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{gateway.url}/whip/{uuid.uuid4()}") as response:
        address, _, code = (await response.json())["type"].partition("#")
    async with http.get(f"{gateway.url}{address}") as response:
        page = await response.text()
        assert (response.status, response.content_type) == (200, "text/html")
    assert f'<tr id="{code}">' in page
    assert all(code.title in html.unescape(page) for code in CODES.values())


async def test_unknown_addresses_and_methods_are_problems_too(
    gateway: GatewayUnderTest, http: aiohttp.ClientSession
) -> None:
    await refused(await http.get(f"{gateway.url}/nothing"), 404, "not_found")
    for method in ("GET", "PUT"):
        response = await http.request(method, f"{gateway.url}/whip/{uuid.uuid4()}")
        await refused(response, 405, "method_not_allowed")
        assert "POST" in response.headers["Allow"]


async def test_pages_of_the_web_side_may_publish_and_others_may_not(
    start_gateway: StartGateway, http: aiohttp.ClientSession
) -> None:
    gateway = await start_gateway(PUBLIC_URL="https://proctor.example/")
    publisher, offer = await an_offer(gateway)
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    url = f"{gateway.url}/whip/{publisher.session_id}"
    for origin, allowed in (("https://proctor.example", True), ("https://evil.example", False)):
        response = await http.options(url, headers={"Origin": origin, **preflight})
        assert response.status == 204
        assert response.headers["Accept-Post"] == SDP
        assert (response.headers.get("Access-Control-Allow-Origin") == origin) is allowed
        assert ("Authorization" in response.headers.get("Access-Control-Allow-Headers", "")) is allowed
        for answer in (
            await post(http, gateway, publisher, offer, Origin=origin),
            await post(http, gateway, publisher, "nonsense", Origin=origin),
        ):
            assert (answer.headers.get("Access-Control-Allow-Origin") == origin) is allowed
            exposed = answer.headers.get("Access-Control-Expose-Headers", "")
            assert ({"Location", "ETag", "Link"} <= set(exposed.split(", "))) is allowed
            assert "Origin" in answer.headers["Vary"]
    peer = await http.options(f"{url}/{uuid.uuid4()}", headers={"Origin": "https://proctor.example", **preflight})
    assert peer.headers["Access-Control-Allow-Methods"] == "PATCH, DELETE"
    assert peer.headers["Accept-Patch"] == FRAGMENT


async def test_ice_candidates_may_come_later(gateway: GatewayUnderTest, http: aiohttp.ClientSession) -> None:
    async with gateway.publisher(grey()) as publisher:
        offer = await publisher.offer()
        candidates = [line for line in offer.splitlines() if line.startswith("a=candidate")]
        bare = "\r\n".join(line for line in offer.splitlines() if not line.startswith(("a=candidate", "a=end-of")))
        response = await post(http, gateway, publisher, bare + "\r\n")
        address, etag = gateway.url + response.headers["Location"], response.headers["ETag"]
        peer = gateway.gateway.registry.peer(publisher.session_id, address.rpartition("/")[2])
        username = next(line for line in offer.splitlines() if line.startswith("a=ice-ufrag"))
        fragment = "\r\n".join(
            [username, "m=video 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0", *candidates, "a=end-of-candidates"]
        )

        async def patch(body: str, **changes: str) -> aiohttp.ClientResponse:
            headers = {"Content-Type": FRAGMENT, "If-Match": etag, **publisher.headers, **changes}
            return await http.patch(address, data=body, headers={k: v for k, v in headers.items() if v})

        await refused(await patch(fragment, **{"If-Match": ""}), 428, "etag_missing")
        await refused(await patch(fragment, **{"If-Match": '"other"'}), 412, "etag_mismatch")
        await refused(await patch(fragment, **{"If-Match": "*"}), 422, "ice_restart_unsupported")
        await refused(await patch(fragment, **{"Content-Type": SDP}), 415, "content_type_unsupported")
        await refused(await patch("nonsense"), 400, "sdp_invalid")
        await refused(await patch("a=mid:0\r\na=candidate:broken"), 400, "sdp_invalid")
        restart = fragment.replace(username, "a=ice-ufrag:another")
        await refused(await patch(restart), 422, "ice_restart_unsupported")
        ice = next(iter(peer._connection.getReceivers())).transport.transport
        assert ice.getRemoteCandidates() == []
        accepted = await patch(fragment)
        assert accepted.status == 204
        assert [c.ip for c in ice.getRemoteCandidates()] == ["127.0.0.1"]
        assert accepted.headers["ETag"] == etag
        assert (await patch(fragment)).status == 204  # again: no harm


async def test_hidden_and_tcp_candidates_do_no_harm(gateway: GatewayUnderTest, http: aiohttp.ClientSession) -> None:
    """Browsers hide their addresses behind mDNS names; the connection comes about from the other side."""
    async with gateway.publisher(grey()) as publisher:
        offer = await publisher.offer()
        hidden = offer.replace("127.0.0.1", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0.local")
        hidden = hidden.replace("IN IP4 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0.local", "IN IP4 0.0.0.0")
        tcp = "a=candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype active\r\n"
        response = await post(http, gateway, publisher, hidden + tcp)
        answer = await response.text()
        assert response.status == 201, answer
        await publisher.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await publisher.connected()


async def test_metrics_are_for_the_networks_that_may_read_them(
    start_gateway: StartGateway, http: aiohttp.ClientSession
) -> None:
    closed = await start_gateway(METRICS_ALLOWED_NETWORKS="10.0.0.0/8")
    response = await http.get(f"{closed.url}/metrics")
    assert response.status == 403
    assert "sdproctor" not in await response.text()
    opened = await start_gateway()
    assert (await http.get(f"{opened.url}/metrics")).status == 200
    forwarded = {"X-Forwarded-For": "93.184.216.34"}
    assert (await http.get(f"{opened.url}/metrics", headers=forwarded)).status == 403


async def test_health_and_metrics(gateway: GatewayUnderTest, http: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with gateway.publisher(grey()) as publisher:
        await publisher.publish()
        await eventually(lambda: inbox.collect().frames, what="a frame")
        health = await (await http.get(f"{gateway.url}/health")).json()
        assert (health["status"], health["redis"], health["peers"]) == ("up", "up", 1)
        metrics = await (await http.get(f"{gateway.url}/metrics")).text()
        for name in (
            "sdproctor_gateway_peers 1.0",
            'sdproctor_gateway_samples_published_total{stream="video"}',
            'sdproctor_gateway_requests_total{method="POST",status="201"}',
            "sdproctor_gateway_publish_seconds_bucket",
        ):
            assert name in metrics
    assert (await http.get(f"{gateway.url}/health/live")).status == 200


async def test_many_at_once_each_get_their_own(gateway: GatewayUnderTest, http: aiohttp.ClientSession) -> None:
    offers = [await an_offer(gateway) for _ in range(6)]
    responses = await asyncio.gather(*(post(http, gateway, publisher, offer) for publisher, offer in offers))
    assert [response.status for response in responses] == [201] * 6
    assert len({response.headers["Location"] for response in responses}) == 6
    assert gateway.gateway.registry.peer_count == 6


async def test_of_peers_that_come_together_for_one_session_one_stays(
    gateway: GatewayUnderTest, http: aiohttp.ClientSession
) -> None:
    first, offer = await an_offer(gateway)
    offers = [offer] + [(await an_offer(gateway))[1] for _ in range(5)]
    responses = await asyncio.gather(*(post(http, gateway, first, each) for each in offers))
    statuses = [response.status for response in responses]
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    for response in responses:
        if response.status == 409:
            await refused(response, 409, "peer_replaced")
    assert gateway.gateway.registry.peer_count == 1
