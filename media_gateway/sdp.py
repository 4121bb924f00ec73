"""Read offers and trickled ICE candidates with distrust, and shape the answer."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from aiortc.rtcicetransport import RTCIceCandidate
from aiortc.sdp import MediaDescription, SessionDescription, candidate_from_sdp

from media_gateway.problems import ProblemError

T = TypeVar("T")

MAX_BYTES = 64 * 1024
MAX_ICE_CANDIDATES = 64
_MAX_LINES = 1000
_MAX_LINE_CHARACTERS = 1024
_MAX_OF_A_KIND = 128
"""Lines that begin alike, such as ``a=rtpmap``. Browsers write up to 60 of a kind and 400 in all; aiortc's parser
compares many with many, so that 64 KB of them would hold up everybody else's media for half a minute."""
AUDIO_PTIME_MS = 60
"""Longest packets Chromium makes: a third of the packets of the usual 20 ms, and a third of their cost."""

_VIDEO_CODECS = frozenset({"VP8", "H264"})
_AUDIO_CODECS = frozenset({"OPUS"})
_ICE_CHARS = re.compile(r"[a-zA-Z0-9+/]+")
_CANDIDATE = "a=candidate:"
PARSE_ERRORS = (ValueError, AssertionError, AttributeError, KeyError, IndexError, TypeError, StopIteration)
"""What aiortc raises on text that is no SDP."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a PATCH brings (RFC 8840): the username of the ICE session it means, and ICE candidates with their mid."""

    username: str | None
    ice_candidates: tuple[RTCIceCandidate, ...]


def _parsed(parse: Callable[[], T], what: str) -> T:
    try:
        return parse()
    except PARSE_ERRORS as error:
        raise ProblemError("sdp_invalid", f"{what} cannot be understood.") from error


def check_offer(text: str) -> str:
    """Return the offer, rid of ICE candidates that are not used; raise ``ProblemError`` where it cannot be accepted.

    It must have one video stream that sends VP8 or H.264, at most one audio stream that sends Opus, and nothing else.
    """
    if not text.lstrip().startswith("v=0"):
        raise ProblemError("sdp_invalid", "The body is not an SDP offer.")
    _require_bounded(text)
    text = _with_usable_ice_candidates(text)
    offer = _parsed(lambda: SessionDescription.parse(text), "The offer")
    if not offer.media:
        raise ProblemError("video_missing", "The offer has no media.")
    kinds = [media.kind for media in offer.media]
    if any(kind not in ("audio", "video") or kinds.count(kind) > 1 for kind in kinds):
        raise ProblemError("tracks_unsupported", "Offer one video and at most one audio stream, and nothing else.")
    _check_mids(offer)
    for media in offer.media:
        _check_transport(media)
        _check_codecs(media)
    sending = [media.kind for media in offer.media if media.direction in ("sendonly", "sendrecv")]
    if "video" not in sending:
        raise ProblemError("video_missing", "The offer sends no video.")
    if len(sending) < len(kinds):
        raise ProblemError("tracks_unsupported", "Offer only streams that are sent.")
    return text


def _require_bounded(text: str) -> None:
    """Refuse what takes long to parse before it is parsed; counting costs a millisecond."""
    lines = text.splitlines()
    if len(lines) > _MAX_LINES or any(len(line) > _MAX_LINE_CHARACTERS for line in lines):
        raise ProblemError("sdp_invalid", f"The SDP has more than {_MAX_LINES} lines, or very long ones.")
    kinds = Counter(line.partition(":")[0] for line in lines if line.startswith("a="))
    kinds.update(line[:2] for line in lines if not line.startswith("a="))
    if max(kinds.values(), default=0) > _MAX_OF_A_KIND:
        raise ProblemError("sdp_invalid", f"The SDP has more than {_MAX_OF_A_KIND} lines of a kind.")


def _check_transport(media: MediaDescription) -> None:
    if media.direction is None:
        raise ProblemError("sdp_invalid", f"The {media.kind} stream has no direction.")
    ice = media.ice
    if not (ice and _ICE_CHARS.fullmatch(ice.usernameFragment or "") and _ICE_CHARS.fullmatch(ice.password or "")):
        raise ProblemError("sdp_invalid", f"The {media.kind} stream has no ICE credentials.")
    if not (media.dtls and media.dtls.fingerprints):
        raise ProblemError("sdp_invalid", f"The {media.kind} stream has no DTLS fingerprint.")
    if not media.rtcp_mux:
        raise ProblemError("sdp_invalid", f"The {media.kind} stream does not multiplex RTCP.")


def _check_mids(offer: SessionDescription) -> None:
    mids = [media.rtp.muxId for media in offer.media]
    bundled = [str(mid) for group in offer.group if group.semantic == "BUNDLE" for mid in group.items]
    if not all(mids) or len(set(mids)) < len(mids) or not set(bundled) <= set(mids):
        raise ProblemError("sdp_invalid", "Every stream needs a mid of its own, and bundles consist of those.")


def _check_codecs(media: MediaDescription) -> None:
    known = _VIDEO_CODECS if media.kind == "video" else _AUDIO_CODECS
    if not any(codec.name.upper() in known for codec in media.rtp.codecs):
        raise ProblemError("codec_unsupported", f"The {media.kind} stream offers none of {', '.join(sorted(known))}.")


def _with_usable_ice_candidates(text: str) -> str:
    """Leave out ICE candidates that ICE cannot use here: TCP, and the hidden names browsers give (mDNS).

    Nobody is lost by it: the browser finds the gateway, which learns its address from the first check. For that to work
    the offer must not say that these were all: ICE would fail at once where none is left.
    """
    lines = [line for line in text.splitlines() if line != "a=end-of-candidates"]
    candidates = [line for line in lines if line.startswith(_CANDIDATE)]
    usable = {line for line in candidates if _usable(_ice_candidate(line))}
    if len(candidates) > MAX_ICE_CANDIDATES:
        raise ProblemError("sdp_invalid", f"The offer has more than {MAX_ICE_CANDIDATES} ICE candidates.")
    return "\r\n".join(line for line in lines if not line.startswith(_CANDIDATE) or line in usable) + "\r\n"


def _ice_candidate(line: str) -> RTCIceCandidate:
    return _parsed(lambda: candidate_from_sdp(line.removeprefix(_CANDIDATE)), "An ICE candidate")


def _usable(candidate: RTCIceCandidate) -> bool:
    try:
        ipaddress.ip_address(candidate.ip)
    except ValueError:
        return False
    return candidate.protocol.lower() == "udp" and candidate.component == 1 and 0 < candidate.port < 65536


def parse_fragment(text: str) -> Fragment:
    """Read a ``application/trickle-ice-sdpfrag`` body; raise ``ProblemError`` (``sdp_invalid``) where it is none."""
    _require_bounded(text)
    candidates: list[RTCIceCandidate] = []
    username: str | None = None
    mid: str | None = None
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "a=ice-ufrag":
            username = value.strip()
        elif name == "a=mid":
            mid = value.strip()
        elif name == "a=candidate":
            candidate = _ice_candidate(line)
            candidate.sdpMid = mid
            candidates.append(candidate)
        elif line.strip() and not re.match(r"[a-z]=", line):
            raise ProblemError("sdp_invalid", "The body is not an SDP fragment.")
    if candidates and mid is None:
        raise ProblemError("sdp_invalid", "ICE candidates come after the a=mid line of their stream.")
    return Fragment(username, tuple(candidate for candidate in candidates if _usable(candidate)))


def with_long_packets(answer: str) -> str:
    """Ask the sender for Opus packets of ``AUDIO_PTIME_MS`` (RFC 8866, 6.4)."""
    lines = answer.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("m=audio ")), None)
    if start is None:
        return answer
    end = next((i for i in range(start + 1, len(lines)) if lines[i].startswith("m=")), len(lines))
    lines[end:end] = [f"a=ptime:{AUDIO_PTIME_MS}", f"a=maxptime:{AUDIO_PTIME_MS}"]
    return "\r\n".join(lines) + "\r\n"


def payload_types(description: str, kind: str) -> dict[int, str]:
    """Return the codecs (upper case, RTX left out) that ``description`` names for ``kind``, by payload type."""
    media = next((media for media in SessionDescription.parse(description).media if media.kind == kind), None)
    codecs = media.rtp.codecs if media else []
    return {c.payloadType: c.name.upper() for c in codecs if c.payloadType is not None and c.name.lower() != "rtx"}


def kinds(description: str) -> list[str]:
    """Return the kinds of the streams of ``description``, in its order."""
    return [media.kind for media in SessionDescription.parse(description).media]


def ice_username(description: str) -> str:
    """Return the ICE username fragment of ``description``'s first stream."""
    ice = SessionDescription.parse(description).media[0].ice
    return (ice and ice.usernameFragment) or ""
