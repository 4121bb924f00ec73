"""One rule's suspicion and finding over time: when it began, how far it went, what was seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from detection.engine.observations import PRIVATE, TECHNICAL, Observation
from detection.engine.policy import SCALES, EventType, RulePolicy
from detection.engine.rulebook import Reading, Rule

Phase = Literal["opened", "closed"]

EPSILON_S = 1e-3
"""Capture times are no better than this; without it, six steps of half a second are sometimes not three seconds."""

_LEFT_OUT = frozenset({"chunks"}) | PRIVATE
"""Measures that findings do not repeat: bulky ones are stored with the sample, private ones nowhere."""


@dataclass(frozen=True, slots=True)
class Change:
    """A finding that opened or closed. Times are capture times, Unix seconds.

    ``started_at``: the onset. ``decided_at``: when the hold time was fulfilled. ``ended_at``: until when it was seen;
    None while open. ``value``: the measure at the decision; ``peak_value`` and ``peak_at``: at its most extreme so far.
    ``sample_ids``: of onset, peak and decision. ``frame_ids``: the frames of these moments, each once, also where the
    finding itself is about sound or the connection. ``measures``: under ``onset``, ``decision`` and ``peak`` what the
    detector measured, under the detector's name. ``model``: the network that measured; empty where none did.
    """

    finding_id: str
    event_type: EventType
    phase: Phase
    started_at: float
    decided_at: float
    ended_at: float | None
    value: float
    peak_value: float
    peak_at: float
    sample_ids: tuple[str, ...]
    measures: dict[str, Any]
    rule: RulePolicy
    model: str
    frame_ids: tuple[str, ...] = ()


@dataclass(slots=True)
class Track:
    """A suspicion, and from ``finding_id`` on a finding."""

    started_at: float
    last_at: float
    """Until when it was seen beyond the threshold."""
    seen_at: float
    """Until when anything was known."""
    value: float
    peak_value: float
    peak_at: float
    samples: list[str]
    """Of onset, peak and decision."""
    frames: list[str]
    measures: dict[str, Any]
    count: int = 1
    calm_at: float | None = None
    """Since when it has been calm."""
    standing: bool = False
    """Whether the value holds by itself as time passes, until the link changes."""
    finding_id: str = ""
    decided_at: float = 0.0

    @property
    def is_open(self) -> bool:
        """Return whether this is a finding; else it is a suspicion."""
        return bool(self.finding_id)

    def copy(self) -> Track:
        """Return an independent copy."""
        return dataclasses.replace(
            self, samples=list(self.samples), frames=list(self.frames), measures=dict(self.measures)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form that ``from_dict`` reads."""
        return {name: getattr(self, name) for name in _TRACK_FIELDS}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Track:
        """Build from ``to_dict``'s result."""
        return cls(**data)


_TRACK_FIELDS = tuple(f.name for f in dataclasses.fields(Track))


@dataclass(frozen=True, slots=True)
class Sight:
    """One value of one rule, with what it was read from."""

    reading: Reading
    observation: Observation
    frame_id: str
    """The frame last seen at that moment."""
    standing: bool = False


def is_beyond(event: EventType, value: float, threshold: float) -> bool:
    """Return whether a value is on the trouble's side of a threshold."""
    return value < threshold if SCALES[event].below else value >= threshold


def is_more_extreme(event: EventType, value: float, than: float) -> bool:
    """Return whether a value is deeper in trouble than another."""
    return value < than if SCALES[event].below else value > than


def begin(rule: Rule, sight: Sight, *, not_before: float) -> Track:
    """Start a suspicion with the first value beyond ``enter``; it overlaps nothing that ended at ``not_before``."""
    reading = sight.reading
    started_at = max(reading.started_at, not_before)
    return Track(
        started_at=started_at,
        last_at=max(started_at, reading.ended_at),
        seen_at=sight.observation.captured_at,
        value=reading.value,
        peak_value=reading.value,
        peak_at=max(started_at, reading.ended_at),
        samples=[sight.observation.sample_id] * 3,
        frames=[sight.frame_id] * 3,
        measures={"onset": reason(rule, sight.observation), "peak": reason(rule, sight.observation)},
        standing=sight.standing,
    )


def go_on(track: Track, event: EventType, rule: Rule, sight: Sight) -> None:
    """Note one more value beyond ``exit``."""
    reading = sight.reading
    track.count += 1
    track.calm_at = None
    track.last_at = max(track.last_at, reading.ended_at)
    if is_more_extreme(event, reading.value, track.peak_value):
        track.peak_value, track.peak_at = reading.value, max(track.started_at, reading.ended_at)
        track.samples[1], track.frames[1] = sight.observation.sample_id, sight.frame_id
        track.measures["peak"] = reason(rule, sight.observation)


def decide(track: Track, rule: Rule, sight: Sight, finding_id: str) -> None:
    """Turn a suspicion into a finding, by the sample that fulfilled the hold time."""
    decide_by_time(track, track.last_at, finding_id)
    track.value = sight.reading.value
    track.samples[2], track.frames[2] = sight.observation.sample_id, sight.frame_id
    track.measures["decision"] = reason(rule, sight.observation)


def decide_by_time(track: Track, at: float, finding_id: str) -> None:
    """Turn a suspicion that stands by itself into a finding when its hold time has passed."""
    track.finding_id, track.decided_at, track.last_at = finding_id, at, max(track.last_at, at)
    track.measures["decision"] = track.measures["onset"]


def change(track: Track, event: EventType, rule: Rule, policy: RulePolicy, ended_at: float | None) -> Change:
    """Tell of a finding; ``ended_at`` None says that it opened."""
    return Change(
        finding_id=track.finding_id,
        event_type=event,
        phase="opened" if ended_at is None else "closed",
        started_at=track.started_at,
        decided_at=track.decided_at,
        ended_at=ended_at,
        value=track.value,
        peak_value=track.peak_value,
        peak_at=track.peak_at,
        sample_ids=tuple(track.samples),
        measures=dict(track.measures),
        rule=policy,
        model=_model(track, rule),
        frame_ids=tuple(dict.fromkeys(frame for frame in track.frames if frame)),
    )


def _model(track: Track, rule: Rule) -> str:
    """Return the network that measured what was decided on: the rule's usual one, unless a measure names another.

    A decision may fall on a sample that its network did not look at; then the onset or the peak names it.
    """
    for moment in ("decision", "onset", "peak"):
        measure = track.measures.get(moment, {}).get(rule.detector)
        if isinstance(measure, Mapping) and measure.get("model"):
            return str(measure["model"])
    return rule.model


def reason(rule: Rule, observation: Observation) -> dict[str, Any]:
    """Return the part of an observation that a finding keeps: its own detector's measure, or the technical event.

    What a learner derived names the network that measured what it was derived from, where that is not the usual one.
    """
    for name in (rule.detector, TECHNICAL):
        measure = observation.measures.get(name)
        if isinstance(measure, Mapping):
            source = observation.measures.get(rule.source)
            named = {"model": source["model"]} if isinstance(source, Mapping) and source.get("model") else {}
            return {name: {**named, **{key: value for key, value in measure.items() if key not in _LEFT_OUT}}}
    return {}
