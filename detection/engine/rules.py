"""Decide over time: observations in, opened and closed findings out.

Pure: no clock, no store; what it knows is in ``RulesState``. Observations may come late, twice and in any order. They
count in the order of their capture: at once where nothing can be missing before them, because they name the one judged
last as the one before; otherwise when the newest is ``lateness_s`` ahead. For each event type a value
beyond ``enter`` raises a suspicion, which becomes a finding when it lasts ``hold_s`` and ends when it is calm for
``release_s``. Time that nobody saw accuses nobody: a gap in a stream ends what its samples had shown, at the last one.
"""

from __future__ import annotations

import bisect
import math
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from detection.engine.findings import EPSILON_S, Change, Phase, Track
from detection.engine.judge import Judge
from detection.engine.learners import Memory, identity_pool
from detection.engine.learners.identity_pool import IdentityPool
from detection.engine.link import Link, part_of
from detection.engine.observations import BROWSER, TECHNICAL, Observation
from detection.engine.policy import EventType, Policy

__all__ = ["Advance", "Change", "Phase", "RulesState", "advance", "close"]

_ARRIVAL_S = 0.5
"""How long after its capture a sample usually arrives; ``now`` minus this is taken for the newest capture time."""
_UNSEEN_AFTER_S = 10.0
"""By then whatever was captured has been analysed or dropped as stale: a stream without samples since has a gap."""
_RECENT = 16
"""Ids of judged samples remembered, to tell a repeated one from a late one."""


@dataclass(frozen=True, slots=True)
class RulesState:
    """Where a session's rules stand. Treat as a value: ``advance`` returns a new one."""

    newest_at: float = -math.inf
    """Latest capture time that was seen."""
    judged_at: Mapping[str, float] = field(default_factory=dict)
    """Per stream (technical events: per part of the link; a page's: per kind), until when it has been judged."""
    recent: tuple[str, ...] = ()
    pending: tuple[Observation, ...] = ()
    tracks: Mapping[EventType, Track] = field(default_factory=dict)
    free_at: Mapping[EventType, float] = field(default_factory=dict)
    """Per event type, from when on a new suspicion may begin: after the finding before, and its cooldown."""
    link: Link = field(default_factory=Link)
    memory: Memory = field(default_factory=dict)
    """What learners know of the session; empty once it has ended."""
    frame_id: str = ""
    """The frame judged last."""
    closed: bool = False

    @property
    def attentive(self) -> bool:
        """Return whether the face is in doubt, so that every frame should be compared."""
        doubted = identity_pool.wants_more(self.memory.get(IdentityPool.name, {}))
        return doubted or EventType.FACE_MISMATCH in self.tracks

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form that ``from_dict`` reads."""
        return {
            "newest_at": self.newest_at if math.isfinite(self.newest_at) else None,
            "judged_at": dict(self.judged_at),
            "recent": list(self.recent),
            "pending": [observation.to_dict() for observation in self.pending],
            "tracks": {event.value: track.to_dict() for event, track in self.tracks.items()},
            "free_at": {event.value: at for event, at in self.free_at.items()},
            "link": self.link.to_dict(),
            "memory": dict(self.memory),
            "frame_id": self.frame_id,
            "closed": self.closed,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RulesState:
        """Build from ``to_dict``'s result; an empty dictionary is a session that has seen nothing."""
        if not data:
            return cls()
        return cls(
            newest_at=-math.inf if data["newest_at"] is None else data["newest_at"],
            judged_at=data["judged_at"],
            recent=tuple(data["recent"]),
            pending=tuple(Observation.from_dict(observation) for observation in data["pending"]),
            tracks={EventType(name): Track.from_dict(track) for name, track in data["tracks"].items()},
            free_at={EventType(name): at for name, at in data["free_at"].items()},
            link=Link.from_dict(data["link"]),
            memory=data["memory"],
            frame_id=data["frame_id"],
            closed=data["closed"],
        )


@dataclass(frozen=True, slots=True)
class Advance:
    """What a step came to.

    ``attentive``: the face is in doubt, compare every frame. ``late``: how many observations came after the rules had
    passed their capture time, and did not count.
    """

    state: RulesState
    changes: list[Change]
    attentive: bool
    late: int


def _new_id() -> str:
    return uuid.uuid4().hex


def advance(
    state: RulesState,
    observations: Iterable[Observation],
    policy: Policy,
    *,
    now: float | None = None,
    flush: bool = False,
    new_id: Callable[[], str] = _new_id,
) -> Advance:
    """Take in observations of one session and decide what can be decided.

    ``now`` (Unix seconds) lets time pass without observations: a lost connection becomes a finding, and what waits is
    judged. ``flush`` judges everything that waits. After ``close`` nothing counts any more.
    """
    step = _Step(state, policy, new_id)
    step.take(observations)
    until = step.newest_at - policy.lateness_s
    if now is not None:
        until = max(until, now - policy.lateness_s - _ARRIVAL_S)
    step.judge_until(math.inf if flush else until)
    if now is not None:
        step.judge.notice_gaps(now - _UNSEEN_AFTER_S)
    return step.result()


def close(state: RulesState, at: float, policy: Policy, *, new_id: Callable[[], str] = _new_id) -> Advance:
    """End the session at ``at``: judge what waits up to then, and close every open finding, exactly once."""
    step = _Step(state, policy, new_id)
    step.judge_until(at)
    step.end(at)
    return step.result()


class _Step:
    """A session's state while one step changes it: puts observations into order and hands them to the judge."""

    def __init__(self, state: RulesState, policy: Policy, new_id: Callable[[], str]) -> None:
        self.newest_at = state.newest_at
        self.judge = Judge(
            policy,
            new_id,
            tracks={event: track.copy() for event, track in state.tracks.items()},
            free_at=dict(state.free_at),
            link=state.link,
            memory=state.memory,
            frame_id=state.frame_id,
        )
        self._judged_at = dict(state.judged_at)
        self._recent = state.recent
        self._pending = list(state.pending)
        self._closed = state.closed
        self._late = 0

    def take(self, observations: Iterable[Observation]) -> None:
        """Put observations among those that wait; repeated ones are ignored, late ones counted."""
        known = {*self._recent, *(observation.sample_id for observation in self._pending)}
        for observation in observations:
            line = _line(observation)
            if line is None or observation.sample_id in known:
                continue
            known.add(observation.sample_id)
            if self._closed or observation.captured_at < self._judged_at.get(line, -math.inf):
                self._late += 1
                continue
            self.newest_at = max(self.newest_at, observation.captured_at)
            bisect.insort(self._pending, observation, key=_order)

    def judge_until(self, until: float) -> None:
        """Judge in the order of capture what was captured up to ``until`` or follows at once; let time pass to then."""
        if self._closed:
            return
        ready: list[Observation] = []
        waiting: list[Observation] = []
        for observation in self._pending:
            if observation.captured_at <= until or self._follows(observation):
                line = _line(observation) or ""
                self._judged_at[line] = max(self._judged_at.get(line, -math.inf), observation.captured_at)
                self.judge.see(observation)
                ready.append(observation)
            else:
                waiting.append(observation)
        self._pending = waiting
        self._recent = (*self._recent, *(observation.sample_id for observation in ready))[-_RECENT:]
        if math.isfinite(until):
            self.judge.pass_time(until)

    def _follows(self, observation: Observation) -> bool:
        """Tell whether nothing can be missing between the sample of this stream judged last and this one."""
        judged_at = self._judged_at.get(observation.stream)
        if observation.previous_at is None or judged_at is None:
            return False
        return observation.previous_at <= judged_at + EPSILON_S

    def end(self, at: float) -> None:
        """Close everything; what still waits was captured after the end."""
        self._late += len(self._pending)
        self._pending = []
        self._closed = True
        self.judge.end(at)

    def result(self) -> Advance:
        """Return what the step came to."""
        state = RulesState(
            newest_at=self.newest_at,
            judged_at=self._judged_at,
            recent=self._recent,
            pending=tuple(self._pending),
            tracks=self.judge.tracks,
            free_at=self.judge.free_at,
            link=self.judge.link,
            memory={} if self._closed else self.judge.memory,
            frame_id=self.judge.frame_id,
            closed=self._closed,
        )
        return Advance(state, self.judge.changes, state.attentive, self._late)


def _line(observation: Observation) -> str | None:
    """Name the line of samples that must be in order; None for technical events that no rule looks at."""
    if observation.stream == BROWSER:  # one that the page could send only later may be older than one of another kind
        return f"{BROWSER}:{observation.measures[BROWSER]['kind']}"
    if observation.stream != TECHNICAL:
        return observation.stream
    part = part_of(observation)
    return None if part is None else f"{TECHNICAL}:{part}"


def _order(observation: Observation) -> tuple[float, int, str]:
    """Sort by capture time; at one moment the peer comes before its media, and events before samples."""
    rank = 2
    if observation.stream == TECHNICAL:
        rank = 0 if part_of(observation) == "peer" else 1
    return observation.captured_at, rank, observation.sample_id
