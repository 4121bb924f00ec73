"""Decide over time: observations in, opened and closed findings out. Pure: no clock, no store, same in, same out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from detection.engine.observations import Observation
from detection.engine.policy import EventType, Policy, RulePolicy

Phase = Literal["opened", "closed"]


@dataclass(frozen=True, slots=True)
class Change:
    """A finding that opened or closed. Times are capture times, Unix seconds."""

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


@dataclass(frozen=True, slots=True)
class RulesState:
    data: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RulesState:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Advance:
    state: RulesState
    changes: list[Change]
    attentive: bool
    late: int


def advance(
    state: RulesState,
    observations: Iterable[Observation],
    policy: Policy,
    *,
    now: float | None = None,
    flush: bool = False,
) -> Advance:
    raise NotImplementedError


def close(state: RulesState, at: float, policy: Policy) -> Advance:
    raise NotImplementedError
