"""Which policy applies: the exam's own or the default, a session's overrides and the candidate's exceptions on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, transaction

from accounts.audit import Actor, audit_write, candidate_subject
from accounts.models import Organisation
from accounts.problems import Problem
from detection.engine import policy as engine
from enrollment.accommodations import accommodations_check
from enrollment.locking import candidate_ensure
from enrollment.models import Candidate, Erasure
from sessions.models import Exam, Policy, default_policy_document
from sessions.weights import weights_named

DEFAULT_NAME: Final = "Default"


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """The policy as a session will be watched under it. ``own_weights``: those that are not its ``source``'s."""

    source: Policy
    name: str
    version: str
    document: dict[str, Any]
    own_weights: dict[str, float]


def first_policy_document() -> dict[str, Any]:
    """Return the document of an organisation's first policy; ``FACE_MATCH_THRESHOLD`` seeds its face comparison.

    Raises ``ImproperlyConfigured`` when that is no threshold a policy can have.
    """
    document = default_policy_document()
    rule = document["rules"][engine.EventType.FACE_MISMATCH.value]
    rule["enter"] = rule["exit"] = settings.FACE_MATCH_THRESHOLD
    try:
        engine.Policy.from_dict(document)
    except engine.PolicyError as error:
        raise ImproperlyConfigured(f"FACE_MATCH_THRESHOLD={settings.FACE_MATCH_THRESHOLD}: {error}") from None
    return document


def policy_default(*, organisation: Organisation) -> Policy:
    """Return the organisation's default policy, made at first need."""
    found = Policy.objects.filter(organisation=organisation, is_default=True).first()
    if found is not None:
        return found
    try:
        with transaction.atomic():
            return Policy.objects.create(
                organisation=organisation, name=DEFAULT_NAME, document=first_policy_document(), is_default=True
            )
    except IntegrityError:  # another request made it just now, or a policy of that name lost its mark
        return _default_claim(organisation)


def _default_claim(organisation: Organisation) -> Policy:
    with transaction.atomic():
        policies = Policy.objects.select_for_update().filter(organisation=organisation)
        found = policies.filter(is_default=True).first()
        if found is None:
            found = policies.get(name=DEFAULT_NAME)
            found.is_default = True
            found.save(update_fields=["is_default"])
        return found


def match_threshold(document: dict[str, Any]) -> float:
    """Return the similarity, 0 to 1, from which on two faces are one person's under a policy."""
    return engine.Policy.from_dict(document).rules[engine.EventType.FACE_MISMATCH].enter


def default_match_threshold(*, organisation: Organisation) -> float:
    """Return ``match_threshold`` of the default policy, for pictures that belong to no session."""
    return match_threshold(policy_default(organisation=organisation).document)


def policy_read(document: dict[str, Any]) -> engine.Policy:
    """Turn a document into a checked policy; raise ``Problem`` (``policy_invalid``) naming the bad fields by path."""
    try:
        return engine.Policy.from_dict(document)
    except engine.PolicyError as error:
        raise Problem("policy_invalid", str(error), errors=error.errors) from None


def policy_snapshot(
    *,
    organisation: Organisation,
    exam: Exam | None,
    overrides: dict[str, Any] | None,
    accommodations: dict[str, Any] | None = None,
) -> PolicySnapshot:
    """Return the policy for a new session, complete and checked: the accommodations have the last word.

    Raises ``Problem`` (``policy_invalid``) when overrides or accommodations do not fit.
    """
    source = exam.policy if exam is not None and exam.policy is not None else policy_default(organisation=organisation)
    try:
        document = engine.merge(engine.merge(source.document, overrides or {}), accommodations or {})
    except engine.PolicyError as error:
        raise Problem("policy_invalid", str(error), errors=error.errors) from None
    checked = policy_read(document).to_dict()
    own = weights_named(engine.merge(overrides or {}, accommodations or {}))
    return PolicySnapshot(source, source.name, str(source.version), checked, own)


def accommodations_merge(granted: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return a candidate's accommodations with ``more`` laid over them; raise ``Problem`` when they are none."""
    try:
        merged = engine.merge(granted, more)
        accommodations_check(merged)
    except engine.PolicyError as error:
        raise Problem("policy_invalid", f"Accommodations: {error}", errors=error.errors) from None
    return merged


def candidate_locked(*, organisation: Organisation, candidate_id: str) -> Candidate | None:
    """Return a candidate of whom no erasure begins until the transaction ends; None when there is none of that id.

    Raises ``Problem`` (``erasure_running``) when everything of them is being erased: what is stored of them now would
    go at once, or be left behind.
    """
    rows = Candidate.objects.select_for_update(no_key=True).filter(organisation=organisation)
    candidate = rows.filter(candidate_id=candidate_id).first()
    if candidate is not None:
        _require_not_erased(candidate)
    return candidate


def candidate_made(*, organisation: Organisation, candidate_id: str) -> Candidate:
    """Return what ``candidate_locked`` returns, made where there is none. Raises ``Problem`` (``erasure_running``)."""
    candidate = candidate_ensure(organisation=organisation, candidate_id=candidate_id)
    _require_not_erased(candidate)
    return candidate


def _require_not_erased(candidate: Candidate) -> None:
    if candidate.erasures.filter(finished_at=None, kind=Erasure.Kind.EVERYTHING).exists():
        raise Problem("erasure_running")


def accommodations_set(
    *, organisation: Organisation, candidate_id: str, accommodations: dict[str, Any], actor: Actor
) -> Candidate:
    """Give a candidate other accommodations, from the next session on; one named for the first time is made.

    Raises ``Problem`` (``policy_invalid``, ``erasure_running``). The audit log is told that they changed, not to what.
    """
    checked = accommodations_merge({}, accommodations)
    with transaction.atomic():
        candidate = candidate_locked(organisation=organisation, candidate_id=candidate_id)
        made = candidate is None
        if candidate is None:
            candidate = candidate_made(organisation=organisation, candidate_id=candidate_id)
        if not made and candidate.accommodations == checked:
            return candidate
        candidate.accommodations = checked
        candidate.save(update_fields=["accommodations"])
        audit_write(
            organisation=organisation,
            actor=actor,
            action=f"candidate.{'added' if made else 'changed'}",
            subject_type="candidate",
            subject=candidate_subject(organisation=organisation, candidate_id=candidate_id),
            details={"fields": ["Accommodations"]},
        )
    return candidate
