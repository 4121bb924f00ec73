"""Observations as the pipeline and the gateway make them, for tests of the rules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

from detection.engine.observations import AUDIO, TECHNICAL, VIDEO, Observation
from detection.engine.policy import Policy, merge
from detection.engine.rules import Change, RulesState, advance, close

START = 1_700_000_000.0


def frame(at: float, *, faces: int = 1, possible: int | None = None, similarity: float | None = None, **more: Any):
    """A frame ``at`` seconds after the start; ``similarity`` None: not compared. ``more``: of the identity measure."""
    measures: dict[str, Any] = {"faces": {"count": faces, "possible": faces if possible is None else possible}}
    if similarity is not None:
        measures["identity"] = {"similarity": similarity, "comparison_score": similarity / 2, "decided": True, **more}
    return Observation(f"f{at:.3f}", VIDEO, START + at, measures)


def window(at: float, *, share: float = 0.0, rms_dbfs: float = -40.0, length_s: float = 1.0):
    """An audio window that starts ``at`` seconds after the start; its speech, if any, comes first."""
    first_at = START + at if share else None
    last_at = START + at + share * length_s if share else None
    speech = {
        "share": share,
        "peak": 0.9 if share else 0.0,
        "first_at": first_at,
        "last_at": last_at,
        "chunks": [share],
    }
    measures = {"speech": speech, "level": {"rms_dbfs": rms_dbfs}}
    return Observation(f"w{at:.3f}", AUDIO, START + at + length_s, measures, started_at=START + at)


def event(at: float, kind: str, *, peer_id: str = "p1"):
    """A technical event ``at`` seconds after the start."""
    measures = {"technical": {"kind": kind, "peer_id": peer_id, "at": START + at}}
    return Observation(f"{kind}:{peer_id}:{at:.3f}", TECHNICAL, START + at, measures)


def frames(begin: float, end: float, *, step: float = 0.5, **measures: Any) -> list[Observation]:
    """Frames from ``begin`` up to but without ``end``."""
    count = math.ceil((end - begin) / step - 1e-9)
    return [frame(begin + index * step, **measures) for index in range(count)]


def windows(begin: int, end: int, **measures: Any) -> list[Observation]:
    """Windows of one second from ``begin`` up to ``end``."""
    return [window(float(at), **measures) for at in range(begin, end)]


def policy(**rules: dict[str, Any]) -> Policy:
    """The default policy with changes to rules: ``policy(NO_FACE={"hold_s": 1})``."""
    return Policy.from_dict(merge(Policy().to_dict(), {"rules": rules}))


def counter():
    """Return a source of finding ids: 1, 2, 3 …"""
    numbers = itertools.count(1)
    return lambda: f"{next(numbers):032x}"


def play(observations: Iterable[Observation], rules: Policy | None = None, *, end: float | None = None) -> list[Change]:
    """Feed observations one by one in the given order, the state through JSON's form each time; flush, maybe close."""
    rules, new_id, state, changes = rules or Policy(), counter(), RulesState(), []
    for observation in observations:
        step = advance(RulesState.from_dict(state.to_dict()), [observation], rules, new_id=new_id)
        state = step.state
        changes += step.changes
    step = advance(state, [], rules, flush=True, new_id=new_id)
    changes += step.changes
    if end is not None:
        changes += close(step.state, START + end, rules, new_id=new_id).changes
    return changes


def told(changes: Iterable[Change]) -> list[tuple[str, str, float, float | None]]:
    """Return event type, phase, onset and end in seconds after the start."""
    return [
        (
            change.event_type.value,
            change.phase,
            round(change.started_at - START, 3),
            None if change.ended_at is None else round(change.ended_at - START, 3),
        )
        for change in changes
    ]
