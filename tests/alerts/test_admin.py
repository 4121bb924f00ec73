"""The admin's pages about incidents, alerts, subscriptions and deliveries."""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Organisation, User
from alerts.models import Delivery, DeliveryAttempt, Evidence, Incident, Subscription
from alerts.subscriptions import secret_open, secrets_open
from detection.engine.policy import DEFAULT_RULES, EventType
from sessions.models import ExamSession
from tests.alerts import builders
from tests.alerts.receiver import Receiver
from tests.factories import make_gap, make_user

pytestmark = pytest.mark.django_db

PUBLIC = "https://93.184.216.34/hook"
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"t" * 32).decode()


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def chief(owner: Organisation) -> Client:
    return signed_in(make_user(owner, superuser=True))


@pytest.fixture
def proctor(owner: Organisation) -> Client:
    """Staff of the organisation who may see everything and manage subscriptions."""
    user = make_user(owner)
    user.user_permissions.set(Permission.objects.all())
    return signed_in(user)


def fill(owner: Organisation, count: int, *, of: ExamSession | None = None) -> ExamSession:
    """Write ``count`` incidents with pictures, alerts, deliveries and attempts; each in a session of its own."""
    for number in range(count):
        session = of or builders.session(owner, exam_id=f"exam-{number}")
        subscription, _ = builders.subscription(owner, f"{PUBLIC}/{number}")
        opened = builders.change(list(DEFAULT_RULES)[number % 7])
        frames = {f"f{n}": (builders.ONSET + n, builders.jpeg(n)) for n in range(2)}
        builders.apply(session, opened, frames=frames)
        builders.apply(session, builders.closing(opened))
        for delivery in Delivery.objects.filter(subscription=subscription):
            DeliveryAttempt.objects.create(
                organisation=owner, delivery=delivery, duration_ms=12.5, status_code=500, response="why", error="500"
            )
        make_gap(session)
    return session


def queries_of(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


@pytest.mark.parametrize("name", ["incident", "alert", "delivery", "subscription"])
def test_a_list_of_fifty_costs_as_many_queries_as_a_list_of_five(
    owner: Organisation, chief: Client, proctor: Client, name: str
) -> None:
    path = f"/admin/alerts/{name}/"
    fill(owner, 5)
    for client in (chief, proctor):
        queries_of(client, path)  # warms what Django looks up once
    few = [queries_of(client, path) for client in (chief, proctor)]
    fill(owner, 45)
    many = [queries_of(client, path) for client in (chief, proctor)]
    assert many == few
    assert max(many) < 15


def test_a_session_with_twenty_incidents_costs_as_many_queries_as_one_with_two(
    owner: Organisation, proctor: Client
) -> None:
    session = builders.session(owner)
    path = f"/admin/exam_sessions/examsession/{session.id}/change/"
    fill(owner, 2, of=session)
    queries_of(proctor, path)
    few = queries_of(proctor, path)
    fill(owner, 18, of=session)
    assert queries_of(proctor, path) == few


def test_a_sessions_page_shows_its_incidents_pictures_and_gaps(owner: Organisation, proctor: Client) -> None:
    session = builders.session(owner)
    fill(owner, 3, of=session)
    page = proctor.get(f"/admin/exam_sessions/examsession/{session.id}/change/").content.decode()
    incidents = Incident.objects.filter(session=session)
    assert len(incidents) == 3
    for incident in incidents:
        assert f"/admin/alerts/incident/{incident.id}/change/" in page
        assert incident.event_type in page
    for row in Evidence.objects.filter(session=session):
        assert f"/admin/alerts/incident/{row.id}/picture/" in page
    assert "overload" in page


def test_an_incidents_page_says_why(owner: Organisation, proctor: Client) -> None:
    session = builders.session(owner, exam_id="maths")
    measured = {"identity": {"comparison_score": 0.1183, "similarity": 0.41, "quality": {"width_px": 151.2}}}
    builders.apply(
        session,
        builders.change(
            EventType.FACE_MISMATCH, value=0.41, peak_value=0.23, model="sface-2021dec",
            measures={"onset": measured, "decision": measured, "peak": measured},
        ),
    )  # fmt: skip
    incident = Incident.objects.get()
    page = proctor.get(f"/admin/alerts/incident/{incident.id}/change/").content.decode()
    for text in (
        "similarity with the enrolled face was below the threshold of 0.75 for at least 2 s",
        "Raw score (cosine, -1 to 1, at the decision)", "0.1183", "Lowest similarity (0 to 1)", "0.23 at 14:13:22 UTC",
        "sface-2021dec", "default, version 1-abc", "0.9 · (½ + ½ · 0.69) = 0.762",
        "Width of the face (pixels)", "151.2", "only a person decides",
        f"/admin/exam_sessions/examsession/{session.id}/change/", "maths",
    ):  # fmt: skip
        assert text in page, text


def test_measured_times_are_times_of_day_and_truths_are_words(owner: Organisation, proctor: Client) -> None:
    heard = {"speech": {"share": 1.0, "first_at": builders.ONSET + 1.5}, "identity": {"decided": True}}
    opened = builders.change(EventType.SPEECH_DETECTED, measures={"onset": heard, "decision": heard, "peak": heard})
    builders.apply(builders.session(owner), opened)
    page = proctor.get(f"/admin/alerts/incident/{Incident.objects.get().id}/change/").content.decode()
    assert "<tr><th>First speech</th><td>14:13:21 UTC</td>" in page
    assert "<tr><th>Picture good enough to decide</th><td>yes</td>" in page
    assert "1790000001" not in page


def test_what_was_said_is_shown_with_its_keywords(owner: Organisation, proctor: Client) -> None:
    heard = {"transcript": {"text": "what is the answer", "keywords": ["answer", "what"], "language": "en"}}
    opened = builders.change(EventType.KEYWORD_SPOKEN, measures={"onset": heard, "decision": heard, "peak": heard})
    builders.apply(builders.session(owner), opened)
    page = proctor.get(f"/admin/alerts/incident/{Incident.objects.get().id}/change/").content.decode()
    assert "<td>what is the answer</td>" in page
    assert "<tr><th>Keywords in it</th><td>answer, what</td>" in page


def test_pictures_say_which_moment_they_show(owner: Organisation, proctor: Client) -> None:
    frames = {"f1": (builders.ONSET, builders.jpeg(1)), "f3": (builders.ONSET + 3, builders.jpeg(3))}
    builders.apply(builders.session(owner), builders.change(peak_at=builders.ONSET + 3), frames=frames)
    page = proctor.get(f"/admin/alerts/incident/{Incident.objects.get().id}/change/").content.decode()
    first, second = Evidence.objects.order_by("captured_at")
    assert 'alt="Onset · 14:13:20 UTC"' in page
    assert 'alt="Decision, peak · 14:13:23 UTC"' in page
    for row in (first, second):
        assert f'title="Frame {row.frame_id}, sha256 {row.sha256}"' in page


def test_times_are_shown_in_the_zone_that_is_set(owner: Organisation, proctor: Client, settings: Any) -> None:
    settings.ADMIN_TIME_ZONE = "Asia/Tokyo"
    builders.apply(builders.session(owner), frames={"f1": (builders.ONSET, builders.jpeg())})
    far = signed_in(User.objects.get())
    page = far.get(f"/admin/alerts/incident/{Incident.objects.get().id}/change/").content.decode()
    assert "2026-09-21 23:13:20 JST" in page
    assert "23:13:20 JST</strong>" in page


@pytest.mark.parametrize("event_type", list(EventType))
def test_every_kind_of_incident_has_a_page(owner: Organisation, proctor: Client, event_type: EventType) -> None:
    builders.apply(builders.session(owner), builders.change(event_type))
    page = proctor.get(f"/admin/alerts/incident/{Incident.objects.get().id}/change/")
    assert page.status_code == 200
    said = "The clipboard was used." if event_type == EventType.CLIPBOARD else "for at least"  # that is a moment
    assert said in page.content.decode()


def test_incidents_are_filtered_and_searched(owner: Organisation, proctor: Client) -> None:
    maths = builders.session(owner, exam_id="maths", session_id="first-sitting")
    art = builders.session(owner, exam_id="art", session_id="second-sitting")
    builders.apply(maths, builders.change(EventType.NO_FACE))
    builders.apply(art, builders.change(EventType.CAMERA_LOST, "closed"))

    def found(query: str) -> set[str]:
        answer = proctor.get(f"/admin/alerts/incident/?{query}")
        assert answer.status_code == 200
        return {incident.event_type for incident in answer.context["cl"].queryset}

    assert found("") == {"NO_FACE", "CAMERA_LOST"}
    assert found("event_type=NO_FACE") == {"NO_FACE"}
    assert found("state=closed") == {"CAMERA_LOST"}
    assert found("technical__exact=1") == {"CAMERA_LOST"}
    assert found(f"session__exam={maths.exam_id}") == {"NO_FACE"}
    assert found("q=second-sitting") == {"CAMERA_LOST"}
    assert found(f"q={maths.candidate.candidate_id}") == {"NO_FACE"}


# --- Pictures ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def picture(owner: Organisation) -> Evidence:
    builders.apply(builders.session(owner), frames={"f1": (builders.ONSET, builders.jpeg())})
    return Evidence.objects.select_related("session__candidate__data_key").get()


def picture_path(row: Evidence) -> str:
    return f"/admin/alerts/incident/{row.id}/picture/"


def test_a_picture_is_shown_to_those_who_may_see_evidence(
    owner: Organisation, picture: Evidence, proctor: Client, chief: Client
) -> None:
    for client in (proctor, chief):
        answer = client.get(picture_path(picture))
        assert answer.content == builders.jpeg()
        assert answer["content-type"] == "image/jpeg"
        assert "no-store" in answer["cache-control"]
        assert answer["x-content-type-options"] == "nosniff"
    without = signed_in(make_user(owner, permissions=["view_incident"]))
    assert without.get(picture_path(picture)).status_code == 403
    stranger = make_user(builders.organisation())
    stranger.user_permissions.set(Permission.objects.all())
    assert signed_in(stranger).get(picture_path(picture)).status_code == 404
    assert Client().get(picture_path(picture)).status_code == 302


def test_pictures_that_are_gone_are_told_apart(picture: Evidence, proctor: Client) -> None:
    Evidence.objects.update(removed_at=timezone.now())
    assert proctor.get(picture_path(picture)).status_code == 410
    page = proctor.get(f"/admin/alerts/incident/{picture.incident_id}/change/").content.decode()
    assert "removed" in page
    assert picture_path(picture) not in page
    Evidence.objects.update(removed_at=None)
    assert picture.session.candidate.data_key is not None
    picture.session.candidate.data_key.delete()
    assert proctor.get(picture_path(picture)).status_code == 410


# --- Organisations ----------------------------------------------------------------------------------------------------
def test_staff_see_rows_of_their_own_organisation_only(owner: Organisation, proctor: Client) -> None:
    other = builders.organisation()
    fill(other, 2)
    fill(owner, 1)
    for name, mine in (("incident", 1), ("alert", 2), ("delivery", 2), ("subscription", 1)):
        listed = proctor.get(f"/admin/alerts/{name}/").context["cl"].queryset
        assert listed.count() == mine
        model = listed.model
        for row in model.objects.filter(organisation=other):
            answer = proctor.get(f"/admin/alerts/{name}/{row.pk}/change/")
            assert answer.status_code == 302  # Django's answer to what is not there
            assert answer["location"] == "/admin/"


def test_nobody_changes_or_removes_what_the_service_wrote(owner: Organisation, chief: Client) -> None:
    fill(owner, 1)
    for name, row in (("incident", Incident), ("delivery", Delivery)):
        path = f"/admin/alerts/{name}/{row.objects.first().pk}"  # type: ignore[union-attr]
        assert chief.post(f"{path}/change/", {}).status_code == 403
        assert chief.post(f"{path}/delete/", {"post": "yes"}).status_code == 403
        assert chief.get(f"/admin/alerts/{name}/add/").status_code == 403
    assert Incident.objects.count() == 1


# --- Subscriptions ----------------------------------------------------------------------------------------------------
def form(**fields: Any) -> dict[str, Any]:
    plain = {"transport": "webhook", "url": PUBLIC, "event_types": [], "exam_ids": "", "enabled": "on"}
    return plain | {"ordered": "on", "concurrency": "4", "rate_per_s": ""} | fields


ADD = "/admin/alerts/subscription/add/"


def test_a_generated_secret_is_shown_once_and_never_again(owner: Organisation, proctor: Client) -> None:
    answer = proctor.post(ADD, form(event_types=["NO_FACE"], exam_ids="maths, art"))
    row = Subscription.objects.get()
    secret = secret_open(row)
    assert secret in answer.content.decode()
    assert (row.organisation, row.event_types, row.exam_ids) == (owner, ["NO_FACE"], ["maths", "art"])
    for path in ("/admin/alerts/subscription/", f"/admin/alerts/subscription/{row.id}/change/"):
        page = proctor.get(path).content.decode()
        assert secret not in page
        assert secret.removeprefix("whsec_")[:16] not in page


def test_a_given_secret_is_kept_and_an_empty_field_changes_nothing(proctor: Client) -> None:
    assert proctor.post(ADD, form(new_secret=SECRET)).status_code == 302
    row = Subscription.objects.get()
    assert secret_open(row) == SECRET
    path = f"/admin/alerts/subscription/{row.id}/change/"
    assert proctor.post(path, form(url=f"{PUBLIC}/2")).status_code == 302
    row.refresh_from_db()
    assert (secret_open(row), row.url) == (SECRET, f"{PUBLIC}/2")


def test_a_new_secret_is_signed_with_beside_the_old_one_for_a_day_unless_that_is_void(proctor: Client) -> None:
    proctor.post(ADD, form(new_secret=SECRET))
    row = Subscription.objects.get()
    path = f"/admin/alerts/subscription/{row.id}/change/"
    assert proctor.post(path, form(new_secret=OTHER_SECRET, keep_old_secret="on")).status_code == 302
    row.refresh_from_db()
    now = timezone.now()
    assert secrets_open(row, now) == (OTHER_SECRET, SECRET)
    assert secrets_open(row, now + timedelta(hours=25)) == (OTHER_SECRET,)

    assert proctor.post(path, form(new_secret=SECRET)).status_code == 302
    row.refresh_from_db()
    assert secrets_open(row, now) == (SECRET,)


def test_an_old_secret_that_does_not_open_is_not_kept_but_may_be_replaced(proctor: Client) -> None:
    proctor.post(ADD, form(new_secret=SECRET))
    row = Subscription.objects.get()
    Subscription.objects.update(sealed_secret=b"not to be opened")
    path = f"/admin/alerts/subscription/{row.id}/change/"
    answer = proctor.post(path, form(new_secret=OTHER_SECRET, keep_old_secret="on"))
    assert "keep_old_secret" in answer.context["adminform"].form.errors
    assert proctor.post(path, form(new_secret=OTHER_SECRET)).status_code == 302
    row.refresh_from_db()
    assert secret_open(row) == OTHER_SECRET


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": "http://127.0.0.1/"}, "url"),
        ({"url": "nonsense"}, "url"),
        ({"new_secret": "whsec_short"}, "new_secret"),
        ({"event_types": ["SNEEZE"]}, "event_types"),
        ({"exam_ids": "../etc"}, "exam_ids"),
        ({"transport": "pigeon"}, "transport"),
    ],
)
def test_what_the_api_refuses_the_form_refuses(proctor: Client, fields: dict[str, Any], field: str) -> None:
    answer = proctor.post(ADD, form(**fields))
    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert not Subscription.objects.exists()


def test_enabling_again_clears_the_reason(proctor: Client, owner: Organisation) -> None:
    row, _ = builders.subscription(owner, PUBLIC)
    Subscription.objects.update(enabled=False, disabled_reason="The subscriber answered 410.")
    path = f"/admin/alerts/subscription/{row.id}/change/"
    assert "answered 410" in proctor.get(path).content.decode()
    proctor.post(path, form())
    row.refresh_from_db()
    assert (row.enabled, row.disabled_reason) == (True, "")


def test_an_empty_list_says_whether_there_is_nothing_or_nothing_that_matches(
    owner: Organisation, proctor: Client
) -> None:
    incidents = proctor.get("/admin/alerts/incident/").content.decode()
    assert "No incidents yet" in incidents
    assert "Create a new" not in incidents  # nobody can
    assert "Add subscription" in proctor.get("/admin/alerts/subscription/").content.decode()
    fill(owner, 1)
    for asked in ("?q=nobody", "?event_type=PHONE"):
        page = proctor.get(f"/admin/alerts/incident/{asked}").content.decode()
        assert "No incidents match" in page
        assert "Show all" in page


def test_subscriptions_show_what_waits_and_what_is_parked(owner: Organisation, proctor: Client) -> None:
    fill(owner, 1)
    first, _ = Delivery.objects.order_by("id")
    Delivery.objects.filter(pk=first.pk).update(state="parked")
    (row,) = proctor.get("/admin/alerts/subscription/").context["cl"].queryset
    assert (row.pending_count, row.parked_count, row.last_success_at) == (1, 1, None)


def test_only_what_waits_has_a_next_try(owner: Organisation, proctor: Client) -> None:
    fill(owner, 1)
    Delivery.objects.update(state="delivered", delivered_at=timezone.now())
    leased = f"{Delivery.objects.first().next_attempt_at:%Y-%m-%d %H:%M}"  # type: ignore[union-attr]
    shown = re.findall(r'<td class="field-next_try[^>]*>\s*(.*?)\s*</td>', _list(proctor), re.DOTALL)
    assert shown == ["-", "-"]
    Delivery.objects.update(state="pending")
    assert leased in re.findall(r'<td class="field-next_try[^>]*>\s*(.*?)\s*</td>', _list(proctor), re.DOTALL)[0]


def _list(client: Client) -> str:
    return client.get("/admin/alerts/delivery/").content.decode()


def test_a_deliverys_page_shows_every_try(owner: Organisation, proctor: Client) -> None:
    fill(owner, 1)
    delivery = Delivery.objects.order_by("id").first()
    assert delivery is not None
    DeliveryAttempt.objects.create(
        organisation=owner, delivery=delivery, duration_ms=31.0, status_code=502, response="<b>bad</b> gateway",
        error="The subscriber answered 502.", attempted_at=timezone.now() + timedelta(seconds=5),
    )  # fmt: skip
    page = proctor.get(f"/admin/alerts/delivery/{delivery.pk}/change/").content.decode()
    assert "&lt;b&gt;bad&lt;/b&gt; gateway" in page
    assert "502" in page
    assert "31 ms" in page


# --- Health, samples, sending again -----------------------------------------------------------------------------------
def test_saving_a_subscription_leaves_alone_what_the_deliveries_write(owner: Organisation, proctor: Client) -> None:
    row, _ = builders.subscription(owner, PUBLIC)
    path = f"/admin/alerts/subscription/{row.id}/change/"
    proctor.get(path)
    Subscription.objects.update(calls={"lease": 1.0}, last_success_at=timezone.now())
    assert proctor.post(path, form(concurrency="2", rate_per_s="50")).status_code == 302
    saved = Subscription.objects.get()
    assert (saved.concurrency, saved.rate_per_s, saved.calls) == (2, 50, {"lease": 1.0})
    assert saved.last_success_at is not None


def test_the_list_says_how_it_goes(owner: Organisation, proctor: Client) -> None:
    row, _ = builders.subscription(owner, PUBLIC)
    soon = timezone.now() + timedelta(minutes=1)
    states = [
        ({}, "well"),
        ({"failing_since": timezone.now(), "failure_count": 1}, "failing"),
        ({"failing_since": timezone.now(), "failure_count": 5, "breaker_until": soon}, "left alone"),
        ({"failing_since": timezone.now(), "failure_count": 5, "breaker_until": timezone.now()}, "probing"),
        ({"enabled": False}, "switched off"),
        ({"disabled_reason": "The subscriber answered 410."}, "given up"),
    ]
    for fields, word in states:
        Subscription.objects.filter(pk=row.pk).update(**fields)
        assert word in proctor.get("/admin/alerts/subscription/").content.decode()


def test_a_sample_is_sent_when_the_question_is_answered(
    owner: Organisation, proctor: Client, receiver: Receiver
) -> None:
    row, _ = builders.subscription(owner, receiver.url())
    path = f"/admin/alerts/subscription/{row.id}/test/"
    assert "nobody" in proctor.get(path).content.decode()
    assert receiver.requests == []
    page = proctor.post(path, follow=True).content.decode()
    assert "The sample was delivered" in page
    assert len(receiver.requests) == 1
    receiver.statuses = [500]
    assert "answered 500" in proctor.post(path, follow=True).content.decode()


def test_samples_are_for_those_who_may_change_a_subscription_that_they_see(
    owner: Organisation, proctor: Client, receiver: Receiver
) -> None:
    other, _ = builders.subscription(builders.organisation(), receiver.url())
    row, _ = builders.subscription(owner, receiver.url())
    viewer = signed_in(builders.staff(owner, may=["view_subscription"]))
    assert proctor.post(f"/admin/alerts/subscription/{other.id}/test/").status_code in (403, 404)
    assert viewer.post(f"/admin/alerts/subscription/{row.id}/test/").status_code == 403
    assert receiver.requests == []


def test_chosen_deliveries_are_queued_again(owner: Organisation, proctor: Client) -> None:
    fill(owner, 1)
    Delivery.objects.update(state="parked", attempt_count=13)
    chosen = {"action": "resend", "_selected_action": list(Delivery.objects.values_list("pk", flat=True))}
    page = proctor.post("/admin/alerts/delivery/", chosen, follow=True).content.decode()
    assert "2 of 2 queued again" in page
    assert list(Delivery.objects.values_list("state", "attempt_count")) == [("pending", 0)] * 2


def test_a_delivery_is_sent_again_from_its_page_when_the_question_is_answered(
    owner: Organisation, proctor: Client
) -> None:
    fill(owner, 1)
    row = Delivery.objects.all()[0]
    Delivery.objects.filter(pk=row.pk).update(state="parked", attempt_count=13)
    path = f"/admin/alerts/delivery/{row.pk}/resend/"
    assert path in proctor.get(f"/admin/alerts/delivery/{row.pk}/change/").content.decode()
    assert "parked now" in proctor.get(path).content.decode()
    row.refresh_from_db()
    assert row.state == "parked"  # only asked
    assert "queued again" in proctor.post(path, follow=True).content.decode()
    row.refresh_from_db()
    assert (row.state, row.attempt_count) == ("pending", 0)

    Delivery.objects.filter(pk=row.pk).update(leased_until=timezone.now() + timedelta(minutes=1))
    assert "being sent" in proctor.post(path, follow=True).content.decode()
    stranger = signed_in(builders.staff(builders.organisation(), may=["view_delivery", "change_subscription"]))
    viewer = signed_in(builders.staff(owner, may=["view_delivery"]))
    assert {client.post(path).status_code for client in (stranger, viewer)} <= {403, 404}


def test_who_may_only_look_sends_nothing_again(owner: Organisation) -> None:
    fill(owner, 1)
    Delivery.objects.update(state="parked")
    viewer = signed_in(builders.staff(owner, may=["view_delivery"]))
    chosen = {"action": "resend", "_selected_action": list(Delivery.objects.values_list("pk", flat=True))}
    viewer.post("/admin/alerts/delivery/", chosen, follow=True)
    assert set(Delivery.objects.values_list("state", flat=True)) == {"parked"}


def test_deliveries_are_found_by_what_they_tell(owner: Organisation, proctor: Client) -> None:
    fill(owner, 3)
    told = Delivery.objects.values_list("alert__event_type", flat=True).first()
    rows = proctor.get(f"/admin/alerts/delivery/?event_type={told}").context["cl"].queryset
    assert {row.event_type for row in rows} == {told}
    assert rows.count() == 2
