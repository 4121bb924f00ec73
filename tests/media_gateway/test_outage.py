"""Redis away, frozen or overfull: samples are skipped and counted, technical messages arrive, nothing stops."""

from __future__ import annotations

import asyncio
import time
import uuid

import aiohttp
import pytest

from detection.messages import QUEUE_VISION, Technical, TechnicalMessage
from media_gateway.publisher import Publisher, connect
from tests.media_gateway.publishers import Camera, Microphone, plain_picture, tone
from tests.media_gateway.world import GatewayUnderTest, Inbox, OwnValkey, StartGateway, eventually


def camera() -> Camera:
    return Camera(lambda seconds: plain_picture((99, 99, 99)), fps=10)


async def stall_of_the_loop(seconds: float) -> float:
    """Return the longest time the event loop was kept from its work within ``seconds``."""
    longest, end = 0.0, time.monotonic() + seconds
    while (before := time.monotonic()) < end:
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - before - 0.01)
    return longest


@pytest.mark.parametrize("manner", ["stopped", "frozen"])
async def test_an_outage_is_one_gap_per_stream_and_loses_no_technical_message(
    start_gateway: StartGateway, inbox: Inbox, valkey: OwnValkey, manner: str
) -> None:
    gateway = await start_gateway(GATEWAY_MEDIA_TIMEOUT_S="1", GATEWAY_GRACE_S="5")
    film, leaver, flapper = camera(), gateway.publisher(camera()), gateway.publisher(Microphone(tone(440)))
    flapper.tracks.append(film)
    async with gateway.publisher(camera(), Microphone(tone(440))) as publisher, leaver, flapper:
        await asyncio.gather(publisher.publish(), leaver.publish(), flapper.publish())
        await eventually(lambda: len(inbox.collect().frames) >= 9 and inbox.windows, what="media of all")
        valkey.stop() if manner == "stopped" else valkey.freeze()
        away_at = time.time()
        await leaver.hang_up()
        film.pause()
        assert await stall_of_the_loop(2.0) < 0.25
        film.resume()
        async with gateway.publisher(camera(), session_id=leaver.session_id, token=leaver.token) as returned:
            await returned.publish()
            await stall_of_the_loop(3.0)
            health = gateway.gateway.publisher.is_away
            valkey.start() if manner == "stopped" else valkey.thaw()
            back_at = time.time()
            await eventually(lambda: len(inbox.of_kind("gap")) >= 5, what="the gaps")
            await eventually(lambda: inbox.frames[-1].captured_at > back_at + 0.5, what="frames after it")
            await asyncio.sleep(1.5)
    assert health, "the outage was not noticed"
    check_gaps(inbox, publisher.session_id, leaver.session_id, away_at, back_at, is_sure=manner == "stopped")
    check_technical(inbox, flapper.session_id, leaver.session_id)


def check_gaps(inbox: Inbox, session_id: str, other_id: str, away_at: float, back_at: float, *, is_sure: bool) -> None:
    gaps = {(gap.session_id, gap.stream): gap for gap in inbox.of_kind("gap")}
    assert len(inbox.of_kind("gap")) == len(gaps) == 5, "one for each stream"
    assert {(session_id, "video"), (session_id, "audio"), (other_id, "video")} <= set(gaps)
    for gap in gaps.values():
        assert gap.reason == "redis_unavailable"
        assert gap.until is not None
        # What was captured shortly before may have been caught by it, too.
        assert away_at - 1.6 < gap.at < gap.until < back_at + 2.5
    frames = [f.captured_at for f in inbox.frames if f.session_id == session_id]
    gap = gaps[session_id, "video"]
    both = [at for at in frames if gap.at <= at <= (gap.until or 0)]
    # What a frozen Redis had received it works off later, though nobody could know.
    assert len(both) <= (0 if is_sure else 4)
    assert gap.skipped == pytest.approx(((gap.until or 0) - gap.at) * 2 + 1, abs=1.5)
    sound = gaps[session_id, "audio"]
    assert sound.skipped == round((sound.until or 0) - sound.at)
    windows = [w for w in inbox.windows if w.session_id == session_id]
    resumed = next(w for w in windows if w.started_at >= (sound.until or 0) - 0.1)
    assert resumed.previous_ended_at == pytest.approx(sound.at, abs=0.1)


def check_technical(inbox: Inbox, session_id: str, other_id: str) -> None:
    kinds = [kind for kind in inbox.kinds(session_id) if kind not in ("gap", "peer_lost")]
    assert sorted(kinds[:3]) == ["audio_started", "peer_connected", "video_started"]
    assert kinds[3:] == ["video_stopped", "video_started"]
    kinds = [kind for kind in inbox.kinds(other_id) if kind not in ("gap", "audio_stopped")]
    assert kinds[:5] == ["peer_connected", "video_started", "peer_lost", "peer_connected", "video_started"]
    for one in (session_id, other_id):
        times = [message.at for message in inbox.technical if message.session_id == one and message.kind != "gap"]
        assert times == sorted(times)


async def end(work: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: before Python 3.12 a cancellation that meets a time-out may get lost."""
    while not work.done():
        work.cancel()
        await asyncio.wait([work], timeout=1)


async def test_nobody_is_refused_while_redis_is_away(
    start_gateway: StartGateway, inbox: Inbox, valkey: OwnValkey
) -> None:
    valkey.stop()
    gateway = await start_gateway()
    async with gateway.publisher(camera()) as publisher:
        await publisher.publish()
        await publisher.connected()
        await asyncio.sleep(1.0)
        valkey.start()
        await eventually(lambda: inbox.collect().frames, what="frames")
    assert inbox.kinds()[:2] == ["peer_connected", "video_started"]


async def test_a_queue_that_is_too_long_is_spared(start_gateway: StartGateway, inbox: Inbox, valkey: OwnValkey) -> None:
    gateway = await start_gateway(GATEWAY_QUEUE_LIMIT="20")
    client = valkey.client()
    async with gateway.publisher(camera(), Microphone(tone(440)), fps=5.0) as publisher:
        await publisher.publish()
        await eventually(lambda: client.llen(QUEUE_VISION) > 20, what="a long queue")
        await asyncio.sleep(2.0)
        length = client.llen(QUEUE_VISION)
        await asyncio.sleep(2.0)
        assert client.llen(QUEUE_VISION) == length <= 20 + 10  # it is looked at once a second
        assert len(inbox.collect().windows) >= 3, "sound has a queue of its own"
        gaps = await eventually(lambda: inbox.of_kind("gap"), what="the gap")
        await eventually(lambda: inbox.collect().frames[-1].captured_at > (gaps[0].until or 0), what="frames again")
    assert [(gap.stream, gap.reason) for gap in gaps] == [("video", "queue_full")]
    assert gaps[0].skipped >= 10


async def test_technical_messages_are_bounded_per_session_and_keep_their_order(valkey: OwnValkey, inbox: Inbox) -> None:
    valkey.stop()
    redis = connect(valkey.url)
    publisher = Publisher(redis, origin="test", queue_limit=100)
    work = asyncio.create_task(publisher.run())
    session_id, flapping = str(uuid.uuid4()), str(uuid.uuid4())
    publisher.note(TechnicalMessage(session_id, Technical.PEER_CONNECTED, 0.0))
    for number in range(1200):
        publisher.note(TechnicalMessage(flapping, Technical.VIDEO_STOPPED, float(number)))
    publisher.note(TechnicalMessage(session_id, Technical.PEER_LOST, 1.0))
    await eventually(lambda: publisher.is_away, what="the outage")
    valkey.start()
    await eventually(lambda: len(inbox.collect().technical) >= 1002, what="the messages")
    await end(work)
    await redis.aclose()
    assert inbox.kinds(session_id) == ["peer_connected", "peer_lost"]
    assert [m.at for m in inbox.technical if m.session_id == flapping] == [float(n) for n in range(200, 1200)]


async def test_samples_that_pile_up_are_skipped_oldest_first(valkey: OwnValkey, inbox: Inbox) -> None:
    valkey.freeze()
    redis = connect(valkey.url)
    publisher = Publisher(redis, origin="test", queue_limit=10_000)
    session_id = str(uuid.uuid4())
    for number in range(600):
        publisher.offer_frame(session_id, float(number), b"jpeg")
    valkey.thaw()
    await publisher.finish(timeout_s=5.0)
    await redis.aclose()
    assert [frame.captured_at for frame in inbox.collect().frames] == [float(n) for n in range(88, 600)]
    assert [(gap.at, gap.until, gap.skipped, gap.reason) for gap in inbox.of_kind("gap")] == [
        (0.0, 87.0, 88, "backlog")
    ]
    assert inbox.data(inbox.frames[-1]) == b"jpeg"


async def test_health_says_that_redis_is_away(gateway: GatewayUnderTest, valkey: OwnValkey) -> None:
    async with aiohttp.ClientSession() as http:
        valkey.stop()
        await eventually(lambda: gateway.gateway.publisher.is_away, what="the outage")
        async with http.get(f"{gateway.url}/health") as response:
            assert (response.status, (await response.json())["redis"]) == (503, "down")
        async with http.get(f"{gateway.url}/health/live") as response:
            assert response.status == 200
        valkey.start()
        await eventually(lambda: not gateway.gateway.publisher.is_away, what="the return")
        async with http.get(f"{gateway.url}/health") as response:
            assert response.status == 200
