"""One transaction for what a batch found: detections in, rules advanced, incidents and alerts out, state kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone
from prometheus_client import Counter

from accounts.kek import KeyServiceError
from alerts.services import incident_apply
from detection import rule_rows
from detection.challenges import challenge_follow
from detection.contexts import SessionContext
from detection.engine import rules
from detection.engine.observations import AUDIO, BROWSER, TECHNICAL, VIDEO, Observation
from detection.gaps import DROPPED, Dropped, gap_note, gaps_fill_sessions, gaps_record, moment
from detection.messages import Stream, Technical
from detection.pictures import frames_of
from detection.rule_rows import RuleRow
from detection.sealed_voices import voices_open, voices_seal
from sessions.models import ExamSession
from sessions.services import session_state_set

logger = logging.getLogger(__name__)

QUIET_S = 2.0
"""A session from which nothing came for so long (beyond its usual delay) is looked after by the sweep."""
REVISIT_S = (2.0, 30.0)
"""How soon and how late the sweep comes back to a quiet session: after a quarter of the time it has been quiet."""

ENDED = "ended"
"""Captured after the session's end: not evaluated, and no gap."""

CLOSED = "closed"
"""Arrived after the session's incidents had been closed: a gap."""

LATE = Counter("sdproctor_observations_late", "Observations too late for the rules: kept, but they accuse nobody.")
PICTURES_LOST = Counter("sdproctor_evidence_lost", "Changes whose pictures could not be stored.")
for _stream in (*Stream, BROWSER):
    DROPPED.labels(_stream, ENDED)
    DROPPED.labels(_stream, CLOSED)


@dataclass(frozen=True, slots=True)
class SessionBatch:
    """What one batch brings for one session.

    ``now``: how far capture time has come, for rules that wait. ``only_if_quiet_since``: forget all
    this if a sample has arrived after that. ``closing``: the session has ended, close everything that is open.
    """

    context: SessionContext
    observations: list[Observation] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    now: float | None = None
    only_if_quiet_since: datetime | None = None
    closing: bool = False


@dataclass(frozen=True, slots=True)
class SessionOutcome:
    """What a commit did to one session."""

    context: SessionContext
    observations: list[Observation]
    alerts: int
    attentive: bool
    state_changed: bool


def commit(batches: Mapping[str, SessionBatch]) -> list[SessionOutcome]:
    """Write what a batch brought for several sessions, all or nothing; the database's errors come through.

    Sessions that were erased meanwhile are left out. What was captured after a session's end is only counted; what
    arrives after everything was closed is a gap.
    """
    now = timezone.now()
    with transaction.atomic():
        rows = [row for row in rule_rows.lock(batches) if _is_wanted(row, batches[row.session_id])]
        dropped = [sample for row in rows for sample in batches[row.session_id].dropped]
        accepted = {row.session_id: _accept(row, batches[row.session_id], dropped) for row in rows}
        known = rule_rows.insert(rows, accepted, now)
        outcomes = [
            _advance(row, batches[row.session_id], _without(known[row.session_id], accepted[row.session_id]), now)
            for row in rows
        ]
        gaps_record(organisation_ids={row.session_id: row.organisation_id for row in rows}, dropped=dropped)
        rule_rows.keep(rows, now)
    return outcomes


def _is_wanted(row: RuleRow, batch: SessionBatch) -> bool:
    return batch.only_if_quiet_since in (None, row.last_sample_at)


def _accept(row: RuleRow, batch: SessionBatch, dropped: list[Dropped]) -> list[Observation]:
    """Return what was captured before the session's end and arrived before its close; note the rest."""
    ended_at = row.ended_at.timestamp() if row.ended_at is not None else None
    accepted = []
    for observation in batch.observations:
        sample = (row.session_id, observation.sample_id, observation.stream, observation.captured_at)
        if ended_at is not None and observation.captured_at > ended_at:
            DROPPED.labels(observation.stream, ENDED).inc()
        elif row.closed and observation.stream != TECHNICAL:
            DROPPED.labels(observation.stream, CLOSED).inc()
            if observation.stream != BROWSER:  # what a page tells too late is no media that nobody looked at
                dropped.append(Dropped(*sample, reason=CLOSED))
        else:
            accepted.append(observation)
    return accepted


def _without(known: set[str], observations: list[Observation]) -> list[Observation]:
    """Leave out samples that were stored before, and a sample's second message within one batch."""
    news = {(o.sample_id, o.captured_at, o.stream): o for o in observations if o.sample_id not in known}
    return list(news.values())


def _advance(row: RuleRow, batch: SessionBatch, observations: list[Observation], now: datetime) -> SessionOutcome:
    """Take one session's rules forward and write what they decide."""
    state_changed = _follow_media(row, batch.context.session, observations)
    policy = batch.context.policy
    closing = batch.closing and row.ended_at is not None and not row.closed
    state = rules.RulesState.from_dict(voices_open(row.state, batch.context.session))
    step = rules.advance(state, observations, policy, now=batch.now)
    LATE.inc(step.late)
    state_changed |= challenge_follow(row.state, step.state.memory)
    changes = step.changes
    if closing:
        assert row.ended_at is not None
        step = rules.close(step.state, row.ended_at.timestamp(), policy)
        changes = [*changes, *step.changes]
        _close(row, now)
    for change in changes:
        _apply(row, batch.context.session, change)
    row.state = voices_seal(step.state.to_dict(), batch.context.session)
    _note_arrival(row, batch, observations, now)
    return SessionOutcome(batch.context, observations, len(changes), step.attentive, state_changed or closing)


def _apply(row: RuleRow, session: ExamSession, change: rules.Change) -> None:
    """Write one change, with its pictures if they can be stored."""
    frames = frames_of(row.session_id, change)
    try:
        with transaction.atomic():
            incident_apply(session=session, change=change, frames=frames)
    except (OSError, KeyServiceError):
        PICTURES_LOST.inc()
        logger.exception("The pictures of incident %s cannot be stored", change.finding_id)
        incident_apply(session=session, change=change, frames={})


def _close(row: RuleRow, now: datetime) -> None:
    row.closed = True
    ExamSession.objects.filter(pk=row.session_id, closed_at=None).update(closed_at=now)
    gaps_fill_sessions(session_ids=[row.session_id], until=now)


def _follow_media(row: RuleRow, session: ExamSession, observations: list[Observation]) -> bool:
    """Note which peer there is and write gaps that the gateway reports; tell whether the session's state changed."""
    changed = False
    for observation in sorted(observations, key=lambda o: o.captured_at):
        at = moment(observation.captured_at)
        if observation.stream in (VIDEO, AUDIO):
            # Media after the peer was lost, or without a word of a peer: the message about it is late, or was lost.
            is_news = row.session_state != ExamSession.State.LIVE
            if is_news and (row.peer_at is None or at > row.peer_at):
                changed |= _state_set(row, session, ExamSession.State.LIVE, at)
        if observation.stream != TECHNICAL:
            continue
        technical = observation.measures["technical"]
        if technical["kind"] == Technical.GAP:
            gap_note(session_id=row.session_id, organisation_id=row.organisation_id, technical=technical)
        elif row.peer_at is not None and at < row.peer_at:
            continue
        elif technical["kind"] == Technical.PEER_CONNECTED:
            row.peer_id, row.peer_at = technical["peer_id"], at
            changed |= _state_set(row, session, ExamSession.State.LIVE, at)
        elif technical["kind"] == Technical.PEER_LOST and technical["peer_id"] in (row.peer_id, ""):
            row.peer_at = at
            changed |= _state_set(row, session, ExamSession.State.INTERRUPTED, at)
    return changed


def _state_set(row: RuleRow, session: ExamSession, state: str, at: datetime) -> bool:
    changed = session_state_set(session=session, state=state, at=at)
    if changed:
        row.session_state = state
    return changed


def _note_arrival(row: RuleRow, batch: SessionBatch, observations: list[Observation], now: datetime) -> None:
    """Set when the sweep has to look after the session.

    A page that tells of itself is no sign of life of the gateway; it counts where no media ever came.
    """
    told = any(o.stream == BROWSER for o in observations)
    times = [o.captured_at for o in observations if o.stream != BROWSER] + [d.captured_at for d in batch.dropped]
    if told and row.last_sample_at is None:  # then the clock is ours, however late the page told it
        times.append(now.timestamp())
    if times:
        newest = moment(max(times))
        row.newest_at = newest if row.newest_at is None else max(newest, row.newest_at)
        row.last_sample_at = now
        delay_s = min(max(0.0, (now - row.newest_at).total_seconds()), 10.0)
        row.due_at = now + timedelta(seconds=QUIET_S + delay_s)
    elif told:
        row.due_at = now + timedelta(seconds=QUIET_S)
    elif row.last_sample_at is not None:
        quiet_s = (now - row.last_sample_at).total_seconds()
        row.due_at = now + timedelta(seconds=min(max(quiet_s / 4, REVISIT_S[0]), REVISIT_S[1]))
    if row.closed:
        row.due_at = None
