"""A person decides on an incident: confirm, dismiss, reopen. Each decision is kept, and is an alert of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from accounts.audit import Actor, audit_write
from accounts.models import APIKey, AuditEntry, User
from accounts.problems import Problem
from alerts import evidence, payload, risk, tally
from alerts.models import Incident, Review
from alerts.services import alert_write

REASON_LENGTH: Final = 1000
"""So many characters may a reason have: an alert fits into a webhook with it."""

State = Incident.State


@dataclass(frozen=True, slots=True)
class Reviewer:
    """The person who decides, by name, and how they came: signed in here, or at a platform that has a key."""

    name: str
    user: User | None = None
    api_key: APIKey | None = None

    @property
    def actor(self) -> Actor:
        """Return how the audit log names the reviewer."""
        return Actor(AuditEntry.ActorKind.KEY, self.api_key.prefix) if self.api_key else Actor.of_user(self.user)

    @classmethod
    def signed_in(cls, user: User) -> Reviewer:
        """Return the reviewer that a person is who signed in here."""
        return cls(user.get_full_name() or user.get_username(), user=user)

    @classmethod
    def at_platform(cls, key: APIKey, name: str = "") -> Reviewer:
        """Return somebody at a platform; without a name they are called as the key is."""
        return cls(name or key.name, api_key=key)


def incident_review(
    *, incident: Incident, decision: str, reason: str, reviewer: Reviewer, version: int | None = None
) -> Review:
    """Store a decision, follow it in the incident's state and the session's risk, and write its alert; return it.

    ``version``: the one that the incident had when it was read. Raises ``Problem``: ``incident_unknown`` (erased
    meanwhile), ``incident_changed`` (it has another version now), ``incident_open``, ``incident_decided`` (confirmed or
    dismissed before: to be reopened first), ``incident_undecided`` (nothing to reopen).
    """
    with transaction.atomic():
        # The lock, before the incident's; what is refused below gives the number back.
        sequence = tally.sequence_next(session_id=incident.session_id, organisation_id=incident.organisation_id)
        locked = _locked(incident)
        _require_possible(locked, decision, version)
        locked.state, locked.version = decision, locked.version + 1
        locked.points = risk.points_now(locked)
        locked.save(update_fields=["state", "version", "points"])
        tally.risk_sum([locked.session_id])
        review = Review.objects.create(
            organisation_id=locked.organisation_id,
            incident=locked,
            version=locked.version,
            decision=decision,
            reason=reason,
            reviewer=reviewer.name,
            user=reviewer.user,
            api_key=reviewer.api_key,
            created_at=timezone.now(),
        )
        alert_write(
            incident=locked,
            phase=decision,
            sequence=sequence,
            links=evidence.links(locked.evidence.order_by("captured_at")),
            review=payload.ReviewFacts(reviewer.name, review.created_at, reason),
        )
        audit_write(
            organisation=locked.session.organisation,
            actor=reviewer.actor,
            action="incident.reviewed",
            subject_type="incident",
            subject=str(locked.id),
            details={"decision": decision, "version": locked.version},
        )
    return review


def _locked(incident: Incident) -> Incident:
    rows = Incident.objects.select_for_update(of=("self",)).select_related(
        "session__organisation", "session__candidate", "session__exam"
    )
    found = rows.filter(pk=incident.pk).first()
    if found is None:
        raise Problem("incident_unknown", "The incident was erased.")
    return found


def _require_possible(incident: Incident, decision: str, version: int | None) -> None:
    known: dict[str, Any] = {"state": incident.state, "version": incident.version}
    if incident.state == State.OPEN:
        raise Problem("incident_open", **known)
    if version is not None and version != incident.version:
        raise Problem("incident_changed", f"It was version {version} and is version {incident.version} now.", **known)
    decided = incident.state not in Incident.UNDECIDED
    if decided and decision != Review.Decision.REOPENED:
        raise Problem("incident_decided", f"It is {incident.state} already: reopen it to decide again.", **known)
    if not decided and decision == Review.Decision.REOPENED:
        raise Problem("incident_undecided", **known)
