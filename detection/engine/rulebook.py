"""What each rule looks at. How rules decide over time is the same for all and written in ``findings`` and ``rules``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from detection.engine import readings
from detection.engine.link import Link
from detection.engine.model import (
    BODY_LANDMARKER,
    FACE_DETECTOR,
    FACE_EMBEDDER,
    FACE_LANDMARKER,
    LIVENESS,
    OBJECT_DETECTOR,
    SPEECH_RECOGNISER,
    VOICE_DETECTOR,
    VOICE_EMBEDDER,
    VOICE_SEGMENTER,
)
from detection.engine.observations import AUDIO, BROWSER, TECHNICAL, VIDEO, Observation
from detection.engine.policy import EventType
from detection.engine.readings import Reading as Reading

_SILENT_DBFS = -120.0


@dataclass(frozen=True, slots=True)
class Rule:
    """What one event type is decided from. Which side of the threshold is trouble says ``policy.SCALES``.

    ``read`` returns the value of a sample of ``stream``, None where the sample says nothing (not measured, undecided).
    ``standing`` returns the value that the state of the link implies until it changes, None where it implies nothing.
    """

    stream: str
    detector: str
    """Whose measure is kept as the reason."""
    model: str = ""
    """Which network measured it, if no other takes its place; empty: none."""
    read: Callable[[Observation], Reading | None] = lambda _observation: None
    standing: Callable[[Link], float | None] = lambda _link: None
    min_samples: int = 1
    """Samples beyond the threshold that it takes, however long they last."""
    bridges_pauses: bool = False
    """Whether a pause shorter than the release time leaves a suspicion standing, as it does an open finding."""
    yields_to: tuple[EventType, ...] = ()
    """While one of these is suspected or open this rule says nothing: one trouble is one incident."""
    waits: bool = False
    """Whether, while one of ``yields_to`` is merely suspected, a suspicion of this waits for what comes of it."""
    is_moment: bool = False
    """Whether what is read is over as soon as it is read."""
    source: str = ""
    """Where ``detector`` is a learner: the detector whose measures it learns from, and whose network may be another."""


RULES: Mapping[EventType, Rule] = {
    EventType.CONNECTION_LOST: Rule(
        TECHNICAL,
        TECHNICAL,
        standing=lambda link: float(link.peer_down_at is not None),
    ),
    EventType.CAMERA_LOST: Rule(
        TECHNICAL,
        TECHNICAL,
        standing=lambda link: float(link.video_down_at is not None),
        yields_to=(EventType.CONNECTION_LOST,),
    ),
    EventType.MICROPHONE_SILENT: Rule(
        AUDIO,
        "level",
        read=readings.loudness,
        standing=lambda link: None if link.audio_down_at is None else _SILENT_DBFS,
        yields_to=(EventType.CONNECTION_LOST,),
    ),
    EventType.CAMERA_COVERED: Rule(VIDEO, "camera", read=readings.detail, min_samples=2),
    EventType.CAMERA_STATIC: Rule(VIDEO, "loops", read=readings.unchanged, yields_to=(EventType.CAMERA_COVERED,)),
    EventType.LOW_LIGHT: Rule(
        VIDEO, "camera", read=readings.light, min_samples=3, yields_to=(EventType.CAMERA_COVERED,)
    ),
    EventType.BLURRED: Rule(
        VIDEO,
        "camera",
        read=readings.sharpness,
        min_samples=3,
        yields_to=(EventType.CAMERA_COVERED, EventType.LOW_LIGHT),
    ),
    EventType.NO_FACE: Rule(
        VIDEO,
        "persons",
        FACE_DETECTOR,
        readings.possible_faces,
        yields_to=(EventType.CAMERA_COVERED,),
        source="faces",
    ),
    EventType.MULTIPLE_PERSONS: Rule(VIDEO, "persons", FACE_DETECTOR, readings.people, source="faces"),
    EventType.FACE_PARTIAL: Rule(VIDEO, "faces", FACE_DETECTOR, readings.visible_share, yields_to=(EventType.NO_FACE,)),
    EventType.FACE_TOO_FAR: Rule(VIDEO, "faces", FACE_DETECTOR, readings.width_px, yields_to=(EventType.NO_FACE,)),
    EventType.FACE_MISMATCH: Rule(
        VIDEO, "identity", FACE_EMBEDDER, readings.pooled_similarity, yields_to=(EventType.NO_FACE,)
    ),
    EventType.IDENTITY_UNSURE: Rule(
        VIDEO,
        "identity",
        FACE_EMBEDDER,
        readings.cannot_tell,
        yields_to=(
            EventType.CAMERA_COVERED,
            EventType.LOW_LIGHT,
            EventType.BLURRED,
            EventType.NO_FACE,
            EventType.FACE_PARTIAL,
            EventType.FACE_TOO_FAR,
            EventType.FACE_MISMATCH,
        ),
    ),
    EventType.PRESENTATION_ATTACK: Rule(
        VIDEO, "liveness_pool", LIVENESS, readings.attack, min_samples=3, source="liveness"
    ),
    EventType.CHALLENGE_FAILED: Rule(VIDEO, "challenge", FACE_LANDMARKER, readings.missed, source="head_pose"),
    EventType.HEAD_TURNED: Rule(
        VIDEO,
        "head_line",
        FACE_LANDMARKER,
        readings.off_deg("head_line"),
        min_samples=3,
        yields_to=(EventType.NO_FACE,),
        source="head_pose",
    ),
    EventType.GAZE_OFF_SCREEN: Rule(
        VIDEO,
        "gaze_line",
        FACE_LANDMARKER,
        readings.off_deg("gaze_line"),
        min_samples=3,
        yields_to=(EventType.NO_FACE, EventType.HEAD_TURNED),
        source="gaze",
    ),
    EventType.PHONE: Rule(VIDEO, "objects_seen", OBJECT_DETECTOR, readings.thing("phone"), source="objects"),
    EventType.BOOK: Rule(VIDEO, "objects_seen", OBJECT_DETECTOR, readings.thing("book"), source="objects"),
    EventType.SECOND_SCREEN: Rule(VIDEO, "objects_seen", OBJECT_DETECTOR, readings.thing("screen"), source="objects"),
    EventType.LEFT_SEAT: Rule(
        VIDEO,
        "posture",
        BODY_LANDMARKER,
        readings.posture("shift"),
        min_samples=2,
        yields_to=(EventType.NO_FACE,),
        source="body",
    ),
    EventType.HAND_TO_FACE: Rule(
        VIDEO,
        "posture",
        BODY_LANDMARKER,
        readings.posture("hand_distance"),
        min_samples=3,
        yields_to=(EventType.NO_FACE, EventType.PHONE),
        source="body",
    ),
    EventType.BODY_MOVEMENT: Rule(
        VIDEO,
        "posture",
        BODY_LANDMARKER,
        readings.posture("movement"),
        min_samples=3,
        yields_to=(EventType.NO_FACE, EventType.LEFT_SEAT),
        source="body",
    ),
    EventType.SPEECH_OFF_CAMERA: Rule(
        AUDIO,
        "lips",
        VOICE_DETECTOR,
        readings.lips("off_camera"),
        min_samples=3,
        yields_to=(EventType.NO_FACE,),
        source="speech",
    ),
    EventType.LIPS_MOVING: Rule(AUDIO, "lips", FACE_LANDMARKER, readings.lips("silent"), min_samples=3, source="mouth"),
    EventType.WHISPER: Rule(AUDIO, "whisper", VOICE_DETECTOR, readings.whispered, min_samples=3),
    EventType.SPEECH_DETECTED: Rule(
        AUDIO,
        "speech",
        VOICE_DETECTOR,
        readings.speech_share,
        bridges_pauses=True,
        yields_to=(EventType.SPEECH_OFF_CAMERA, EventType.WHISPER),
        waits=True,
    ),
    EventType.MULTIPLE_SPEAKERS: Rule(AUDIO, "conversation", VOICE_SEGMENTER, readings.second_voice, source="speakers"),
    EventType.LOOPED_AUDIO: Rule(AUDIO, "sound_loops", read=readings.loop),
    EventType.NOTIFICATION_SOUND: Rule(AUDIO, "tones", VOICE_DETECTOR, readings.notification),
    EventType.KEYWORD_SPOKEN: Rule(AUDIO, "transcript", SPEECH_RECOGNISER, readings.keywords),
    EventType.UNKNOWN_VOICE: Rule(
        AUDIO, "voices", VOICE_EMBEDDER, readings.known_voice, yields_to=(EventType.MULTIPLE_SPEAKERS,), source="voice"
    ),
    EventType.TAB_HIDDEN: Rule(BROWSER, BROWSER, read=readings.told(EventType.TAB_HIDDEN)),
    EventType.WINDOW_BLUR: Rule(
        BROWSER, BROWSER, read=readings.told(EventType.WINDOW_BLUR), yields_to=(EventType.TAB_HIDDEN,)
    ),
    EventType.FULLSCREEN_EXIT: Rule(BROWSER, BROWSER, read=readings.told(EventType.FULLSCREEN_EXIT)),
    EventType.CLIPBOARD: Rule(BROWSER, BROWSER, read=readings.told(EventType.CLIPBOARD), is_moment=True),
    EventType.SECOND_DISPLAY: Rule(BROWSER, BROWSER, read=readings.told(EventType.SECOND_DISPLAY)),
    EventType.VIRTUAL_CAMERA: Rule(BROWSER, BROWSER, read=readings.virtual_camera),
}
"""In this order: what others yield to comes first."""
