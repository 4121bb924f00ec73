"""What a worker process knows of each session it analyses: policy, candidate, template."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from django.db import connection
from django.db.models import Exists, OuterRef
from numpy.typing import NDArray
from prometheus_client import Counter

from accounts.keys import KeyServiceError, SealError
from detection.engine.model import FACE_EMBEDDER
from detection.engine.policy import DEFAULT_POLICY, Policy, PolicyError
from enrollment.models import Consent
from enrollment.services import template_load
from sessions.biometrics import is_biometric, without_biometrics
from sessions.models import ExamSession

logger = logging.getLogger(__name__)

TTL_S = 30.0
"""An erased or renewed template is used no longer than this."""
CAPACITY = 1024

CONTEXT_FAILURES = Counter(
    "sdproctor_context_failures", "Sessions whose policy or template could not be read.", ["part"]
)
for _part in ("policy", "template"):
    CONTEXT_FAILURES.labels(_part)

_ENSURE_STATES = """
INSERT INTO detection_rulestate (session_id, organisation_id, state, peer_id, closed, updated_at)
SELECT id, organisation_id, '{}', '', closed_at IS NOT NULL, now() FROM exam_sessions_examsession
WHERE id = ANY(%s::uuid[]) ORDER BY id
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class SessionContext:
    """One session as the worker sees it. ``template`` is float32 ``(128,)``; None where nobody is enrolled."""

    session: ExamSession
    policy: Policy
    template: NDArray[np.float32] | None
    loaded_at: float
    template_model: str = FACE_EMBEDDER
    """The network that made it."""


class SessionContexts:
    """A bounded cache of contexts, least recently used out first."""

    def __init__(
        self, *, ttl_s: float = TTL_S, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._clock = clock
        self._contexts: OrderedDict[str, SessionContext] = OrderedDict()
        self._lock = Lock()

    def get(self, session_ids: Iterable[str]) -> dict[str, SessionContext]:
        """Return the context of each session, loading what is missing or old; unknown ones are left out.

        A loaded session has a ``RuleState`` row from then on.
        """
        now = self._clock()
        found: dict[str, SessionContext] = {}
        with self._lock:
            for session_id in session_ids:
                context = self._contexts.get(session_id)
                if context is not None and now - context.loaded_at < self._ttl_s:
                    self._contexts.move_to_end(session_id)
                    found[session_id] = context
        missing = [session_id for session_id in session_ids if session_id not in found]
        if missing:
            loaded = self._load(missing, now)
            self._keep(loaded)
            found |= loaded
        return found

    def forget(self, session_id: str) -> None:
        """Drop a session that has been closed."""
        with self._lock:
            self._contexts.pop(session_id, None)

    def _keep(self, loaded: dict[str, SessionContext]) -> None:
        with self._lock:
            self._contexts |= loaded
            for session_id in loaded:
                self._contexts.move_to_end(session_id)
            while len(self._contexts) > self._capacity:
                self._contexts.popitem(last=False)

    def _load(self, session_ids: list[str], now: float) -> dict[str, SessionContext]:
        with connection.cursor() as cursor:
            cursor.execute(_ENSURE_STATES, [session_ids])
        sessions = ExamSession.objects.filter(id__in=session_ids).select_related(
            "organisation", "exam", "candidate__data_key", "candidate__face_template"
        )
        agreed = Exists(Consent.objects.filter(candidate=OuterRef("candidate"), withdrawn_at=None))
        return {str(session.id): _context(session, now) for session in sessions.annotate(has_consent=agreed)}


def _context(session: Any, now: float) -> SessionContext:
    """Read what a worker needs; of who has not agreed to biometrics, nothing by which somebody is recognised."""
    policy = _policy(session)
    if not session.has_consent:
        return SessionContext(session, without_biometrics(policy), None, now)
    return SessionContext(session, policy, _template(session), now, _template_model(session))


def _policy(session: ExamSession) -> Policy:
    """Read the session's policy, checked when the session began; should it be unusable now, the default one rules.

    Whoever sits the exam without biometrics does so under the default one too.
    """
    try:
        return Policy.from_dict(session.policy_document)
    except PolicyError:
        CONTEXT_FAILURES.labels("policy").inc()
        logger.exception("Session %s has a policy that cannot be used: the default policy is", session.id)
        return DEFAULT_POLICY if is_biometric(session.policy) else without_biometrics(DEFAULT_POLICY)


def _template_model(session: ExamSession) -> str:
    return session.candidate.face_template.model if session.enrolled else FACE_EMBEDDER


def _template(session: ExamSession) -> NDArray[np.float32] | None:
    """Decrypt the candidate's template. One that cannot be read stops the comparison, never the other detectors."""
    try:
        return template_load(session.candidate)
    except (SealError, KeyServiceError, ValueError):
        CONTEXT_FAILURES.labels("template").inc()
        logger.exception("The template for session %s cannot be read: no face is compared with it", session.id)
        return None
