"""Does the media gateway's memory grow, and what does a stream cost it?

A real gateway process receives streams like a candidate's browser sends them (640x480 at 15 frames a second, VP8, Opus)
from another process for ten minutes. With ``--reconnect S`` every publisher hangs up and comes back each S seconds, so
that what a peer leaves behind would show.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
import uuid
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import av
import cv2
import numpy as np
import psutil
import redis
from av.video.frame import PictureType

from benchmarks import bed
from demo.publisher import EncodedClip, EncodedSample, PublishError, WhipPublisher
from detection.messages import QUEUE_AUDIO, QUEUE_VISION
from media_gateway.sdp import AUDIO_PTIME_MS
from media_gateway.tokens import JoinClaims, mint

REDIS_DATABASE = "/9"
SIZE_WH = (640, 480)
FRAMES_PER_SECOND = 15
BITS_PER_SECOND = 500_000
CLIP_S = 20
SAMPLE_S = 5.0
WARM_UP_S = 60.0
"""Pools, caches and the allocator fill up first; short runs use a third of their time."""


def video_packets() -> list[EncodedSample]:
    """Encode a textured scene that moves, with a camera's noise."""
    random = np.random.default_rng(1)
    scene = cv2.GaussianBlur(random.integers(0, 255, (640, 900, 3), np.uint8), (31, 31), 8)
    scene = cv2.normalize(scene, np.empty_like(scene), 0, 255, cv2.NORM_MINMAX)
    context: Any = av.CodecContext.create("libvpx", "w")
    context.width, context.height = SIZE_WH
    context.pix_fmt, context.bit_rate, context.time_base = "yuv420p", BITS_PER_SECOND, Fraction(1, FRAMES_PER_SECOND)
    context.gop_size = FRAMES_PER_SECOND * CLIP_S
    context.options = {"deadline": "realtime", "cpu-used": "-6", "lag-in-frames": "0"}
    packets = []
    for index in range(FRAMES_PER_SECOND * CLIP_S):
        angle = 2 * np.pi * index / (FRAMES_PER_SECOND * CLIP_S)
        x, y = round(120 + 110 * np.sin(angle)), round(75 + 70 * np.cos(angle))
        picture = scene[y : y + SIZE_WH[1], x : x + SIZE_WH[0]] + random.normal(0, 3, (SIZE_WH[1], SIZE_WH[0], 3))
        frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="bgr24")
        frame = frame.reformat(format="yuv420p")
        frame.pts = index
        frame.pict_type = PictureType.NONE
        packets += [EncodedSample(index / FRAMES_PER_SECOND, bytes(packet)) for packet in context.encode(frame)]
    return packets


def audio_packets(ptime_ms: int) -> list[EncodedSample]:
    """Encode a voice-like buzz in noise."""
    context: Any = av.CodecContext.create("libopus", "w")
    context.sample_rate, context.format, context.layout, context.bit_rate = 48_000, "s16", "mono", 32_000
    context.options = {"application": "voip", "frame_duration": str(ptime_ms)}
    context.open()
    random, size, packets = np.random.default_rng(2), context.frame_size, []
    for start in range(0, 48_000 * CLIP_S, size):
        seconds = (start + np.arange(size)) / 48_000
        sound = 6000 * np.sign(np.sin(2 * np.pi * 120 * seconds)) * (np.sin(2 * np.pi * 3 * seconds) > 0)
        samples = (sound + random.normal(0, 300, size)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, start
        packets += [EncodedSample(start / 48_000, bytes(packet)) for packet in context.encode(frame)]
    return packets


async def publish(url: str, key: str, arguments: argparse.Namespace) -> None:
    """Publish until killed."""
    clip = EncodedClip(float(CLIP_S), video_packets(), audio_packets(arguments.ptime))
    print("ready", flush=True)
    await asyncio.gather(*(_publish_one(url, key, clip, arguments, number) for number in range(arguments.streams)))


async def _publish_one(url: str, key: str, clip: EncodedClip, arguments: argparse.Namespace, number: int) -> None:
    session_id = str(uuid.uuid4())
    life_s = arguments.minutes * 60 + 600
    token = mint(JoinClaims(session_id, time.time(), time.time() + life_s, 2.0, 1.0), key=key)
    await asyncio.sleep(0.3 * number)
    while True:
        try:
            async with WhipPublisher(f"{url}/whip/{session_id}", token, clip, loop=True):
                await asyncio.sleep(arguments.reconnect or life_s)
        except PublishError as error:
            print(error, file=sys.stderr, flush=True)
            await asyncio.sleep(1.0)


def slope_per_hour(times_s: list[float], values: list[float]) -> float:
    """Return the least-squares slope of ``values`` per hour."""
    if len(values) < 3:
        return 0.0
    return statistics.linear_regression(times_s, values).slope * 3600


def watch(gateway: psutil.Process, client: redis.Redis, minutes: float) -> dict[str, Any]:
    """Empty the queues as workers would, and note memory and processor time."""
    warm_up_s = min(WARM_UP_S, minutes * 20)
    started, series, sent = time.monotonic(), list[tuple[float, float, int]](), 0
    processor_s = warm_at = 0.0
    while (elapsed := time.monotonic() - started) < minutes * 60:
        with client.pipeline() as pipeline:
            for queue in (QUEUE_VISION, QUEUE_AUDIO):
                pipeline.llen(queue)
                pipeline.delete(queue)
            lengths = pipeline.execute()
        if elapsed >= warm_up_s:
            if not warm_at:
                warm_at, processor_s, sent = elapsed, bed.processor_s(gateway), 0
            series.append((elapsed, gateway.memory_info().rss / 1e6, gateway.num_threads()))
        sent += lengths[0] + lengths[2]
        time.sleep(SAMPLE_S)
    times, rss, threads = [s[0] for s in series], [s[1] for s in series], [s[2] for s in series]
    return {
        "measured_s": round(elapsed - warm_at, 1),
        "messages_per_s": round(sent / (elapsed - warm_at), 2),
        "processor_percent": round((bed.processor_s(gateway) - processor_s) / (elapsed - warm_at) * 100, 2),
        "rss_mb": [round(value, 1) for value in rss],
        "rss_slope_mb_per_hour": round(slope_per_hour(times, rss), 2),
        "threads": [min(threads), max(threads)],
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run gateway and publishers, and return what was seen."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    redis_url = urlunsplit(urlsplit(os.environ["REDIS_URL"])._replace(path=REDIS_DATABASE))
    key = secrets.token_hex(32)
    os.environ |= {
        "REDIS_URL": redis_url,
        "JOIN_TOKEN_KEY": key,
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
    }
    client = redis.Redis.from_url(redis_url)
    client.flushdb()
    try:
        with bed.process("media_gateway", log="gateway_memory") as gateway:
            bed.wait_for("The gateway", lambda: _answers(f"{url}/health"))
            with _publishers(url, arguments):
                figures = watch(gateway, client, arguments.minutes)
    finally:
        client.flushdb()
    per_stream = figures["processor_percent"] / arguments.streams
    return {"processor_percent_per_stream": round(per_stream, 2), **figures}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _publishers(url: str, arguments: argparse.Namespace) -> subprocess.Popen[str]:
    options = ["--publish", url, "--streams", str(arguments.streams), "--minutes", str(arguments.minutes)]
    options += ["--reconnect", str(arguments.reconnect), "--ptime", str(arguments.ptime)]
    command = [sys.executable, "-m", "benchmarks.gateway_memory", *options]
    return _Publishers(command, cwd=bed.ROOT, stdout=subprocess.PIPE, text=True)


class _Publishers(subprocess.Popen[str]):
    """Ready when entered, ended when left."""

    def __enter__(self) -> _Publishers:
        assert self.stdout is not None
        if self.stdout.readline().strip() != "ready":
            raise RuntimeError("The publishers could not start.")
        return self

    def __exit__(self, *error: object) -> None:
        self.terminate()
        super().__exit__(*error)  # type: ignore[arg-type]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--reconnect", type=float, default=0.0, metavar="S", help="each publisher comes back after S s")
    parser.add_argument("--ptime", type=int, default=AUDIO_PTIME_MS, choices=[20, 40, 60], help="of an Opus packet")
    parser.add_argument("--publish", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        asyncio.run(publish(arguments.publish, os.environ["JOIN_TOKEN_KEY"], arguments))
        return 0
    settings = {name: getattr(arguments, name) for name in ("minutes", "streams", "reconnect", "ptime")}
    video = {"size_wh": SIZE_WH, "frames_per_second": FRAMES_PER_SECOND, "kbit_per_second": BITS_PER_SECOND // 1000}
    bed.report("gateway_memory", {"settings": settings, "video": video, **run(arguments)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
