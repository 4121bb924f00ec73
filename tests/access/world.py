"""Two tenants: one that has a row of every kind, and one that has a key, a person and a session, and intrudes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Permission
from django.db import transaction
from django.db.models import Model

from accounts.audit import SYSTEM, audit_write
from accounts.models import Organisation, User
from alerts import services
from alerts.models import Alert, Delivery, DeliveryAttempt, Evidence, Incident
from alerts.subscriptions import subscription_create
from enrollment.models import Candidate, Consent, DuplicateSearch, DuplicateSuspicion
from enrollment.privacy_models import ConsentText, Erasure
from sessions.joining import join_token_mint
from sessions.models import ExamSession
from sessions.privacy_models import LegalHold, RetentionPolicy
from tests.alerts import builders
from tests.factories import (
    make_api_key,
    make_candidate,
    make_enrolled_candidate,
    make_exam,
    make_gap,
    make_organisation,
    make_policy,
    make_session,
    make_user,
    number,
)

PROJECT_APPS = ("accounts", "enrollment", "exam_sessions", "detection", "alerts")


@dataclass(frozen=True)
class Tenant:
    """The first tenant: ``given`` is what the second one knows of it and puts into addresses, queries and bodies."""

    organisation: Organisation
    session: ExamSession
    given: Mapping[str, list[Any]]
    secrets: frozenset[str]

    def leaks(self, answer: str, *sent: object) -> set[str]:
        """Return what of the first tenant stands in an answer and was not sent with the request."""
        said = " ".join(map(str, sent))
        return {secret for secret in self.secrets if secret not in said and secret in answer}


@dataclass(frozen=True)
class Intruder:
    """The second tenant: as much as a tenant can have, of its own alone."""

    organisation: Organisation
    key: str
    user: User
    join_token: str


def make_tenant() -> Tenant:
    """Fill an organisation with a row of every kind that tenants have."""
    word = f"alpha{number()}"
    owner = make_organisation(f"{word}-org")
    candidate = make_enrolled_candidate(owner, f"{word}-candidate")
    Consent.objects.filter(candidate=candidate).update(version=f"{word}-consent")
    policy = make_policy(owner, f"{word}-policy")
    make_exam(owner, f"{word}-exam", policy=policy, name=f"{word}-exam-name")
    subscription, _ = subscription_create(
        organisation=owner, transport="webhook", url=f"https://{word}-hook.example.org/in"
    )
    session = make_session(candidate=candidate, session_id=f"{word}-session", exam_id=f"{word}-exam")
    make_gap(session)
    finding = builders.change()
    for what in (finding, builders.closing(finding)):
        with transaction.atomic():
            frames = {"f1": (builders.ONSET, builders.jpeg())} if what is finding else {}
            services.incident_apply(session=session, change=what, frames=frames)
    key, _ = make_api_key(owner)
    person = make_user(owner, permissions=["view_examsession"])
    person.username = f"{word}-person"
    person.save()
    delivery = Delivery.objects.filter(organisation=owner).earliest("id")
    DeliveryAttempt.objects.create(organisation=owner, delivery=delivery, duration_ms=5, status_code=500)
    audit_write(
        organisation=owner, actor=SYSTEM, action="test.made", subject_type="test", subject=f"{word}-audit", details={}
    )
    _make_privacy(owner, candidate, session, word)
    incident, evidence = Incident.objects.get(session=session), Evidence.objects.get(session=session)
    alert = Alert.objects.filter(session=session).earliest("sequence")
    given: dict[str, list[Any]] = {
        "candidate_id": [candidate.candidate_id],
        "session_id": [session.session_id, str(session.id)],
        "session_pk": [str(session.id)],
        "exam_id": [f"{word}-exam"],
        "subscription_id": [str(subscription.id)],
        "delivery_id": [delivery.pk],
        "incident_id": [str(incident.id)],
        "evidence_id": [str(evidence.id)],
        "event_id": [str(alert.event_id)],
        "organisation": [owner.slug],
    }
    secrets = {
        *(str(value) for values in given.values() for value in values if not isinstance(value, int)),
        *(str(alert.event_id) for alert in Alert.objects.filter(session=session)),
        *(f"{word}-{what}" for what in ("consent", "text", "hold", "other", "eraser")), f"{word}-policy",
        f"{word}-exam-name", f"{word}-hook", f"{word}-audit", key.prefix,
        person.username,
    }  # fmt: skip
    return Tenant(owner, session, given, frozenset(secrets))


def _make_privacy(owner: Organisation, candidate: Candidate, session: ExamSession, word: str) -> None:
    ConsentText.objects.create(organisation=owner, version=f"{word}-text", locale="en", text=f"{word}-text")
    RetentionPolicy.objects.create(organisation=owner, incidents_days=30)
    LegalHold.objects.create(organisation=owner, session=session, reason=f"{word}-hold", placed_by=f"{word}-hold")
    Erasure.objects.create(
        organisation=owner, subject="0" * 32, kind=Erasure.Kind.EVERYTHING, actor_kind="system", actor=f"{word}-eraser"
    )
    DuplicateSearch.objects.create(organisation=owner)
    other = make_candidate(owner, f"{word}-other")
    DuplicateSuspicion.objects.create(
        organisation=owner, candidate=candidate, other=other, model="m", similarity=0.99, comparison_score=0.9
    )


def make_intruder() -> Intruder:
    """Make a tenant whose key has all scopes and whose person has every permission there is, short of a superuser."""
    owner = make_organisation(f"beta{number()}-org")
    user = make_user(owner)
    user.user_permissions.set(Permission.objects.all())
    return Intruder(owner, make_api_key(owner)[1], user, join_token_mint(make_session(owner)))


def rows_of(tenant: Tenant) -> Counter[tuple[str, str]]:
    """Return every row of the project that is the tenant's, or nobody's, with all its values."""
    models = [model for app in PROJECT_APPS for model in apps.get_app_config(app).get_models()]
    assert len(models) >= 20
    return Counter(
        (model._meta.label, repr([(name, _plain(value)) for name, value in sorted(values.items())]))
        for model in models
        for values in model._default_manager.values()
        if not _is_foreign(model, values, tenant)
    )


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _is_foreign(model: type[Model], values: Mapping[str, Any], tenant: Tenant) -> bool:
    if model is Organisation:
        return bool(values["id"] != tenant.organisation.pk)
    owner = values.get("organisation_id")
    return owner is not None and owner != tenant.organisation.pk
