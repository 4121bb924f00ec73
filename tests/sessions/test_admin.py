"""The session's page and the policy's form in the admin."""

from __future__ import annotations

import pytest
from django.forms import ModelForm, modelform_factory
from django.test import Client
from django.utils import timezone

from accounts.models import Organisation
from detection.engine.policy import DEFAULT_POLICY
from sessions.models import ExamSession, Policy
from sessions.policy_form import PolicyForm, field_name, fieldsets, leaves
from tests.factories import make_gap, make_organisation, make_session, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def organisation() -> Organisation:
    return make_organisation("default")


def signed_in(organisation: Organisation, *permissions: str) -> Client:
    client = Client()
    client.force_login(make_user(organisation, permissions=list(permissions)))
    return client


def path(session: ExamSession, page: str = "change") -> str:
    return f"/admin/exam_sessions/examsession/{session.id}/{page}/"


def test_a_session_is_ended_after_asking(organisation: Organisation) -> None:
    session = make_session(organisation, state="live")
    proctor = signed_in(organisation, "view_examsession", "change_examsession")
    assert path(session, "end") in proctor.get(path(session)).content.decode()
    asked = proctor.get(path(session, "end")).content.decode()
    session.refresh_from_db()
    assert session.session_id in asked
    assert session.state == "live"
    assert proctor.post(path(session, "end")).status_code == 302
    session.refresh_from_db()
    assert (session.state, session.end_reason) == ("ended", "proctor")
    assert path(session, "end") not in proctor.get(path(session)).content.decode()


def test_only_those_who_may_end_the_organisations_own_running_sessions(organisation: Organisation) -> None:
    own, ended = make_session(organisation, state="live"), make_session(organisation, state="ended")
    other = make_session(make_organisation(), state="live")
    reader = signed_in(organisation, "view_examsession")
    proctor = signed_in(organisation, "view_examsession", "change_examsession")
    for client, session in ((reader, own), (proctor, ended), (proctor, other)):
        assert client.post(path(session, "end")).status_code == 403
    assert set(ExamSession.objects.filter(state="live")) == {own, other}
    assert path(own, "end") not in reader.get(path(own)).content.decode()


def test_a_sessions_page_says_whether_everything_was_looked_at(organisation: Organisation) -> None:
    proctor = signed_in(organisation, "view_examsession", "view_mediagap")
    session = make_session(organisation)
    assert "No media has arrived." in proctor.get(path(session)).content.decode()
    ExamSession.objects.update(state="live", live_at=timezone.now())
    assert "No gaps: everything was looked at." in proctor.get(path(session)).content.decode()
    gap = make_gap(session)
    page = proctor.get(path(session)).content.decode()
    assert f"1 gap, {(gap.ended_at - gap.started_at).total_seconds():.1f} s in all" in page
    assert gap.reason in page


def test_ids_keep_their_spelling_in_titles(organisation: Organisation) -> None:
    session = make_session(organisation, session_id="demo-1")
    page = signed_in(organisation, "view_examsession").get(path(session)).content.decode()
    assert "demo-1" in page
    assert "Demo-1" not in page


def test_every_setting_of_a_policy_is_in_an_explained_group_of_short_lines() -> None:
    shown = [name for _, group in fieldsets() for line in group["fields"] for name in line]
    assert sorted(shown) == sorted(field_name(setting) for setting, _ in leaves(DEFAULT_POLICY.to_dict()))
    assert all(group["description"] for _, group in fieldsets())
    assert max(len(line) for _, group in fieldsets() for line in group["fields"]) <= 7


FORM = modelform_factory(Policy, form=PolicyForm, fields=["name"])


def form(keywords: str) -> ModelForm[Policy]:
    """Fill in the form with its defaults, and these lines of keywords."""
    blank = FORM()
    data = {name: blank.get_initial_for_field(field, name) for name, field in blank.fields.items()}
    return FORM({**data, "name": "Aloud", "detectors__transcript__keywords": keywords})


def test_keywords_are_edited_one_a_line() -> None:
    filled = form("answer\r\n\r\n  question   three \nanswer")
    filled.is_valid()
    assert "detectors__transcript__keywords" not in filled.errors
    assert filled.instance.document["detectors"]["transcript"]["keywords"] == ["answer", "question three"]
    shown = FORM(instance=filled.instance)["detectors__transcript__keywords"].value()
    assert shown == "answer\nquestion three"


def test_a_keyword_that_is_too_long_is_refused_at_its_field() -> None:
    refused = form("answer\n" + "x" * 61)
    assert not refused.is_valid()
    assert "up to 60 characters" in refused.errors["detectors__transcript__keywords"][0]
