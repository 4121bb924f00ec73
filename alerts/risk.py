"""A session's risk score: which sessions a person should look at first. It orders attention and is no verdict.

Every behaviour incident has points, and the score follows from their sum (``alerts.tally.risk_sum``). Points are made
with the weights that the policy has today, unless the session has its own; what the thresholds judged and the severity
that alerts told stay as they were.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db import connection, transaction

from accounts.redis_client import get_redis
from alerts import tally
from alerts.models import Incident
from alerts.severity import severity
from sessions.models import ExamSession, Policy
from sessions.weights import weights_named

logger = logging.getLogger(__name__)

UNDECIDED = 0.5
"""An incident on which nobody has decided counts half, a confirmed one in full, a dismissed one not at all."""
LASTS = timedelta(minutes=1)
"""From this length on an incident counts in full; a moment, and one that is still open, counts half."""
CLAIM_S = 60
"""After so long without a sign of life another worker takes a policy over; much longer than a chunk takes."""
CHUNK = 200
"""Sessions rescored in one transaction: their alerts wait for some milliseconds meanwhile."""

_WRITE = """
UPDATE alerts_incident i SET points = row.points
FROM jsonb_to_recordset(%s::jsonb) AS row(id uuid, points float8) WHERE i.id = row.id
"""


def points(incident: Incident, weight: float) -> float:
    """Return what an incident adds to its session's sum: severity x length x standing, 0 to 1, to four decimals."""
    if incident.technical or incident.state == Incident.State.DISMISSED:
        return 0.0
    lasted = (incident.ended_at - incident.started_at) / LASTS if incident.ended_at is not None else 0.0
    length = 0.5 + 0.5 * min(1.0, max(0.0, lasted))
    standing = 1.0 if incident.state == Incident.State.CONFIRMED else UNDECIDED
    return round(severity(weight, incident.excess) * length * standing, 4)


def points_now(incident: Incident) -> float:
    """Return the incident's points by the weight that counts today.

    Ask while the session's tally is locked: then who edits the policy meanwhile comes after, and finds the incident.
    """
    return 0.0 if incident.technical else points(incident, _weight_now(incident))


def _weight_now(incident: Incident) -> float:
    """Return the session's own weight, else the policy's of today, else the one in the incident's rule."""
    session, kind = incident.session, incident.event_type
    weight = session.own_weights.get(kind)
    if weight is None and session.policy_source_id is not None:
        path = f"document__rules__{kind}__severity"
        weight = Policy.objects.filter(pk=session.policy_source_id).values_list(path, flat=True).first()
    return float(incident.rule["severity"] if weight is None else weight)


def policies_rescore() -> int:
    """Make the risk scores of the sessions of every policy anew whose weights were edited; return how many sessions.

    A policy at which another worker is already is left to it.
    """
    redis, done = get_redis(), 0
    for policy in Policy.objects.filter(rescore_due=True).order_by("id"):
        if redis.set(_claim_key(policy), b"1", nx=True, ex=CLAIM_S):
            try:
                done += policy_rescore(policy=policy)
            finally:
                redis.delete(_claim_key(policy))
    return done


def _claim_key(policy: Policy) -> str:
    return f"alerts:rescoring:{policy.pk}"


def policy_rescore(*, policy: Policy) -> int:
    """Make the risk scores of all sessions of a policy anew, running and ended; return how many there were.

    May be interrupted and repeated. Weights that are edited meanwhile leave the policy marked for another time.
    """
    weights = weights_named(policy.document)
    ids = list(ExamSession.objects.filter(policy_source=policy).order_by("id").values_list("id", flat=True))
    for start in range(0, len(ids), CHUNK):
        with transaction.atomic():
            _rescore(ids[start : start + CHUNK], weights)
        get_redis().expire(_claim_key(policy), CLAIM_S)
    Policy.objects.filter(pk=policy.pk, version=policy.version).update(rescore_due=False)
    logger.info("Rescored %d sessions of policy %s", len(ids), policy)
    return len(ids)


def _rescore(session_ids: list[uuid.UUID], weights: Mapping[str, float]) -> None:
    tally.tallies_lock(session_ids)
    incidents = Incident.objects.filter(session__in=session_ids, technical=False).select_related("session")
    shown = incidents.only(
        "event_type", "technical", "state", "started_at", "ended_at", "excess", "points", "rule", "session__own_weights"
    )
    changed = list(_changed(shown, weights))
    if changed:
        with connection.cursor() as cursor:
            cursor.execute(_WRITE, [json.dumps(changed)])
    tally.risk_sum(session_ids)


def _changed(incidents: Iterable[Incident], weights: Mapping[str, float]) -> Iterable[dict[str, Any]]:
    for incident in incidents:
        own, kind = incident.session.own_weights, incident.event_type
        weight = own.get(kind, weights.get(kind, incident.rule.get("severity", 0.0)))
        if (fresh := points(incident, float(weight))) != incident.points:
            yield {"id": str(incident.pk), "points": fresh}
