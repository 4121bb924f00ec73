"""A WHIP client that is not ours: FFmpeg's whip muxer, which PyAV brings, sending H.264 baseline and Opus.

A process of its own, because PyAV holds the interpreter while the muxer talks to the gateway:
``python -m tests.media_gateway.ffmpeg_client URL TOKEN CERTIFICATE KEY``, until its standard input closes.
"""

from __future__ import annotations

import select
import sys
import time
from fractions import Fraction
from typing import Any

import av
import numpy as np

FPS = 15
COLOURS = [(210, 50, 40), (40, 60, 200)]
TONE_HZ = 800


def publish(url: str, options: dict[str, str]) -> None:
    """Send a tone and a picture that changes colour each second, in real time, until standard input closes."""
    with av.open(url, "w", format="whip", options=options) as output:
        film: Any = output.add_stream("libx264", rate=FPS)
        film.width, film.height, film.pix_fmt = 320, 240, "yuv420p"
        film.codec_context.time_base = Fraction(1, FPS)
        film.options = {"profile": "baseline", "tune": "zerolatency", "preset": "veryfast", "g": str(FPS)}
        sound: Any = output.add_stream("libopus", rate=48_000, layout="stereo")
        begun = time.time()
        number, position = 0, 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            while position < (number + 1) * 48_000 // FPS:
                output.mux(sound.encode(tone(position)))
                position += 960
            output.mux(film.encode(picture(number)))
            number += 1
            time.sleep(max(0.0, begun + number / FPS - time.time()))


def picture(number: int) -> av.VideoFrame:
    image = np.full((240, 320, 3), COLOURS[number // FPS % 2], np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")
    frame.pts, frame.time_base = number, Fraction(1, FPS)
    return frame


def tone(position: int) -> av.AudioFrame:
    seconds = (position + np.arange(960)) / 48_000
    one = (9000 * np.sin(2 * np.pi * TONE_HZ * seconds)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(np.repeat(one, 2)[None, :], format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, position, Fraction(1, 48_000)
    return frame


if __name__ == "__main__":
    address, token, certificate, key = sys.argv[1:]
    publish(address, {"authorization": token, "cert_file": certificate, "key_file": key})
