"""What a worker keeps in mind of its sessions: not for long, not without bound, and never a fault of one for all."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import DataKey
from detection.contexts import SessionContexts
from detection.engine.policy import DEFAULT_POLICY, EventType
from detection.models import RuleState
from enrollment.models import FaceTemplate
from sessions.biometrics import WITHOUT
from tests.factories import make_candidate, make_embedding, make_enrolled_candidate, make_session, make_template

pytestmark = pytest.mark.django_db


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_context_has_the_sessions_policy_and_the_candidates_template() -> None:
    embedding = make_embedding(5)
    session = make_session(
        candidate=make_enrolled_candidate(embedding=embedding), overrides={"rules": {"NO_FACE": {"hold_s": 9}}}
    )

    context = SessionContexts().get([str(session.id)])[str(session.id)]

    assert context.policy.rules[EventType.NO_FACE].hold_s == 9
    assert context.template is not None
    np.testing.assert_array_equal(context.template, embedding)
    assert context.template_model == "sface-2021dec"
    assert RuleState.objects.filter(session=session).exists()


def test_many_sessions_are_loaded_in_few_queries_and_then_kept() -> None:
    names = [str(make_session().id) for _ in range(6)]
    contexts = SessionContexts()

    with CaptureQueriesContext(connection) as loading:
        assert len(contexts.get(names)) == 6
    with CaptureQueriesContext(connection) as kept:
        assert len(contexts.get(names)) == 6

    assert len(loading) == 2
    assert len(kept) == 0


def test_an_erased_template_is_used_no_longer_than_half_a_minute() -> None:
    session, clock = make_session(), Clock()
    contexts = SessionContexts(clock=clock)
    assert contexts.get([str(session.id)])[str(session.id)].template is not None
    FaceTemplate.objects.all().delete()

    clock.now += 29
    assert contexts.get([str(session.id)])[str(session.id)].template is not None
    clock.now += 1.1
    assert contexts.get([str(session.id)])[str(session.id)].template is None


def test_a_second_enrolment_takes_the_place_of_the_first() -> None:
    session, clock = make_session(), Clock()
    contexts = SessionContexts(clock=clock)
    contexts.get([str(session.id)])
    make_template(session.candidate, renewed := make_embedding(9))

    clock.now += 31
    template = contexts.get([str(session.id)])[str(session.id)].template

    assert template is not None
    np.testing.assert_array_equal(template, renewed)


def test_only_so_many_sessions_are_kept_the_least_used_go_first() -> None:
    names = [str(make_session().id) for _ in range(3)]
    contexts = SessionContexts(capacity=2)
    contexts.get(names[:2])
    contexts.get(names[:1])
    contexts.get(names[2:])

    with CaptureQueriesContext(connection) as captured:
        contexts.get([names[0], names[2]])
    assert len(captured) == 0
    with CaptureQueriesContext(connection) as captured:
        contexts.get([names[1]])
    assert len(captured) == 2


def test_a_template_that_cannot_be_opened_leaves_the_other_detectors_and_sessions_at_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, whole = make_session(), make_session()
    FaceTemplate.objects.filter(candidate=broken.candidate).update(ciphertext=b"\x01nonsense")

    contexts = SessionContexts().get([str(broken.id), str(whole.id)])

    assert contexts[str(broken.id)].template is None
    assert contexts[str(whole.id)].template is not None
    assert f"The template for session {broken.id} cannot be read" in caplog.text


def test_without_its_data_key_a_template_is_gone() -> None:
    session = make_session()
    DataKey.objects.all().delete()

    assert SessionContexts().get([str(session.id)])[str(session.id)].template is None


def test_a_policy_that_cannot_be_used_gives_way_to_the_default_loudly(caplog: pytest.LogCaptureFixture) -> None:
    session = make_session(policy={"rules": {"NO_FACE": {"hold_s": "soon"}}})

    assert SessionContexts().get([str(session.id)])[str(session.id)].policy == DEFAULT_POLICY
    assert "rules.NO_FACE.hold_s" in caplog.text


def test_who_sits_without_biometrics_does_so_under_a_policy_that_cannot_be_used_too() -> None:
    session = make_session(policy={**WITHOUT, "rules": {"NO_FACE": {"hold_s": "soon"}}})

    policy = SessionContexts().get([str(session.id)])[str(session.id)].policy

    assert (policy.detectors.identity.enabled, policy.detectors.voice.enabled) == (False, False)
    assert policy.rules == DEFAULT_POLICY.rules


@pytest.mark.parametrize("detectors", [None, [], "none", {"identity": None, "voice": []}])
def test_detectors_that_are_none_are_no_way_out_of_the_default(detectors: Any) -> None:
    session = make_session(policy={"detectors": detectors, "rules": {"NO_FACE": {"hold_s": "soon"}}})
    assert SessionContexts().get([str(session.id)])[str(session.id)].policy == DEFAULT_POLICY


def test_somebody_who_is_not_enrolled_has_no_template() -> None:
    candidate = make_candidate()
    make_template(candidate)
    session = make_session(candidate=candidate)
    FaceTemplate.objects.filter(candidate=candidate).delete()

    assert SessionContexts().get([str(session.id)])[str(session.id)].template is None


def test_an_unknown_session_has_no_context() -> None:
    assert SessionContexts().get([str(uuid.uuid4())]) == {}
    assert not RuleState.objects.exists()
