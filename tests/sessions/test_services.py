"""States, the sweep, and policies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.utils import timezone
from redis import Redis

from accounts.models import Organisation
from accounts.problems import Problem
from detection.messages import revoked_key
from sessions.models import ExamSession, Policy
from sessions.policies import first_policy_document, policy_default
from sessions.services import session_end, session_state_set
from sessions.sweep import sweep_sessions
from tests.factories import make_policy, make_session
from tests.sessions.test_session import away, queued

pytestmark = pytest.mark.django_db


class TestState:
    def test_media_makes_it_live_interrupted_and_live_again(self, organisation: Organisation) -> None:
        session, first = make_session(organisation), timezone.now()
        for state, at in (("live", first), ("interrupted", first), ("live", first + timedelta(minutes=1))):
            assert session_state_set(session=session, state=state, at=at) is True
            assert session.state == state
        session.refresh_from_db()
        assert session.live_at == first

    def test_what_is_no_news_changes_nothing(self, organisation: Organisation) -> None:
        session, now = make_session(organisation), timezone.now()
        assert session_state_set(session=session, state="interrupted", at=now) is False
        session_state_set(session=session, state="live", at=now)
        assert session_state_set(session=session, state="live", at=now) is False

    @pytest.mark.parametrize("state", ["live", "interrupted"])
    def test_nothing_leaves_ended(self, organisation: Organisation, state: str) -> None:
        session = make_session(organisation)
        stale = ExamSession.objects.get(pk=session.pk)
        session_end(session=session, reason="requested")
        assert session_state_set(session=stale, state=state, at=timezone.now()) is False
        stale.refresh_from_db()
        assert stale.state == "ended"

    @pytest.mark.parametrize("state", ["ended", "created", "nonsense"])
    def test_other_states_are_not_set_by_media(self, organisation: Organisation, state: str) -> None:
        with pytest.raises(ValueError, match=state):
            session_state_set(session=make_session(organisation), state=state, at=timezone.now())

    def test_an_end_keeps_its_time_and_reason(self, organisation: Organisation) -> None:
        session, at = make_session(organisation), timezone.now() - timedelta(seconds=5)
        ended = session_end(session=session, reason="peer", at=at)
        assert (ended.state, ended.ended_at, ended.end_reason) == ("ended", at, "peer")
        with pytest.raises(Problem, match="session_ended"):
            session_end(session=session, reason="again")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis_client")
class TestSweep:
    def test_overdue_sessions_end_after_grace(
        self, organisation: Organisation, redis_client: Redis, settings: Any
    ) -> None:
        settings.JOIN_GRACE_S = 60
        now = timezone.now()
        overdue = make_session(organisation, planned_end_at=now - timedelta(seconds=61), state="live")
        in_grace = make_session(organisation, planned_end_at=now - timedelta(seconds=50))
        assert sweep_sessions().ended == 1
        overdue.refresh_from_db()
        in_grace.refresh_from_db()
        assert (overdue.state, overdue.end_reason, in_grace.state) == ("ended", "overdue", "created")
        assert [message["session_id"] for message in queued(redis_client)] == [str(overdue.id)]

    def test_an_end_that_nobody_handled_is_said_again(self, organisation: Organisation, redis_client: Redis) -> None:
        now = timezone.now()
        unclosed = make_session(organisation, state="ended", ended_at=now - timedelta(seconds=30))
        make_session(organisation, state="ended", ended_at=now)
        make_session(organisation, state="ended", ended_at=now - timedelta(hours=1), closed_at=now)
        assert sweep_sessions().closed_again == 1
        assert [message["session_id"] for message in queued(redis_client)] == [str(unclosed.id)]

    def test_an_emptied_redis_learns_again_which_tokens_are_void(
        self, organisation: Organisation, redis_client: Redis
    ) -> None:
        now = timezone.now()
        ended = make_session(organisation, state="ended", ended_at=now, closed_at=now)
        expired = make_session(
            organisation, state="ended", ended_at=now, closed_at=now, planned_end_at=now - timedelta(days=1)
        )
        running = make_session(organisation)
        assert sweep_sessions().revoked_again == 1
        assert redis_client.exists(revoked_key(str(ended.id))) == 1
        assert redis_client.exists(revoked_key(str(expired.id)), revoked_key(str(running.id))) == 0

    def test_tokens_are_voided_again_only_when_redis_forgot(
        self, organisation: Organisation, redis_client: Redis
    ) -> None:
        now = timezone.now()
        long_ago = make_session(organisation, state="ended", ended_at=now - timedelta(minutes=30), closed_at=now)
        assert sweep_sessions().revoked_again == 1
        assert sweep_sessions().revoked_again == 0
        just_now = make_session(organisation, state="ended", ended_at=now, closed_at=now)
        assert sweep_sessions().revoked_again == 1
        assert redis_client.exists(revoked_key(str(just_now.id))) == 1
        redis_client.flushdb()
        assert sweep_sessions().revoked_again == 2
        assert redis_client.exists(revoked_key(str(long_ago.id)), revoked_key(str(just_now.id))) == 2

    def test_without_redis_overdue_sessions_end_nevertheless(self, organisation: Organisation, settings: Any) -> None:
        session = make_session(organisation, planned_end_at=timezone.now() - timedelta(days=1))
        with away(settings):
            assert sweep_sessions().ended == 1
        session.refresh_from_db()
        assert session.state == "ended"

    def test_queries_do_not_grow_with_running_sessions(
        self, organisation: Organisation, django_assert_num_queries: Any
    ) -> None:
        for _ in range(5):
            make_session(organisation)
        with django_assert_num_queries(3):
            sweep_sessions()


class TestPolicy:
    def test_the_default_is_seeded_with_the_threshold(self, organisation: Organisation, settings: Any) -> None:
        settings.FACE_MATCH_THRESHOLD = 0.6
        policy = policy_default(organisation=organisation)
        rule = policy.document["rules"]["FACE_MISMATCH"]
        assert (rule["enter"], rule["exit"], policy.version, policy.is_default) == (0.6, 0.6, 1, True)
        settings.FACE_MATCH_THRESHOLD = 0.9
        assert policy_default(organisation=organisation) == policy
        assert Policy.objects.get(pk=policy.pk).document["rules"]["FACE_MISMATCH"]["enter"] == 0.6

    @pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
    def test_a_threshold_that_is_none_is_refused_by_its_name(self, settings: Any, threshold: float) -> None:
        settings.FACE_MATCH_THRESHOLD = threshold
        with pytest.raises(ImproperlyConfigured, match="FACE_MATCH_THRESHOLD"):
            first_policy_document()

    def test_a_policy_called_default_becomes_the_default(self, organisation: Organisation) -> None:
        policy = make_policy(organisation, "Default")
        assert policy_default(organisation=organisation) == policy
        policy.refresh_from_db()
        assert policy.is_default

    def test_a_changed_document_is_a_new_version(self, organisation: Organisation) -> None:
        policy = make_policy(organisation)
        policy.name = "renamed"
        policy.save()
        assert policy.version == 1
        policy.document["rules"]["NO_FACE"]["hold_s"] = 5.0
        policy.save(update_fields=["document"])
        assert Policy.objects.get(pk=policy.pk).version == 2

    def test_a_stale_copy_does_not_turn_the_version_back(self, organisation: Organisation) -> None:
        policy = make_policy(organisation)
        stale = Policy.objects.get(pk=policy.pk)
        for hold_s in (5.0, 6.0):
            policy.document["rules"]["NO_FACE"]["hold_s"] = hold_s
            policy.save()
        stale.save()
        assert Policy.objects.get(pk=policy.pk).version == 4

    def test_a_document_that_cannot_be_used_is_refused_by_path(self, organisation: Organisation) -> None:
        policy = make_policy(organisation)
        policy.document["rules"]["NO_FACE"]["hold_s"] = "long"
        with pytest.raises(ValidationError) as caught:
            policy.full_clean()
        assert "rules.NO_FACE.hold_s" in str(caught.value.message_dict["document"])
