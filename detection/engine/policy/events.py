"""What incidents can be about, and what each kind's thresholds are measured in."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class EventType(enum.StrEnum):
    """What an incident can be about."""

    NO_FACE = "NO_FACE"
    MULTIPLE_PERSONS = "MULTIPLE_PERSONS"
    FACE_MISMATCH = "FACE_MISMATCH"
    FACE_PARTIAL = "FACE_PARTIAL"
    FACE_TOO_FAR = "FACE_TOO_FAR"
    IDENTITY_UNSURE = "IDENTITY_UNSURE"
    HEAD_TURNED = "HEAD_TURNED"
    GAZE_OFF_SCREEN = "GAZE_OFF_SCREEN"
    PHONE = "PHONE"
    BOOK = "BOOK"
    SECOND_SCREEN = "SECOND_SCREEN"
    LEFT_SEAT = "LEFT_SEAT"
    HAND_TO_FACE = "HAND_TO_FACE"
    BODY_MOVEMENT = "BODY_MOVEMENT"
    SPEECH_OFF_CAMERA = "SPEECH_OFF_CAMERA"
    LIPS_MOVING = "LIPS_MOVING"
    WHISPER = "WHISPER"
    SPEECH_DETECTED = "SPEECH_DETECTED"
    MULTIPLE_SPEAKERS = "MULTIPLE_SPEAKERS"
    UNKNOWN_VOICE = "UNKNOWN_VOICE"
    LOOPED_AUDIO = "LOOPED_AUDIO"
    NOTIFICATION_SOUND = "NOTIFICATION_SOUND"
    KEYWORD_SPOKEN = "KEYWORD_SPOKEN"
    CONNECTION_LOST = "CONNECTION_LOST"
    CAMERA_LOST = "CAMERA_LOST"
    MICROPHONE_SILENT = "MICROPHONE_SILENT"
    TAB_HIDDEN = "TAB_HIDDEN"
    WINDOW_BLUR = "WINDOW_BLUR"
    FULLSCREEN_EXIT = "FULLSCREEN_EXIT"
    CLIPBOARD = "CLIPBOARD"
    SECOND_DISPLAY = "SECOND_DISPLAY"
    VIRTUAL_CAMERA = "VIRTUAL_CAMERA"
    PRESENTATION_ATTACK = "PRESENTATION_ATTACK"
    CHALLENGE_FAILED = "CHALLENGE_FAILED"
    CAMERA_COVERED = "CAMERA_COVERED"
    CAMERA_STATIC = "CAMERA_STATIC"
    LOW_LIGHT = "LOW_LIGHT"
    BLURRED = "BLURRED"


TECHNICAL_EVENTS = frozenset(
    {
        EventType.CONNECTION_LOST,
        EventType.CAMERA_LOST,
        EventType.MICROPHONE_SILENT,
        EventType.CAMERA_COVERED,
        EventType.CAMERA_STATIC,
        EventType.LOW_LIGHT,
        EventType.BLURRED,
        EventType.IDENTITY_UNSURE,
    }
)
"""About connection and equipment: never part of a behaviour score."""

BROWSER_EVENTS = frozenset(
    {
        EventType.TAB_HIDDEN,
        EventType.WINDOW_BLUR,
        EventType.FULLSCREEN_EXIT,
        EventType.CLIPBOARD,
        EventType.SECOND_DISPLAY,
        EventType.VIRTUAL_CAMERA,
    }
)
"""What the exam's page tells of itself. Nothing is measured: it is so (1) or it is not (0).

``VIRTUAL_CAMERA`` has something between: 0.5 for programs that usually hand on a real camera's picture."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What a rule's thresholds are measured in: the range, and on which side of them the trouble lies."""

    low: float
    high: float
    below: bool
    """True: trouble is a value *below* ``enter``. False: a value of at least ``enter``."""


SCALES: Mapping[EventType, Scale] = {
    EventType.NO_FACE: Scale(0, 100, below=True),  # faces, the doubtful ones included
    EventType.MULTIPLE_PERSONS: Scale(0, 100, below=False),  # faces beyond doubt, and people without a visible face
    EventType.FACE_MISMATCH: Scale(0, 1, below=True),  # similarity
    EventType.FACE_PARTIAL: Scale(0, 1, below=True),  # share of the face inside the picture
    EventType.FACE_TOO_FAR: Scale(0, 1000, below=True),  # the face's width in pixels
    EventType.IDENTITY_UNSURE: Scale(0, 600, below=False),  # seconds without knowing whose face it is
    EventType.HEAD_TURNED: Scale(0, 180, below=False),  # degrees off the head's learnt rest
    EventType.GAZE_OFF_SCREEN: Scale(0, 120, below=False),  # degrees off the gaze's learnt rest
    EventType.PHONE: Scale(0, 1, below=False),  # score that two of the last four looks reached in one place
    EventType.BOOK: Scale(0, 1, below=False),  # the same
    EventType.SECOND_SCREEN: Scale(0, 1, below=False),  # the same
    EventType.LEFT_SEAT: Scale(0, 10, below=False),  # shoulder widths from the learnt seat
    EventType.HAND_TO_FACE: Scale(0, 10, below=True),  # face widths between hand and face
    EventType.BODY_MOVEMENT: Scale(0, 100, below=False),  # times the candidate's own usual movement
    EventType.SPEECH_OFF_CAMERA: Scale(0, 1, below=False),  # share of speech, less the lips' movement
    EventType.LIPS_MOVING: Scale(0, 1, below=False),  # the lips' movement, less heard speech
    EventType.WHISPER: Scale(0, 1, below=False),  # share of an audio window
    EventType.SPEECH_DETECTED: Scale(0, 1, below=False),  # share of an audio window
    EventType.MULTIPLE_SPEAKERS: Scale(0, 30, below=False),  # seconds of a second voice in the last half minute
    EventType.UNKNOWN_VOICE: Scale(-1, 1, below=True),  # cosine with the voice learnt
    EventType.LOOPED_AUDIO: Scale(0, 600, below=False),  # seconds on end that repeat what was before
    EventType.NOTIFICATION_SOUND: Scale(0, 1, below=False),  # share of the sound in steady tones
    EventType.KEYWORD_SPOKEN: Scale(0, 50, below=False),  # different keywords in what was said
    EventType.CONNECTION_LOST: Scale(0, 1, below=False),  # 1: lost
    EventType.CAMERA_LOST: Scale(0, 1, below=False),  # 1: stopped
    EventType.MICROPHONE_SILENT: Scale(-120, 0, below=True),  # dBFS
    EventType.PRESENTATION_ATTACK: Scale(0, 1, below=False),  # pooled evidence
    EventType.CHALLENGE_FAILED: Scale(0, 5, below=False),  # movements asked for at check-in that were not seen
    EventType.CAMERA_COVERED: Scale(0, 1, below=True),  # detail relative to brightness
    EventType.CAMERA_STATIC: Scale(0, 3600, below=False),  # seconds without change
    EventType.LOW_LIGHT: Scale(0, 255, below=True),  # grey value of the face, or of the brighter parts
    EventType.BLURRED: Scale(0, 2, below=True),  # steepness of the steepest edges
} | {event: Scale(0, 1, below=False) for event in sorted(BROWSER_EVENTS)}
