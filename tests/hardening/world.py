"""An organisation with one of everything, so that requests made up by a machine find something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from accounts.models import Organisation
from alerts.delivery_models import Delivery
from alerts.models import Evidence
from detection.engine.policy import EventType
from sessions.joining import join_token_mint
from sessions.models import ExamSession
from tests.alerts import builders
from tests.factories import make_api_key, make_enrolled_candidate, make_exam, make_organisation, make_session

INCIDENT = "00000000-0000-4000-8000-000000000001"
OPEN_INCIDENT = "00000000-0000-4000-8000-000000000002"
CANDIDATE = "ada"
SESSION = "s-1"
ENDED = "s-0"


@dataclass(frozen=True, slots=True)
class World:
    """What there is: ``ids`` by the parameter's name, and credentials."""

    organisation: Organisation
    session: ExamSession
    key: str
    join_token: str
    ids: Mapping[str, tuple[str, ...]]


def make_world(webhook_url: str) -> World:
    """Make rows of every kind the API knows; webhooks go to ``webhook_url``."""
    organisation = make_organisation()
    make_exam(organisation, "algebra")
    subscription, _ = builders.subscription(organisation, webhook_url)
    candidate = make_enrolled_candidate(organisation, CANDIDATE)
    session = make_session(candidate=candidate, session_id=SESSION, exam_id="algebra")
    ended = make_session(candidate=candidate, session_id=ENDED, exam_id="algebra", state=ExamSession.State.ENDED)
    closed = builders.change(phase="closed", finding_id=INCIDENT)
    builders.apply(session, closed, frames={"f1": (builders.ONSET, builders.jpeg())})
    builders.apply(session, builders.change(EventType.MULTIPLE_PERSONS, finding_id=OPEN_INCIDENT))
    _, raw = make_api_key(organisation)
    return World(
        organisation=organisation,
        session=session,
        key=raw,
        join_token=join_token_mint(session),
        ids=MappingProxyType(
            {
                "candidate_id": (CANDIDATE,),
                "session_id": (session.session_id, ended.session_id),
                "subscription_id": (str(subscription.pk),),
                "delivery_id": tuple(str(pk) for pk in Delivery.objects.values_list("pk", flat=True)),
                "evidence_id": tuple(str(pk) for pk in Evidence.objects.values_list("pk", flat=True)),
                "incident_id": (INCIDENT, OPEN_INCIDENT),
                "version": ("1.0", "1.1"),
                "exam_id": ("algebra",),
            }
        ),
    )
