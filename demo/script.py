"""What happens in the scripted exam, as data: who is seen, who is heard, and which incidents that must lead to.

Times are seconds of the clip. People are called by letters: A is enrolled, B and C are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a person sits: the face's centre as shares of the frame, and the face's width in pixels of 640."""

    x: float
    y: float
    face_px: float


@dataclass(frozen=True, slots=True)
class Scene:
    """Who is before the camera from ``start_s`` on. People walk in and out within the scene's first second."""

    start_s: float
    places: Mapping[str, Place]

    @property
    def title(self) -> str:
        return " and ".join(self.places) or "nobody"


@dataclass(frozen=True, slots=True)
class Utterance:
    """Somebody out of the picture reads ``text``; it is cut or repeated to end at ``end_s``."""

    start_s: float
    end_s: float
    voice: str
    text: str


@dataclass(frozen=True, slots=True)
class Expected:
    """An incident the script must lead to. Its onset and end must lie within these seconds of the clip."""

    event_type: str
    opens_s: tuple[float, float]
    closes_s: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Script:
    """A whole clip."""

    name: str
    duration_s: float
    scenes: tuple[Scene, ...]
    utterances: tuple[Utterance, ...] = ()
    expected: tuple[Expected, ...] = ()


ALONE = Place(0.5, 0.46, 150)
LEFT = Place(0.29, 0.48, 138)
RIGHT = Place(0.76, 0.44, 122)
A_ALONE: Mapping[str, Place] = {"A": ALONE}
B_ALONE: Mapping[str, Place] = {"B": ALONE}
NOBODY: Mapping[str, Place] = {}

_EARLY_S = 0.5  # somebody half out of the picture is nobody yet, and a sound starts with a breath
_LATE_S = 1.6  # walking in or out, one sample, one audio window
_COMPARE_S = 5.0 + _LATE_S  # without a doubt a face is compared every five seconds


def _expect(event_type: str, start_s: float, end_s: float, *, onset_late_s: float = _LATE_S) -> Expected:
    return Expected(
        event_type,
        opens_s=(start_s - _EARLY_S, start_s + onset_late_s),
        closes_s=(end_s - _EARLY_S, end_s + _LATE_S),
    )


EXAM = Script(
    name="exam",
    duration_s=92.0,
    scenes=(
        Scene(0.0, A_ALONE),
        Scene(12.0, NOBODY),
        Scene(24.0, A_ALONE),
        Scene(48.0, B_ALONE),
        Scene(62.0, A_ALONE),
        Scene(68.0, {"A": LEFT, "C": RIGHT}),
        Scene(78.0, A_ALONE),
    ),
    utterances=(
        Utterance(
            33.0,
            42.0,
            "gmw/en",
            "The second answer is the one about photosynthesis. Write down that light becomes sugar. "
            "Then look at the next question, and read me what it says about water.",
        ),
        Utterance(
            82.0,
            88.0,
            "gmw/en-US+f2",
            "Number nine is false. Number ten is true, because the sum of the angles is one hundred and eighty "
            "degrees.",
        ),
    ),
    expected=(
        _expect("NO_FACE", 12.0, 24.0),
        _expect("SPEECH_DETECTED", 33.0, 42.0),
        _expect("FACE_MISMATCH", 48.0, 62.0, onset_late_s=_COMPARE_S),
        _expect("MULTIPLE_PERSONS", 68.0, 78.0),
        _expect("SPEECH_DETECTED", 82.0, 88.0),
    ),
)
"""The exam that ``make demo`` stages: about a minute and a half."""

JOURNEY = Script(
    name="journey",
    duration_s=36.0,
    scenes=(Scene(0.0, A_ALONE), Scene(7.0, NOBODY), Scene(15.0, B_ALONE), Scene(30.0, A_ALONE)),
    utterances=(Utterance(24.0, 30.0, "gmw/en", "Write down that light becomes sugar. Then look at question four."),),
    expected=(
        _expect("NO_FACE", 7.0, 15.0),
        _expect("FACE_MISMATCH", 15.0, 30.0, onset_late_s=_COMPARE_S),
        _expect("SPEECH_DETECTED", 24.0, 30.0),
    ),
)
"""A short one, for the test that goes through a real browser."""

CALM = Script(name="calm", duration_s=12.0, scenes=(Scene(0.0, A_ALONE),))
"""Nothing but A, to be looped: for load and for visitors' eyes."""
