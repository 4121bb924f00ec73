"""Count people: faces, those whose face is not seen, less pictures of people on the wall.

A face that keeps its place in the picture to the centimetre for a minute, while another one moves, is a poster, a
photograph or a screen saver. Nobody sits that still. It stays one until it moves itself, also when it is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from detection.engine import boxes
from detection.engine.boxes import Box
from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy

State = Mapping[str, Any]

LOOKS: Final = 3
VOTES: Final = 2
_MIN_AREA = 0.02
"""Of the picture: smaller is too far away to help, or a picture of somebody."""
_PART_OF = 0.6
"""Share from which on a box lies in another: arms and shoulders are found once more as persons of their own."""
STILL_S: Final = 60.0
_STILL_SIGHTINGS = 30
_STILL = 0.08
"""In widths of the face, a centimetre: a found face's box trembles by half of it in a picture that stands still."""
_FORGET_S = 300.0
_MAX_PLACES = 8


class Persons:
    """Derives ``count`` (people), ``faces`` and ``visible`` (sure and possible faces, pictures left out), ``faceless``
    and ``pictures``.
    """

    name = "persons"
    streams = frozenset({VIDEO})

    def learn(self, state: State, observation: Observation, policy: Policy) -> tuple[State, Mapping[str, Any] | None]:
        """See one frame: its faces, and its people where ``objects`` was due."""
        faces = observation.measures.get("faces")
        if not isinstance(faces, Mapping):
            return state, None
        found: Sequence[Box] = faces.get("boxes_xyxy", [])
        places, is_picture = _follow(state.get("places", []), found, observation.captured_at)
        alive = [box for box, picture in zip(found, is_picture, strict=True) if not picture]
        looks = _look(state.get("looks", []), observation, alive, policy)
        faceless = _agreed([count for _, count in looks])
        scores: Sequence[float] = faces.get("scores", [])
        sure_score = policy.detectors.faces.sure_score
        sure_pictures = sum(picture and score >= sure_score for picture, score in zip(is_picture, scores, strict=False))
        sure = int(faces["count"]) - sure_pictures
        derived = {
            "count": sure + faceless,
            "faces": sure,
            "visible": int(faces.get("possible", faces["count"])) - sum(is_picture),
            "faceless": faceless,
            "pictures": sum(is_picture),
        }
        return {"places": places, "looks": looks}, derived


def _look(looks: Sequence[Any], observation: Observation, alive: Sequence[Box], policy: Policy) -> list[Any]:
    """Return the last looks, each its capture time and how many people had no visible face."""
    parameters = policy.detectors.objects
    oldest_at = observation.captured_at - LOOKS * parameters.interval_s - policy.gap_s
    recent = [look for look in looks if look[0] >= oldest_at]
    objects = observation.measures.get("objects")
    if not isinstance(objects, Mapping):
        return recent
    width, height = objects["size_wh"]
    people = [
        thing["box_xyxy"]
        for thing in objects["found"]
        if thing["kind"] == "person"
        and thing["score"] >= parameters.person_score
        and boxes.area(thing["box_xyxy"]) >= _MIN_AREA * width * height
    ]
    return [*recent[1 - LOOKS :], [observation.captured_at, _count_faceless(people, alive)]]


def _count_faceless(people: Sequence[Box], faces: Sequence[Box]) -> int:
    """Count the people to whom none of the faces belongs; without any face the largest is the candidate."""
    counted = [box for box in people if any(boxes.contains(box, boxes.middle(face)) for face in faces)]
    others = sorted((box for box in people if box not in counted), key=boxes.area, reverse=True)
    faceless = 0
    for box in others:
        if any(boxes.shared(box, other) >= _PART_OF for other in counted):
            continue
        faceless += bool(faces) or bool(counted)
        counted.append(box)
    return faceless


def _agreed(counts: Sequence[int]) -> int:
    """Return how many two of the looks agree on at least."""
    return sorted(counts)[-VOTES] if len(counts) >= VOTES else 0


def _follow(places: Sequence[Sequence[float]], found: Sequence[Box], at: float) -> tuple[list[list[float]], list[bool]]:
    """Follow where faces are; return the places, JSON-able, and for each face whether it is a picture."""
    free = [place for place in map(_Place._make, places) if at - place.seen_at <= _FORGET_S]
    followed: list[_Place] = []
    for box in found:
        nearest = min(free, key=partial(_distance, box), default=None)
        if nearest is not None and _distance(box, nearest) <= 1:
            free.remove(nearest)
        else:
            nearest = None
        followed.append(_seen(nearest, box, at))
    everywhere = [*followed, *free]
    followed = [place._replace(picture=_is_picture(place, everywhere, at)) for place in followed]
    newest = sorted([*followed, *free], key=lambda place: -place.seen_at)[:_MAX_PLACES]
    return [list(place) for place in newest], [place.picture for place in followed]


class _Place(NamedTuple):
    """Where a face is: its middle and width when it came to rest there."""

    x: float
    y: float
    width: float
    since: float
    seen_at: float
    sightings: int = 1
    moved_at: float = 0.0
    """When it last came from elsewhere; 0: never."""
    picture: bool = False
    """Whether it was found to be a picture since it came to rest."""


def _distance(box: Box, place: _Place) -> float:
    """Return how far a face is from a place, in widths of the face."""
    x, y = boxes.middle(box)
    return math.hypot(place.x - x, place.y - y) / max(box[2] - box[0], 1.0)


def _seen(place: _Place | None, box: Box, at: float) -> _Place:
    """Return the place of a face, which came to rest there just now or is still there."""
    (x, y), width = boxes.middle(box), max(box[2] - box[0], 1.0)
    if place is None:
        return _Place(x, y, width, at, at)
    if _distance(box, place) > _STILL or abs(place.width / width - 1) > 2 * _STILL:
        return _Place(x, y, width, at, at, moved_at=at)
    return place._replace(seen_at=at, sightings=place.sightings + 1)


def _is_picture(place: _Place, places: Sequence[_Place], at: float) -> bool:
    if place.picture:
        return True
    if at - place.since < STILL_S or place.sightings < _STILL_SIGHTINGS:
        return False
    return any(other.moved_at > place.since for other in places if other is not place)
