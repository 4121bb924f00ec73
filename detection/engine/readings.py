"""How the value that a rule looks at is read from an observation: a ``Reading``, None where it says nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from detection.engine.learners import identity_pool
from detection.engine.observations import BROWSER, Observation
from detection.engine.policy import EventType


@dataclass(frozen=True, slots=True)
class Reading:
    """A rule's value in one sample, and the stretch of time it speaks for (a moment, for a frame)."""

    value: float
    started_at: float
    ended_at: float


def _at(observation: Observation, value: Any) -> Reading | None:
    return None if value is None else Reading(float(value), observation.captured_at, observation.captured_at)


def _measure(observation: Observation, detector: str) -> Mapping[str, Any]:
    measure = observation.measures.get(detector)
    return measure if isinstance(measure, Mapping) else {}


def possible_faces(observation: Observation) -> Reading | None:
    """Read how many faces are possibly there, pictures on the wall left out."""
    faces = _measure(observation, "faces")
    possible = faces.get("possible", faces.get("count"))
    return _at(observation, _measure(observation, "persons").get("visible", possible))


def people(observation: Observation) -> Reading | None:
    """Read how many people are in view."""
    return _at(observation, _measure(observation, "persons").get("count"))


def thing(word: str) -> Callable[[Observation], Reading | None]:
    """Make the reader of the score that several looks agree on; it speaks from the first of them to the last."""

    def read(observation: Observation) -> Reading | None:
        seen = _measure(observation, "objects_seen")
        since, until = seen.get(f"{word}_since"), seen.get(f"{word}_until")
        if since is None or until is None:
            return _at(observation, seen.get(word))
        return Reading(float(seen[word]), float(since), float(until))

    return read


def posture(name: str) -> Callable[[Observation], Reading | None]:
    """Make the reader of one of the posture's numbers."""
    return lambda observation: _at(observation, _measure(observation, "posture").get(name))


def width_px(observation: Observation) -> Reading | None:
    """Read how wide the largest face is."""
    return _at(observation, _measure(observation, "faces").get("width_px"))


def visible_share(observation: Observation) -> Reading | None:
    """Read how much of the largest face lies inside the picture."""
    return _at(observation, _measure(observation, "faces").get("visible_share"))


def pooled_similarity(observation: Observation) -> Reading | None:
    """Read what several frames say together; one that is sure speaks from the first of them on."""
    pool = _measure(observation, "identity_pool")
    if pool.get("verdict") not in (identity_pool.MATCH, identity_pool.MISMATCH):
        return None
    return Reading(float(pool["similarity"]), float(pool["since"]), observation.captured_at)


def cannot_tell(observation: Observation) -> Reading | None:
    """Read for how long it has not been known whose face is seen; that it is known again, on frames that tell."""
    pool = _measure(observation, "identity_pool")
    waited_s = pool.get("cannot_tell_s")
    if waited_s is not None:
        return Reading(float(waited_s), observation.captured_at - float(waited_s), observation.captured_at)
    return _at(observation, 0.0) if pool.get("verdict") else None


def off_deg(learner: str) -> Callable[[Observation], Reading | None]:
    """Make the reader of how far off its rest a learner found something, once the rest is known."""

    def read(observation: Observation) -> Reading | None:
        derived = _measure(observation, learner)
        return _at(observation, derived.get("off_deg")) if derived.get("calibrated") else None

    return read


def lips(name: str) -> Callable[[Observation], Reading | None]:
    """Make the reader of how lips and heard speech go together."""
    return lambda observation: _at(observation, _measure(observation, "lips").get(name))


def speech_share(observation: Observation) -> Reading | None:
    """Read how much of a window is speech; it speaks for the time in which somebody spoke."""
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


def whispered(observation: Observation) -> Reading | None:
    """Read how much of a window is whispered."""
    share = _measure(observation, "whisper").get("share")
    return None if share is None else Reading(float(share), *observation.span)


def notification(observation: Observation) -> Reading | None:
    """Read how much of a sound that has just ended was steady tones; it speaks for that sound."""
    tones = _measure(observation, "tones")
    if tones.get("started_at") is None:
        return None if tones.get("share") is None else Reading(0.0, *observation.span)
    return Reading(float(tones["share"]), float(tones["started_at"]), float(tones["ended_at"]))


def second_voice(observation: Observation) -> Reading | None:
    """Read for how long a second voice was heard."""
    return _learnt(observation, "conversation", "second_s")


def known_voice(observation: Observation) -> Reading | None:
    """Read how like the voice learnt the present one is."""
    return _learnt(observation, "voices", "score")


def keywords(observation: Observation) -> Reading | None:
    """Read how many keywords were said in the stretch that was heard; none where nothing had to be written down."""
    transcript = _measure(observation, "transcript")
    if not transcript.get("keywords"):
        return Reading(0.0, *observation.span)
    return Reading(float(len(transcript["keywords"])), float(transcript["first_at"]), observation.captured_at)


def loop(observation: Observation) -> Reading | None:
    """Read for how long the sound has repeated itself."""
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


def loudness(observation: Observation) -> Reading | None:
    """Read how loud a window is."""
    rms_dbfs = _measure(observation, "level").get("rms_dbfs")
    return None if rms_dbfs is None else Reading(float(rms_dbfs), *observation.span)


def detail(observation: Observation) -> Reading | None:
    """Read how much detail is in the picture."""
    return _at(observation, _measure(observation, "camera").get("detail"))


def light(observation: Observation) -> Reading | None:
    """Read how bright the face is, or the picture."""
    return _at(observation, _measure(observation, "camera").get("light"))


def sharpness(observation: Observation) -> Reading | None:
    """Read how sharp the picture is."""
    return _at(observation, _measure(observation, "camera").get("sharpness"))


def unchanged(observation: Observation) -> Reading | None:
    """Read for how long nothing has changed in the picture."""
    loops = _measure(observation, "loops")
    if loops.get("unchanged_s") is None:
        return None
    return Reading(float(loops["unchanged_s"]), float(loops["unchanged_since"]), observation.captured_at)


def attack(observation: Observation) -> Reading | None:
    """Read how much speaks for a print, a screen or a recording."""
    return _at(observation, _measure(observation, "liveness_pool").get("attack"))


def missed(observation: Observation) -> Reading | None:
    """Read how many movements of the challenge were not seen, from when the first of them was asked for."""
    challenge = _measure(observation, "challenge")
    if challenge.get("missed") is None:
        return None
    since = challenge.get("missed_since", observation.captured_at)
    return Reading(float(challenge["missed"]), float(since), observation.captured_at)


def virtual_camera(observation: Observation) -> Reading | None:
    """Read how surely the camera is a program: the grade of the one whose name the page told; 0 for any other."""
    told = _measure(observation, BROWSER)
    if told.get("kind") != EventType.VIRTUAL_CAMERA:
        return None
    return _at(observation, 0.0 if told.get("ended") else told.get("grade", 1.0))


def told(kind: EventType) -> Callable[[Observation], Reading | None]:
    """Make the reader of what a page tells of this kind: 1 from when it began, 0 from when it was over."""

    def read(observation: Observation) -> Reading | None:
        told = _measure(observation, BROWSER)
        return _at(observation, not told.get("ended")) if told.get("kind") == kind else None

    return read
