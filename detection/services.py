"""What the tasks call: analyse and commit batches, note technical events, close sessions, look after quiet ones."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from django.db import transaction
from django.utils import timezone
from prometheus_client import Counter, Histogram

from accounts.redis_client import get_redis
from detection.analysis import FAILED, Message, analyse, drop
from detection.announce import outcomes_announce
from detection.browser import browser_observations
from detection.commit import SessionBatch, SessionOutcome, commit
from detection.contexts import SessionContext, SessionContexts
from detection.database import DatabaseAwayError, outlast
from detection.engine.observations import AUDIO, VIDEO, Observation
from detection.engine.pipeline import Pipeline
from detection.frame_store import FrameStore
from detection.gaps import DROPPED, Dropped, gaps_record
from detection.messages import BrowserMessage, FrameMessage, Stream, TechnicalMessage
from detection.models import RuleState
from detection.quiet import queue_up_for_s, quiet_batches, sessions_due, technical_observation

logger = logging.getLogger(__name__)

DATABASE = "database"
"""Reason of a gap: measured, but the database was away for longer than one waits."""
REMEMBERED = 10_000
"""Dropped samples a process keeps in mind while the database is away."""
CHUNK = 50
"""Sessions the sweep looks after in one transaction."""

BATCH_SIZE = Histogram("sdproctor_batch_size", "Samples per batch.", ["stream"], buckets=(1, 2, 4, 8, 16, 32, 64))
COMMIT_SECONDS = Histogram("sdproctor_commit_seconds", "Time to write what a batch found.")
SESSIONS_FAILED = Counter("sdproctor_session_commits_failed", "Sessions whose part of a batch could not be written.")
for _stream in Stream:
    DROPPED.labels(_stream.value, DATABASE)

_contexts = SessionContexts()
_unwritten: deque[Dropped] = deque(maxlen=REMEMBERED)


def samples_analyse(*, messages: Sequence[Message], pipeline: Pipeline) -> list[SessionOutcome]:
    """Analyse one batch of samples of one stream and write what was found."""
    if not messages:
        return []
    stream = Stream.VIDEO if isinstance(messages[0], FrameMessage) else Stream.AUDIO
    BATCH_SIZE.labels(stream).observe(len(messages))
    now = time.time()
    try:
        contexts = outlast(partial(_contexts.get, {message.session_id for message in messages}))
    except DatabaseAwayError:
        logger.exception("%d samples are lost: the database is away", len(messages))
        _unwritten.extend(drop(message, DATABASE) for message in messages)
        return []
    store = FrameStore(get_redis())
    return observations_commit(batches=analyse(messages, contexts=contexts, pipeline=pipeline, store=store, now=now))


def observations_commit(*, batches: Mapping[str, SessionBatch]) -> list[SessionOutcome]:
    """Write a batch in one transaction; if that fails each session alone, so that a bad one never holds up the others.

    While the database is away this waits, since all is measured already; after that the samples are a gap.
    """
    if not batches:
        return []
    with COMMIT_SECONDS.time():
        try:
            _write_unwritten()
            outcomes = outlast(partial(commit, batches))
        except DatabaseAwayError:
            logger.exception("What was measured for %d sessions is lost: the database is away", len(batches))
            _remember(batches.values(), DATABASE)
            return []
        except Exception:
            logger.exception("A batch of %d sessions cannot be written whole, each is tried alone", len(batches))
            outcomes = _commit_each(batches)
    outcomes_announce(outcomes)
    return outcomes


def _commit_each(batches: Mapping[str, SessionBatch]) -> list[SessionOutcome]:
    outcomes: list[SessionOutcome] = []
    for session_id, batch in batches.items():
        try:
            outcomes += outlast(partial(commit, {session_id: batch}))
        except Exception:
            SESSIONS_FAILED.inc()
            logger.exception("What was measured for session %s cannot be written", session_id)
            _remember([batch], FAILED)
    return outcomes


def _remember(batches: Iterable[SessionBatch], reason: str) -> None:
    """Keep in mind what could not be written, as samples nobody looked at."""
    for batch in batches:
        session_id = str(batch.context.session.id)
        _unwritten.extend(batch.dropped)
        _unwritten.extend(
            Dropped(session_id, o.sample_id, o.stream, o.captured_at, reason)
            for o in batch.observations
            if o.stream in (VIDEO, AUDIO)
        )


def _write_unwritten() -> None:
    """Record the gaps that could not be recorded when they arose."""
    if not _unwritten:
        return
    dropped = list(_unwritten)
    _unwritten.clear()  # what cannot be written for another reason than an absent database is not tried for ever

    def write() -> None:
        with transaction.atomic():
            states = RuleState.objects.select_for_update().filter(session_id__in={d.session_id for d in dropped})
            organisation_ids = dict(states.order_by("session_id").values_list("session_id", "organisation_id"))
            gaps_record(organisation_ids={str(key): value for key, value in organisation_ids.items()}, dropped=dropped)

    try:
        outlast(write)
    except DatabaseAwayError:
        _unwritten.extendleft(reversed(dropped))
        raise


def technical_note(*, message: TechnicalMessage) -> None:
    """Write what the gateway reports about a peer; an unknown session is none of ours. Raises when it cannot."""
    contexts = outlast(partial(_contexts.get, [message.session_id]))
    if not contexts:
        logger.warning("%s of session %s, which does not exist", message.kind, message.session_id)
        return
    _note(contexts[message.session_id], [technical_observation(message)])


def browser_note(*, message: BrowserMessage) -> None:
    """Write what a page told of itself; an erased session is none of ours. Raises when it cannot."""
    contexts = outlast(partial(_contexts.get, [message.session_id]))
    if contexts:
        _note(contexts[message.session_id], browser_observations(message))


def _note(context: SessionContext, observations: list[Observation]) -> None:
    batch = {str(context.session.id): SessionBatch(context, observations)}
    outcomes_announce(outlast(partial(commit, batch)))


def session_close(*, session_id: str) -> bool:
    """Close everything that is open in a session that has ended; return whether that was news. May be repeated."""
    contexts = _contexts.get([session_id])
    outcomes = commit({session_id: SessionBatch(contexts[session_id], closing=True)}) if contexts else []
    outcomes_announce(outcomes)
    _contexts.forget(session_id)
    return any(outcome.state_changed for outcome in outcomes)


def sessions_sweep() -> int:
    """Look after the sessions from which nothing came for a while; return how many there were."""
    now = timezone.now()
    up_for_s = queue_up_for_s(get_redis(), time.time())
    due = sessions_due(now)
    for start in range(0, len(due.quiet), CHUNK):
        contexts = _contexts.get(due.quiet[start : start + CHUNK])
        observations_commit(batches=dict(quiet_batches(contexts, now=now, up_for_s=up_for_s)))
    for session_id in due.ended:
        try:
            session_close(session_id=session_id)
        except Exception:
            SESSIONS_FAILED.inc()
            logger.exception("Session %s cannot be closed", session_id)
    return len(due.quiet) + len(due.ended)
