"""Turns a script into media, once: a WebM clip (VP8, Opus) to publish, or files for a browser's fake devices."""

from __future__ import annotations

import functools
import hashlib
import os
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from demo import sound
from demo.camera import FRAME_WH, FRAMES_PER_SECOND, Camera, Image
from demo.people import PEOPLE, cut_out
from demo.room import paint_room
from demo.script import Script
from detection.engine.weights import weights_path

MATERIAL_DIR = Path(__file__).resolve().parent.parent / "var" / "demo"
VIDEO_BIT_RATE = 1_200_000
AUDIO_BIT_RATE = 40_000
KEY_FRAME_EVERY_S = 1
"""The clip is sent as it was encoded, so nobody can ask for a key frame: there is one each second."""

_MAKERS = {"camera", "material", "people", "room", "sound", "voices"}  # the modules that decide what a clip looks like
_OPUS_SAMPLES = 960  # 20 ms at 48 kHz
_BROWSER_FRAMES_PER_SECOND = 30  # Chromium plays an MJPEG file at this rate, whatever was meant
_JPEG_QUALITY = 88
_VP8 = {"deadline": "realtime", "cpu-used": "6", "lag-in-frames": "0", "auto-alt-ref": "0", "error-resilient": "1"}


def clip(script: Script) -> Path:
    """Return the script's WebM, made on the first call and when script, photographs or makers have changed."""
    return _made_once(script, "webm", write_clip)


def browser_files(script: Script) -> tuple[Path, Path]:
    """Return the script as ``(MJPEG, WAV)`` for Chromium's fake camera and microphone."""
    return _made_once(script, "mjpeg", _write_mjpeg), _made_once(script, "wav", _write_wav)


def _made_once(script: Script, kind: str, write: Callable[[Script, Path], None]) -> Path:
    path = MATERIAL_DIR / f"{script.name}-{_fingerprint(script)}.{kind}"
    if path.exists():
        return path
    MATERIAL_DIR.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as draft:
        write(script, draft)
    for older in set(MATERIAL_DIR.glob(f"{script.name}-{'?' * 12}.{kind}")) - {path}:
        older.unlink(missing_ok=True)
    return path


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Write beside ``path`` and move into place at the end: a half-written clip is never found there."""
    draft = path.with_name(f"draft-{os.getpid()}-{path.name}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _fingerprint(script: Script) -> str:
    described = repr((script.duration_s, script.scenes, script.utterances)).encode()
    return hashlib.sha256(_makers_digest() + described).hexdigest()[:12]


@functools.cache
def _makers_digest() -> bytes:
    digest = hashlib.sha256()
    for maker in sorted(_MAKERS):
        digest.update(Path(__file__).with_name(f"{maker}.py").read_bytes())
    for person in PEOPLE.values():
        digest.update(weights_path(person.filmed).read_bytes())
    return digest.digest()


def film(script: Script) -> Iterator[Image]:
    """Yield the script's pictures, BGR uint8 ``(480, 640, 3)``, at ``FRAMES_PER_SECOND``."""
    cutouts = {letter: cut_out(person) for letter, person in PEOPLE.items()}
    return Camera(script=script, room=paint_room(), cutouts=cutouts).film()


def write_clip(script: Script, path: Path) -> None:
    """Write the script's pictures and sound as WebM."""
    samples = (sound.record(script) * 32767).astype(np.int16)
    with av.open(str(path), "w", format="webm") as container:
        video = _video_stream(container)
        audio = container.add_stream("libopus", rate=sound.SAMPLE_RATE, layout="mono", bit_rate=AUDIO_BIT_RATE)
        heard = 0
        for index, picture in enumerate(film(script)):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
            container.mux(video.encode(frame))
            until = (index + 1) * sound.SAMPLE_RATE // FRAMES_PER_SECOND
            while heard + _OPUS_SAMPLES <= until:
                container.mux(audio.encode(_audio_frame(samples, heard)))
                heard += _OPUS_SAMPLES
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _video_stream(container: av.container.OutputContainer) -> av.VideoStream:
    video = container.add_stream("libvpx", rate=FRAMES_PER_SECOND, options=_VP8)
    video.width, video.height = FRAME_WH
    video.pix_fmt = "yuv420p"
    video.bit_rate = VIDEO_BIT_RATE
    video.gop_size = KEY_FRAME_EVERY_S * FRAMES_PER_SECOND
    video.thread_count = 2
    return video


def _audio_frame(samples: np.ndarray[tuple[int, ...], np.dtype[np.int16]], start: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples[None, start : start + _OPUS_SAMPLES], format="s16", layout="mono")
    frame.sample_rate = sound.SAMPLE_RATE
    frame.pts, frame.time_base = start, Fraction(1, sound.SAMPLE_RATE)
    return frame


def _write_mjpeg(script: Script, path: Path) -> None:
    repeat = _BROWSER_FRAMES_PER_SECOND // FRAMES_PER_SECOND
    with path.open("wb") as file:
        for picture in film(script):
            _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            file.write(jpeg.tobytes() * repeat)


def _write_wav(script: Script, path: Path) -> None:
    samples = (sound.record(script) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.SAMPLE_RATE)
        file.writeframes(samples.tobytes())
