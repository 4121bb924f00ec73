"""Cameras that are programs, by the names their makers give them.

A name proves nothing: programs can be renamed, and people have good reasons to use some of them. It is a hint for a
person, and the only trace of a virtual camera besides the picture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

PLAYS: Final = 1.0
"""It can play recordings and scenes of any kind."""
HANDS_ON: Final = 0.5
"""It usually hands on a real camera's picture: a telephone's, or one with another background. Tests use one, too."""


@dataclass(frozen=True, slots=True)
class VirtualCamera:
    """A known program. ``pattern`` is found in the label that the browser gives its camera, whatever its case."""

    product: str
    pattern: str
    grade: float


KNOWN: Final = (
    VirtualCamera("OBS Virtual Camera", r"\bOBS\b", PLAYS),
    VirtualCamera("Streamlabs Virtual Webcam", r"\bStreamlabs\b", PLAYS),
    VirtualCamera("ManyCam", r"\bManyCam\b", PLAYS),
    VirtualCamera("XSplit", r"\bXSplit", PLAYS),
    VirtualCamera("e2eSoft VCam", r"\be2eSoft\b|^VCam\b", PLAYS),
    VirtualCamera("SplitCam", r"\bSplitCam\b", PLAYS),
    VirtualCamera("vMix", r"\bvMix\b", PLAYS),
    VirtualCamera("Wirecast", r"\bWirecast\b", PLAYS),
    VirtualCamera("CamTwist", r"\bCamTwist\b", PLAYS),
    VirtualCamera("AkVirtualCamera", r"\bAkV(irtual)?Cam|\bWebcamoid\b", PLAYS),
    VirtualCamera("NDI", r"\bNDI\b|\bNewTek\b", PLAYS),
    VirtualCamera("Spout", r"\bSpoutCam", PLAYS),
    VirtualCamera("Unity Video Capture", r"\bUnity Video Capture\b", PLAYS),
    VirtualCamera("v4l2loopback", r"\bv4l2loopback\b|\bDummy video device\b", PLAYS),
    VirtualCamera("mmhmm", r"\bmmhmm\b", PLAYS),
    VirtualCamera("Snap Camera", r"\bSnap Camera\b", HANDS_ON),
    VirtualCamera("NVIDIA Broadcast", r"\bNVIDIA Broadcast\b", HANDS_ON),
    VirtualCamera("ChromaCam", r"\bChromaCam\b", HANDS_ON),
    VirtualCamera("DroidCam", r"\bDroidCam\b", HANDS_ON),
    VirtualCamera("Camo", r"\bCamo\b", HANDS_ON),
    VirtualCamera("Iriun Webcam", r"\bIriun\b", HANDS_ON),
    VirtualCamera("EpocCam", r"\bEpocCam\b", HANDS_ON),
    VirtualCamera("iVCam", r"\biVCam\b", HANDS_ON),
    VirtualCamera("Chromium's test camera", r"^fake_device_\d|\.(mjpeg|y4m)$", HANDS_ON),
)


def virtual_camera(label: str) -> VirtualCamera | None:
    """Return the program whose name is in a camera's label; None where it is none that is known."""
    return next((known for known in KNOWN if re.search(known.pattern, label, re.IGNORECASE)), None)
