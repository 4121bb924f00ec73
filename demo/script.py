"""What happens in the scripted exam, as data: who is seen, who is heard, and which incidents that must lead to.

Times are seconds of the clip. People are called by letters: A is enrolled, B and C are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_EARLY_S = 0.6  # one sample, or one audio window that has the beginning in its end
_LATE_S = 1.6


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
    """An incident the script must lead to, and how late its onset may be noticed."""

    event_type: str
    start_s: float
    end_s: float
    onset_late_s: float = 1.6
    """Walking in or out, one sample, one audio window."""

    @property
    def opens_s(self) -> tuple[float, float]:
        """Return between which seconds of the clip the onset must lie."""
        return (self.start_s - _EARLY_S, self.start_s + self.onset_late_s)

    @property
    def closes_s(self) -> tuple[float, float]:
        """Return between which seconds of the clip the end must lie."""
        return (self.end_s - _EARLY_S, self.end_s + _LATE_S)


@dataclass(frozen=True, slots=True)
class Script:
    """A whole clip."""

    name: str
    duration_s: float
    scenes: tuple[Scene, ...]
    utterances: tuple[Utterance, ...] = ()
    expected: tuple[Expected, ...] = ()

    def cues(self) -> list[tuple[float, str]]:
        """Return what is to be seen and heard, by the second at which it begins."""
        seen = [(scene.start_s, f"in the picture: {scene.title}") for scene in self.scenes]
        heard = [(utterance.start_s, "somebody speaks") for utterance in self.utterances]
        silent = [(utterance.end_s, "nobody speaks any more") for utterance in self.utterances]
        return sorted([*seen, *heard, *silent], key=lambda cue: cue[0])


ALONE = Place(0.5, 0.46, 150)
LEFT = Place(0.29, 0.48, 138)
RIGHT = Place(0.76, 0.44, 122)
A_ALONE: Mapping[str, Place] = {"A": ALONE}
B_ALONE: Mapping[str, Place] = {"B": ALONE}
NOBODY: Mapping[str, Place] = {}

_COMPARE_S = 5.0 + 1.6  # without a doubt a face is compared every five seconds

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
        Expected("NO_FACE", 12.0, 24.0),
        Expected("SPEECH_DETECTED", 33.0, 42.0),
        Expected("FACE_MISMATCH", 48.0, 62.0, onset_late_s=_COMPARE_S),
        Expected("MULTIPLE_PERSONS", 68.0, 78.0),
        Expected("SPEECH_DETECTED", 82.0, 88.0),
    ),
)
"""The exam that ``make demo`` stages: about a minute and a half."""

JOURNEY = Script(
    name="journey",
    duration_s=28.0,
    scenes=(Scene(0.0, A_ALONE), Scene(7.0, NOBODY), Scene(13.0, B_ALONE), Scene(24.0, A_ALONE)),
    utterances=(Utterance(18.0, 23.0, "gmw/en", "Write down that light becomes sugar. Then look at question four."),),
    expected=(
        Expected("NO_FACE", 7.0, 13.0),
        Expected("FACE_MISMATCH", 13.0, 24.0, onset_late_s=_COMPARE_S),
        Expected("SPEECH_DETECTED", 18.0, 23.0),
    ),
)
"""A short one, for the test that goes through a real browser."""

CALM = Script(name="calm", duration_s=12.0, scenes=(Scene(0.0, A_ALONE),))
"""Nothing but A, to be looped: for load and for visitors' eyes."""
