"""Read media from files as the product gets to see it: pictures upright, clips cut as the gateway cuts them.

Video is sampled by the gateway's own ``Sampler`` at the policy's rate and goes through its JPEG; sound becomes 16 kHz
mono and is cut into the policy's windows, each with the gateway's lead-in. Times are seconds of the clip.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import soxr
from numpy.typing import NDArray

from detection.engine.media import SAMPLE_RATE_HZ, AudioWindow, Frame, ImageError, decode_frame, decode_image
from detection.engine.yunet import scale_down
from media_gateway.audio import LEAD_IN_S
from media_gateway.video import JpegEncoder, Sampler

Image = NDArray[np.uint8]
Sound = NDArray[np.float32]

EPOCH = 1_700_000_000.0
"""Capture time of a clip's second zero. Any will do; this one is a multiple of every interval in the default policy."""
MAX_PIXELS = 250_000_000
"""More than the product accepts of a candidate: a data set's photographs are no uploads."""
_HEADER_BYTES = 16
MAX_SIDE = 4096
"""Larger pictures are scaled down to this, so that a batch of them fits into memory. Faces are sought far below it."""
_JITTER_S = 0.05
"""Sound whose time stamp is off by less than this is continued, as players do; more is a gap or an overlap."""
_MAX_GAP_S = 600.0
"""A time stamp that far ahead is damage, not silence."""

logger = logging.getLogger(__name__)


class MediaError(Exception):
    """A file that cannot be measured; the message says why. It is skipped and counted."""


def read_image(path: Path) -> Image:
    """Read a still picture, upright, BGR uint8 ``(H, W, 3)``, its sides at most ``MAX_SIDE``.

    JPEG, PNG and WebP as the product reads them; whatever else OpenCV knows (BMP, TIFF, PGM) too, as data sets have it.
    """
    data = path.read_bytes()
    try:
        image = decode_image(data, max_pixels=MAX_PIXELS)
    except ImageError as error:
        other = None if _is_known(data) else _decode_other(data)
        if other is None:
            raise MediaError(error.message) from error
        image = other
    return scale_down(image, MAX_SIDE)[0]


def _is_known(data: bytes) -> bool:
    """Return whether it begins as the pictures do that the product reads. AVI and WAV are RIFF files, as WebP is."""
    return data[:2] == b"\xff\xd8" or data[:4] == b"\x89PNG" or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _decode_other(data: bytes) -> Image | None:
    if not data:
        return None
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def is_still(path: Path) -> bool:
    """Return whether a file is a still picture rather than a video, by what is in it; torn ones are stills too."""
    with path.open("rb") as file:
        data = file.read(_HEADER_BYTES)
    if _is_known(data):
        return True
    try:
        read_image(path)
    except MediaError:
        return False
    return True


# --- Clips ------------------------------------------------------------------------------------------------------------
def read_frames(path: Path, frames_per_second: float) -> Iterator[Frame]:
    """Yield a video's pictures at the product's sampling rate, upright; ``frame_id`` is unique in the clip.

    Raises ``MediaError`` where the file cannot be opened or has no video that can be decoded; what is damaged in
    between is passed over, and logged.
    """
    sampler, encoder = Sampler(frames_per_second), JpegEncoder()
    with _open(path) as container:
        if not container.streams.video:
            raise MediaError("there is no video in it")
        for at_s, picture in _decoded(container, container.streams.video[0]):
            if sampler.is_due(at_s):
                image = decode_frame(encoder.encode(picture))
                yield Frame(f"frame-{at_s:.3f}", image, EPOCH + at_s)


def read_sound(path: Path) -> Sound:
    """Return a recording as float32 mono at 16 kHz, from the clip's second zero on; gaps are silence.

    Empty where the file has no sound. Raises ``MediaError`` where it cannot be opened.
    """
    with _open(path) as container:
        if not container.streams.audio:
            return np.zeros(0, np.float32)
        line = _Line()
        for at_s, frame in _decoded(container, container.streams.audio[0]):
            line.add(at_s, frame)
        return line.finish()


def windows(sound: Sound, window_s: float) -> list[AudioWindow]:
    """Cut a recording as the gateway does: gapless, each with a lead-in, the last filled up with silence."""
    length, lead_in = round(window_s * SAMPLE_RATE_HZ), round(LEAD_IN_S * SAMPLE_RATE_HZ)
    pcm = as_sent(sound)
    cut = []
    for start in range(0, len(pcm), length):
        before = min(lead_in, start)
        samples = pcm[start - before : start + length]
        samples = np.pad(samples, (0, before + length - len(samples)))
        at = EPOCH + start / SAMPLE_RATE_HZ
        cut.append(AudioWindow(f"window-{start / SAMPLE_RATE_HZ:.3f}", samples, before, at, at + window_s))
    return cut


def as_sent(sound: Sound) -> Sound:
    """Return the samples as 16-bit PCM carries them: clipped, without what is no number."""
    finite = np.nan_to_num(sound, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.asarray(np.clip(np.rint(finite * 32768.0), -32768, 32767) / 32768.0, np.float32)


def _open(path: Path) -> Any:
    try:
        return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"it cannot be opened: {error}") from error


def _decoded(container: Any, stream: Any) -> Iterator[tuple[float, Any]]:
    """Yield what can be decoded of a stream, with its second of the clip, going on after damage as players do.

    Raises ``MediaError`` where nothing can be decoded at all.
    """
    origin_s = (container.start_time or 0) / av.time_base
    at_s, count, damaged = 0.0, 0, ""
    for frames in _packets(container, stream):
        if isinstance(frames, Exception):
            damaged = str(frames)
            continue
        for frame in frames:
            at_s = frame.time - origin_s if frame.time is not None else at_s
            count += 1
            yield max(at_s, 0.0), frame
            at_s += _duration_s(frame, stream)
    if not count:
        raise MediaError(f"it cannot be decoded: {damaged}" if damaged else "nothing in it can be decoded")
    if damaged:
        logger.warning("%s is damaged; what can be decoded of it counts: %s", container.name, damaged)


def _packets(container: Any, stream: Any) -> Iterator[list[Any] | Exception]:
    """Yield the frames of each packet, or why it has none. Where the container itself breaks off, that is the last."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, ValueError) as error:
            yield error
            return
        if packet is None:
            return
        try:
            yield packet.decode()
        except (av.FFmpegError, ValueError) as error:
            yield error


def _duration_s(frame: Any, stream: Any) -> float:
    """Return how long a frame lasts, for one without a time stamp after it."""
    if isinstance(frame, av.AudioFrame):
        return float(frame.samples / (frame.sample_rate or SAMPLE_RATE_HZ))
    return 1 / float(stream.average_rate or 25)


class _Line:
    """A recording as it grows on the clip's time line."""

    def __init__(self) -> None:
        self._parts: list[Sound] = []
        self._rate = 0
        self._fed = 0
        self._mixer: Any = None
        self._resampler: Any = None

    def add(self, at_s: float, frame: Any) -> None:
        """Append a frame: after silence where its time stamp leaves a gap, less what overlaps."""
        if self._mixer is None:
            self._rate = frame.sample_rate
            # FFmpeg's own way to mono makes floating point of two like channels louder by 3 dB, 16 bits not.
            self._mixer = av.AudioResampler(format="fltp", layout=frame.layout.name, rate=self._rate)
            self._resampler = soxr.ResampleStream(self._rate, SAMPLE_RATE_HZ, 1, dtype="float32")
        late = round(at_s * self._rate) - self._fed
        if late > _MAX_GAP_S * self._rate:
            raise MediaError(f"its sound has a gap of {late / self._rate:.0f} s")
        if late > _JITTER_S * self._rate or (late > 0 and not self._fed):
            self._feed(np.zeros(late, np.float32))
            late = 0
        overlap = -late if late < -_JITTER_S * self._rate else 0
        for mixed in self._mixer.resample(frame):
            samples = mixed.to_ndarray().mean(axis=0)
            self._feed(samples[overlap:])
            overlap = max(0, overlap - len(samples))

    def finish(self) -> Sound:
        """Return the whole."""
        if self._resampler is not None:
            self._parts.append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        return np.concatenate([np.zeros(0, np.float32), *self._parts])

    def _feed(self, samples: Sound) -> None:
        self._fed += len(samples)
        # What is no number, or beyond all bounds, would spread through the resampler's filter.
        finite = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0).clip(-1, 1)
        self._parts.append(self._resampler.resample_chunk(np.asarray(finite, np.float32)))
