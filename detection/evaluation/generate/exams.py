"""Generated exams: the demo's people, room and voices, in scripts that chance writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from demo import settings
from demo.material import write_clip
from demo.script import ALONE, LEFT, RIGHT, Expected, Place, Scene, Script, Utterance
from detection.engine.policy import DEFAULT_POLICY, merge
from detection.engine.weights import weights_path
from detection.evaluation.generate.recordings import TEXTS, VOICES
from detection.evaluation.generate.tables import write_table

CANDIDATES = {"A": "photo_a_1", "B": "photo_b_2"}
"""Who can sit an exam: those with a second photograph to enrol, taken years apart."""
_LETTERS = ("A", "B", "C")
_DURATION_S = 120.0
_CALM_EVERY = 5
"""Each fifth clip has nothing in it, for what is found there is false."""
_WHAT = """{count} exams of {duration:g} s each, WebM with sound: cut-out photographs of three people that sway, walk
in and out in a painted room with changing light and sensor noise, and synthetic voices in a room with noise and echo.
The reference is another photograph of the same person, taken years apart. People are still pictures: gaze, lips and
liveness mean nothing here, and policy.json leaves out what moving photographs rightly trigger (--policy)."""


@dataclass(slots=True)
class _Draft:
    """A script as it is written."""

    candidate: str
    rng: np.random.Generator
    at_s: float = 0.0
    scenes: list[Scene] = field(default_factory=list)
    utterances: list[Utterance] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)

    def between(self, low: float, high: float) -> float:
        """Return a length in seconds."""
        return round(float(self.rng.uniform(low, high)), 1)

    def other(self) -> str:
        """Return somebody who is not the candidate."""
        return str(self.rng.choice([letter for letter in _LETTERS if letter != self.candidate]))

    def show(self, places: Mapping[str, Place]) -> None:
        """Let a scene begin now."""
        self.scenes.append(Scene(self.at_s, places))


def make(directory: Path, rng: np.random.Generator, count: int) -> str:
    """Write ``count`` clips, ``exam.csv`` and the references; return what they are."""
    rows: list[tuple[object, ...]] = []
    for letter, photograph in CANDIDATES.items():
        shutil.copyfile(weights_path(photograph), directory / f"reference_{letter}.jpg")
    for index in range(count):
        candidate = list(CANDIDATES)[index % len(CANDIDATES)]
        script = _write(f"exam_{index:02}", candidate, rng, calm=index % _CALM_EVERY == _CALM_EVERY - 1)
        write_clip(script, directory / f"{script.name}.webm")
        clip = f"{script.name}.webm", f"reference_{candidate}.jpg"
        rows += [(*clip, e.event_type, e.start_s, e.end_s) for e in script.expected] or [(*clip, "", "", "")]
    write_table(directory / "exam.csv", ["media", "reference", "event_type", "start_s", "end_s"], rows)
    policy = merge(DEFAULT_POLICY.to_dict(), settings.policy_overrides())
    (directory / "policy.json").write_text(json.dumps(policy, indent=1))
    return _WHAT.format(count=count, duration=_DURATION_S)


def _write(name: str, candidate: str, rng: np.random.Generator, *, calm: bool) -> Script:
    draft = _Draft(candidate, rng)
    draft.show({candidate: ALONE})
    while not calm:
        draft.at_s += draft.between(8, 14)
        if draft.at_s > _DURATION_S - 24:
            break
        _EPISODES[int(rng.integers(len(_EPISODES)))](draft)
    return Script(name, _DURATION_S, tuple(draft.scenes), tuple(draft.utterances), tuple(draft.expected))


def _leave(draft: _Draft) -> None:
    """The candidate walks out of the picture and comes back."""
    _scene(draft, "NO_FACE", {}, draft.between(6, 12))


def _swap(draft: _Draft) -> None:
    """Somebody else sits down in the candidate's place."""
    _scene(draft, "FACE_MISMATCH", {draft.other(): ALONE}, draft.between(10, 16))


def _company(draft: _Draft) -> None:
    """Somebody joins the candidate."""
    _scene(draft, "MULTIPLE_PERSONS", {draft.candidate: LEFT, draft.other(): RIGHT}, draft.between(5, 12))


def _scene(draft: _Draft, event: str, places: Mapping[str, Place], length_s: float) -> None:
    start_s = draft.at_s
    draft.show(places)
    draft.at_s = round(start_s + length_s, 1)
    draft.expected.append(Expected(event, start_s, draft.at_s))
    draft.show({draft.candidate: ALONE})


def _speech(draft: _Draft) -> None:
    """Somebody out of the picture speaks."""
    start_s, end_s = draft.at_s, round(draft.at_s + draft.between(4, 9), 1)
    draft.utterances.append(Utterance(start_s, end_s, str(draft.rng.choice(VOICES)), str(draft.rng.choice(TEXTS))))
    draft.expected.append(Expected("SPEECH_DETECTED", start_s, end_s))
    draft.at_s = end_s


_EPISODES: tuple[Callable[[_Draft], None], ...] = (_leave, _swap, _company, _speech)
