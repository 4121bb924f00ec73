"""Let several looks vote on what lies about: a thing counts when two of the last four looks saw it in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from detection.engine import boxes
from detection.engine.boxes import Box
from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy

State = Mapping[str, Any]
Thing = tuple[str, float, Box]
"""Kind, score, box in widths of the picture."""

LOOKS: Final = 4
VOTES: Final = 2
_GROUPS: Final[Mapping[str, frozenset[str]]] = {
    "phone": frozenset({"phone", "remote"}),
    "book": frozenset({"book"}),
    "screen": frozenset({"screen", "laptop"}),
}
"""What the network calls things → what they count as. In 79 photographs of desks and people at work two of
the 22 phones, and nothing else, were taken for remote controls at 0.4."""
_MAX_PHONE_AREA = 0.3
"""As a share of the picture's width squared: what fills half of the picture is a face, a hand or a sleeve."""
_PHONE_FACES = (0.25, 4.0)
"""A phone's long side, 15 cm, is about as long as a face is wide; nearer to the camera or foreshortened it is more or
less, but not by more than this."""


class ObjectsSeen:
    """Derives for ``phone``, ``book`` and ``screen`` the score, since when and until when it was seen.

    The score is the one that two of the last four looks reached; 0 where only one or none saw anything.
    """

    name = "objects_seen"
    streams = frozenset({VIDEO})

    def learn(self, state: State, observation: Observation, policy: Policy) -> tuple[State, Mapping[str, Any] | None]:
        """See one frame; only those that ``objects`` was due on say anything."""
        measure = observation.measures.get("objects")
        if not isinstance(measure, Mapping):
            return state, None
        width = max(int(measure["size_wh"][0]), 1)
        face = _largest_face(observation, width)
        chin = face[3] if face else state.get("chin")
        things = [
            [kind, score, *box] for kind, score, box in _things(measure, width) if _plausible(kind, box, face, chin)
        ]
        oldest_at = observation.captured_at - LOOKS * policy.detectors.objects.interval_s - policy.gap_s
        looks = [look for look in state.get("looks", []) if look[0] >= oldest_at][1 - LOOKS :]
        looks = [*looks, [observation.captured_at, things]]
        derived: dict[str, Any] = {}
        for word, kinds in _GROUPS.items():
            derived |= _vote(word, kinds, looks)
        return {"looks": looks, "chin": chin}, derived


def _things(measure: Mapping[str, Any], width: int) -> list[Thing]:
    wanted = frozenset().union(*_GROUPS.values())
    return [
        (thing["kind"], float(thing["score"]), [round(edge / width, 4) for edge in thing["box_xyxy"]])
        for thing in measure["found"]
        if thing["kind"] in wanted
    ]


def _largest_face(observation: Observation, width: int) -> list[float] | None:
    faces = observation.measures.get("faces")
    found = faces.get("boxes_xyxy") if isinstance(faces, Mapping) else None
    return [edge / width for edge in found[0]] if found else None


def _plausible(kind: str, box: Box, face: Box | None, chin: float | None) -> bool:
    """Tell whether a thing can be what it is called, from its size, and whether it lies within the candidate's reach.

    Books at the height of the face and above stand on a shelf; where the face was last seen decides while it is not.
    """
    if kind in _GROUPS["phone"]:
        if boxes.area(box) > _MAX_PHONE_AREA:
            return False
        if face is not None:
            faces_long = max(box[2] - box[0], box[3] - box[1]) / max(face[2] - face[0], 1e-6)
            return _PHONE_FACES[0] <= faces_long <= _PHONE_FACES[1]
    if kind == "book" and chin is not None:
        return boxes.middle(box)[1] > chin
    return True


def _vote(word: str, kinds: frozenset[str], looks: Sequence[Any]) -> dict[str, Any]:
    """Return the best agreement of the looks on one place, under ``word``, ``word_since`` and ``word_until``."""
    seen = [(at, score, box) for at, things in looks for kind, score, *box in things if kind in kinds]
    best, since, until = 0.0, 0.0, 0.0
    for _, _, place in seen:
        votes = _best_per_look((at, score) for at, score, box in seen if boxes.same_place(place, box))
        if len(votes) < VOTES:
            continue
        agreed = sorted(votes.values())[-VOTES]
        if agreed > best:
            supporters = [at for at, score in votes.items() if score >= agreed]
            best, since, until = agreed, min(supporters), max(supporters)
    if not best:
        return {word: 0.0}
    return {word: round(best, 3), f"{word}_since": since, f"{word}_until": until}


def _best_per_look(sightings: Any) -> dict[float, float]:
    votes: dict[float, float] = {}
    for at, score in sightings:
        votes[at] = max(score, votes.get(at, 0.0))
    return votes
