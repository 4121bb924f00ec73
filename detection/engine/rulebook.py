"""What each rule looks at. How rules decide over time is the same for all and written in ``findings`` and ``rules``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from detection.engine.learners import identity_pool
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

_SILENT_DBFS = -120.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A rule's value in one sample, and the stretch of time it speaks for (a moment, for a frame)."""

    value: float
    started_at: float
    ended_at: float


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
    is_moment: bool = False
    """Whether what is read is over as soon as it is read."""
    source: str = ""
    """Where ``detector`` is a learner: the detector whose measures it learns from, and whose network may be another."""


def _at(observation: Observation, value: Any) -> Reading | None:
    return None if value is None else Reading(float(value), observation.captured_at, observation.captured_at)


def _measure(observation: Observation, detector: str) -> Mapping[str, Any]:
    measure = observation.measures.get(detector)
    return measure if isinstance(measure, Mapping) else {}


def _possible_faces(observation: Observation) -> Reading | None:
    faces = _measure(observation, "faces")
    return _at(observation, faces.get("possible", faces.get("count")))


def _people(observation: Observation) -> Reading | None:
    return _at(observation, _measure(observation, "persons").get("count"))


def _thing(word: str) -> Callable[[Observation], Reading | None]:
    """Read the score that several looks agree on; it speaks from the first of them to the last."""

    def read(observation: Observation) -> Reading | None:
        seen = _measure(observation, "objects_seen")
        since, until = seen.get(f"{word}_since"), seen.get(f"{word}_until")
        if since is None or until is None:
            return _at(observation, seen.get(word))
        return Reading(float(seen[word]), float(since), float(until))

    return read


def _posture(name: str) -> Callable[[Observation], Reading | None]:
    return lambda observation: _at(observation, _measure(observation, "posture").get(name))


def _width_px(observation: Observation) -> Reading | None:
    return _at(observation, _measure(observation, "faces").get("width_px"))


def _visible_share(observation: Observation) -> Reading | None:
    return _at(observation, _measure(observation, "faces").get("visible_share"))


def _pooled_similarity(observation: Observation) -> Reading | None:
    """Read what several frames say together; one that is sure speaks from the first of them on."""
    pool = _measure(observation, "identity_pool")
    if pool.get("verdict") not in (identity_pool.MATCH, identity_pool.MISMATCH):
        return None
    return Reading(float(pool["similarity"]), float(pool["since"]), observation.captured_at)


def _cannot_tell(observation: Observation) -> Reading | None:
    """Read for how long it has not been known whose face is seen; that it is known again, on frames that tell."""
    pool = _measure(observation, "identity_pool")
    waited_s = pool.get("cannot_tell_s")
    if waited_s is not None:
        return Reading(float(waited_s), observation.captured_at - float(waited_s), observation.captured_at)
    return _at(observation, 0.0) if pool.get("verdict") else None


def _off_deg(learner: str) -> Callable[[Observation], Reading | None]:
    """Read how far off its rest a learner found something, once the rest is known."""

    def read(observation: Observation) -> Reading | None:
        derived = _measure(observation, learner)
        return _at(observation, derived.get("off_deg")) if derived.get("calibrated") else None

    return read


def _lips(name: str) -> Callable[[Observation], Reading | None]:
    return lambda observation: _at(observation, _measure(observation, "lips").get(name))


def _speech_share(observation: Observation) -> Reading | None:
    speech = _measure(observation, "speech")
    if speech.get("share") is None:
        return None
    first_at, last_at = speech.get("first_at"), speech.get("last_at")
    started_at, ended_at = observation.span
    return Reading(
        float(speech["share"]),
        started_at if first_at is None else float(first_at),
        ended_at if last_at is None else float(last_at),
    )


def _whispered(observation: Observation) -> Reading | None:
    share = _measure(observation, "whisper").get("share")
    return None if share is None else Reading(float(share), *observation.span)


def _notification(observation: Observation) -> Reading | None:
    tones = _measure(observation, "tones")
    if tones.get("started_at") is None:
        return None if tones.get("share") is None else Reading(0.0, *observation.span)
    return Reading(float(tones["share"]), float(tones["started_at"]), float(tones["ended_at"]))


def _second_voice(observation: Observation) -> Reading | None:
    return _learnt(observation, "conversation", "second_s")


def _known_voice(observation: Observation) -> Reading | None:
    return _learnt(observation, "voices", "score")


def _keywords(observation: Observation) -> Reading | None:
    """Read how many keywords were said in the stretch that was heard; none where nothing had to be written down."""
    transcript = _measure(observation, "transcript")
    if not transcript.get("keywords"):
        return Reading(0.0, *observation.span)
    return Reading(float(len(transcript["keywords"])), float(transcript["first_at"]), observation.captured_at)


def _loop(observation: Observation) -> Reading | None:
    loop_s = _measure(observation, "sound_loops").get("loop_s")
    if loop_s is None:
        return None
    return Reading(float(loop_s), observation.captured_at - float(loop_s), observation.captured_at)


def _learnt(observation: Observation, learner: str, key: str) -> Reading | None:
    """Read what a learner derived, for the stretch of time it names."""
    derived = _measure(observation, learner)
    if derived.get(key) is None:
        return None
    started_at, ended_at = observation.span
    first_at, last_at = derived.get("first_at"), derived.get("last_at")
    return Reading(
        float(derived[key]),
        started_at if first_at is None else float(first_at),
        ended_at if last_at is None else float(last_at),
    )


def _loudness(observation: Observation) -> Reading | None:
    rms_dbfs = _measure(observation, "level").get("rms_dbfs")
    return None if rms_dbfs is None else Reading(float(rms_dbfs), *observation.span)


def _detail(observation: Observation) -> Reading | None:
    return _at(observation, _measure(observation, "camera").get("detail"))


def _light(observation: Observation) -> Reading | None:
    return _at(observation, _measure(observation, "camera").get("light"))


def _sharpness(observation: Observation) -> Reading | None:
    return _at(observation, _measure(observation, "camera").get("sharpness"))


def _unchanged(observation: Observation) -> Reading | None:
    loops = _measure(observation, "loops")
    if loops.get("unchanged_s") is None:
        return None
    return Reading(float(loops["unchanged_s"]), float(loops["unchanged_since"]), observation.captured_at)


def _attack(observation: Observation) -> Reading | None:
    return _at(observation, _measure(observation, "liveness_pool").get("attack"))


def _missed(observation: Observation) -> Reading | None:
    """Read how many movements of the challenge were not seen, from when the first of them was asked for."""
    challenge = _measure(observation, "challenge")
    if challenge.get("missed") is None:
        return None
    since = challenge.get("missed_since", observation.captured_at)
    return Reading(float(challenge["missed"]), float(since), observation.captured_at)


def _virtual_camera(observation: Observation) -> Reading | None:
    """Read how surely the camera is a program: the grade of the one whose name the page told; 0 for any other."""
    told = _measure(observation, BROWSER)
    if told.get("kind") != EventType.VIRTUAL_CAMERA:
        return None
    return _at(observation, 0.0 if told.get("ended") else told.get("grade", 1.0))


def _told(kind: EventType) -> Callable[[Observation], Reading | None]:
    """Make the reader of what a page tells of this kind: 1 from when it began, 0 from when it was over."""

    def read(observation: Observation) -> Reading | None:
        told = _measure(observation, BROWSER)
        return _at(observation, not told.get("ended")) if told.get("kind") == kind else None

    return read


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
        read=_loudness,
        standing=lambda link: None if link.audio_down_at is None else _SILENT_DBFS,
        yields_to=(EventType.CONNECTION_LOST,),
    ),
    EventType.CAMERA_COVERED: Rule(VIDEO, "camera", read=_detail, min_samples=2),
    EventType.CAMERA_STATIC: Rule(VIDEO, "loops", read=_unchanged, yields_to=(EventType.CAMERA_COVERED,)),
    EventType.LOW_LIGHT: Rule(VIDEO, "camera", read=_light, min_samples=3, yields_to=(EventType.CAMERA_COVERED,)),
    EventType.BLURRED: Rule(
        VIDEO,
        "camera",
        read=_sharpness,
        min_samples=3,
        yields_to=(EventType.CAMERA_COVERED, EventType.LOW_LIGHT),
    ),
    EventType.NO_FACE: Rule(VIDEO, "faces", FACE_DETECTOR, _possible_faces, yields_to=(EventType.CAMERA_COVERED,)),
    EventType.MULTIPLE_PERSONS: Rule(VIDEO, "persons", FACE_DETECTOR, _people, source="faces"),
    EventType.FACE_PARTIAL: Rule(VIDEO, "faces", FACE_DETECTOR, _visible_share, yields_to=(EventType.NO_FACE,)),
    EventType.FACE_TOO_FAR: Rule(VIDEO, "faces", FACE_DETECTOR, _width_px, yields_to=(EventType.NO_FACE,)),
    EventType.FACE_MISMATCH: Rule(VIDEO, "identity", FACE_EMBEDDER, _pooled_similarity),
    EventType.IDENTITY_UNSURE: Rule(
        VIDEO,
        "identity",
        FACE_EMBEDDER,
        _cannot_tell,
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
    EventType.PRESENTATION_ATTACK: Rule(VIDEO, "liveness_pool", LIVENESS, _attack, min_samples=3, source="liveness"),
    EventType.CHALLENGE_FAILED: Rule(VIDEO, "challenge", FACE_LANDMARKER, _missed, source="head_pose"),
    EventType.HEAD_TURNED: Rule(
        VIDEO,
        "head_line",
        FACE_LANDMARKER,
        _off_deg("head_line"),
        min_samples=3,
        yields_to=(EventType.NO_FACE,),
        source="head_pose",
    ),
    EventType.GAZE_OFF_SCREEN: Rule(
        VIDEO,
        "gaze_line",
        FACE_LANDMARKER,
        _off_deg("gaze_line"),
        min_samples=3,
        yields_to=(EventType.NO_FACE, EventType.HEAD_TURNED),
        source="gaze",
    ),
    EventType.PHONE: Rule(VIDEO, "objects_seen", OBJECT_DETECTOR, _thing("phone"), source="objects"),
    EventType.BOOK: Rule(VIDEO, "objects_seen", OBJECT_DETECTOR, _thing("book"), source="objects"),
    EventType.SECOND_SCREEN: Rule(VIDEO, "objects_seen", OBJECT_DETECTOR, _thing("screen"), source="objects"),
    EventType.LEFT_SEAT: Rule(
        VIDEO,
        "posture",
        BODY_LANDMARKER,
        _posture("shift"),
        min_samples=2,
        yields_to=(EventType.NO_FACE,),
        source="body",
    ),
    EventType.HAND_TO_FACE: Rule(
        VIDEO,
        "posture",
        BODY_LANDMARKER,
        _posture("hand_distance"),
        min_samples=3,
        yields_to=(EventType.NO_FACE, EventType.PHONE),
        source="body",
    ),
    EventType.BODY_MOVEMENT: Rule(
        VIDEO,
        "posture",
        BODY_LANDMARKER,
        _posture("movement"),
        min_samples=3,
        yields_to=(EventType.NO_FACE, EventType.LEFT_SEAT),
        source="body",
    ),
    EventType.SPEECH_OFF_CAMERA: Rule(
        AUDIO,
        "lips",
        VOICE_DETECTOR,
        _lips("off_camera"),
        min_samples=3,
        yields_to=(EventType.NO_FACE,),
        source="speech",
    ),
    EventType.LIPS_MOVING: Rule(AUDIO, "lips", FACE_LANDMARKER, _lips("silent"), min_samples=3, source="mouth"),
    EventType.WHISPER: Rule(AUDIO, "whisper", VOICE_DETECTOR, _whispered, min_samples=3),
    EventType.SPEECH_DETECTED: Rule(
        AUDIO,
        "speech",
        VOICE_DETECTOR,
        _speech_share,
        bridges_pauses=True,
        yields_to=(EventType.SPEECH_OFF_CAMERA, EventType.WHISPER),
    ),
    EventType.MULTIPLE_SPEAKERS: Rule(AUDIO, "conversation", VOICE_SEGMENTER, _second_voice, source="speakers"),
    EventType.LOOPED_AUDIO: Rule(AUDIO, "sound_loops", read=_loop),
    EventType.NOTIFICATION_SOUND: Rule(AUDIO, "tones", VOICE_DETECTOR, _notification),
    EventType.KEYWORD_SPOKEN: Rule(AUDIO, "transcript", SPEECH_RECOGNISER, _keywords),
    EventType.UNKNOWN_VOICE: Rule(
        AUDIO, "voices", VOICE_EMBEDDER, _known_voice, yields_to=(EventType.MULTIPLE_SPEAKERS,), source="voice"
    ),
    EventType.TAB_HIDDEN: Rule(BROWSER, BROWSER, read=_told(EventType.TAB_HIDDEN)),
    EventType.WINDOW_BLUR: Rule(BROWSER, BROWSER, read=_told(EventType.WINDOW_BLUR), yields_to=(EventType.TAB_HIDDEN,)),
    EventType.FULLSCREEN_EXIT: Rule(BROWSER, BROWSER, read=_told(EventType.FULLSCREEN_EXIT)),
    EventType.CLIPBOARD: Rule(BROWSER, BROWSER, read=_told(EventType.CLIPBOARD), is_moment=True),
    EventType.SECOND_DISPLAY: Rule(BROWSER, BROWSER, read=_told(EventType.SECOND_DISPLAY)),
    EventType.VIRTUAL_CAMERA: Rule(BROWSER, BROWSER, read=_virtual_camera),
}
"""In this order: what others yield to comes first."""
