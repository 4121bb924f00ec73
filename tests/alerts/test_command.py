"""``manage.py alerts``: tail, replay and status, read by people and by machines."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import Organisation
from alerts import delivery
from alerts.models import Alert, Delivery, Subscription
from alerts.payload import iso
from detection.engine.policy import EventType
from sessions.models import ExamSession
from tests.alerts import builders
from tests.alerts.receiver import Receiver
from tests.alerts.web import database_url

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def owner() -> Organisation:
    return Organisation.objects.get_or_create(slug="default", defaults={"name": "Default"})[0]


@pytest.fixture
def session(owner: Organisation) -> ExamSession:
    return builders.session(owner, exam_id="maths", session_id="maths-1")


@pytest.fixture
def subscription(owner: Organisation, receiver: Receiver) -> Subscription:
    return builders.subscription(owner, receiver.url("/ok"))[0]


def alerts(*arguments: object) -> list[str]:
    """Run the command; return the lines that it printed."""
    out = io.StringIO()
    call_command("alerts", *(str(argument) for argument in arguments), stdout=out)
    return out.getvalue().splitlines()


def refusal(*arguments: object) -> str:
    with pytest.raises(CommandError) as error:
        alerts(*arguments)
    return str(error.value)


# --- tail -------------------------------------------------------------------------------------------------------------
def test_tail_tells_an_alert_in_a_line(session: ExamSession) -> None:
    opened = builders.change(EventType.FACE_MISMATCH)
    alert = builders.apply(session, opened)
    builders.apply(session, builders.closing(opened))
    first, second = alerts("tail", "--from-beginning", "--once")
    severity = alert.payload["severity_score"]
    assert first == (
        f"2026-09-21T14:13:20.250Z  maths-1 #1  FACE_MISMATCH opened  severity {severity:.2f}  {alert.event_id}"
    )
    assert "#2  FACE_MISMATCH closed after 9.5 s" in second


def test_tail_goes_on_after_an_alert_and_filters(owner: Organisation, session: ExamSession) -> None:
    other = builders.session(owner, exam_id="physics")
    sent = [builders.apply(where) for where in (session, other, session)]
    lost = builders.apply(session, builders.change(EventType.CAMERA_LOST))

    def told(*options: object) -> list[str]:
        return [line.split()[-1] for line in alerts("tail", "--once", *options)]

    assert told() == []  # from now on
    assert told("--after", sent[0].event_id) == [str(alert.event_id) for alert in (*sent[1:], lost)]
    assert told("--from-beginning", "--session", "maths-1", "--event-type", "NO_FACE") == [
        str(sent[0].event_id), str(sent[2].event_id),
    ]  # fmt: skip
    assert told("--from-beginning", "--exam", "physics", "--exam", "none") == [str(sent[1].event_id)]


def test_tail_prints_alerts_as_published_one_a_line(session: ExamSession) -> None:
    sent = [builders.apply(session) for _ in range(2)]
    assert [json.loads(line) for line in alerts("tail", "--once", "--from-beginning", "--json")] == [
        alert.payload for alert in sent
    ]


def test_what_tail_cannot_follow_is_said_in_a_sentence(session: ExamSession) -> None:
    first = builders.apply(session)
    told = refusal("tail", "--once", "--after", uuid.uuid4())
    assert "never issued or is not kept any more" in told
    assert str(first.event_id) in told
    assert refusal("tail", "--organisation", "none") == "There is no organisation 'none'."
    assert refusal("tail", "--session", "none") == "The organisation 'default' has no session 'none'."
    assert refusal("tail", "--event-type", "NO_FACES") == "Not an event type: NO_FACES."
    assert "not with the alerts: DELIVERY_PARKED" in refusal("tail", "--event-type", "DELIVERY_PARKED")
    Alert.objects.all().delete()
    assert refusal("tail", "--once", "--after", first.event_id).endswith("No alert is kept.")


def _process(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "alerts", *arguments], cwd=ROOT, text=True, bufsize=1,
        env={**os.environ, "DATABASE_URL": database_url()}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_tail_follows_until_interrupted_and_says_where_to_go_on(session: ExamSession) -> None:
    before = builders.apply(session)
    with _process("tail", "--from-beginning") as process:
        assert process.stdout is not None
        assert str(before.event_id) in process.stdout.readline()
        later = builders.apply(session)
        assert str(later.event_id) in process.stdout.readline()
        time.sleep(
            0.3
        )  # interrupted while it prints, it would name the alert before: one comes twice rather than never
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (0, f"Stopped. Go on with --after {later.event_id}.\n")


def test_tail_ends_quietly_when_its_reader_goes(session: ExamSession) -> None:
    builders.apply(session)
    with _process("tail", "--from-beginning") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        builders.apply(session)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


# --- replay -----------------------------------------------------------------------------------------------------------
def _deliver(subscription: Subscription) -> None:
    delivery.drain([subscription.id])


def test_replay_sends_again_what_was_delivered_under_the_same_id_and_what_never_was(
    session: ExamSession, subscription: Subscription, receiver: Receiver
) -> None:
    delivered = builders.apply(session)
    _deliver(subscription)
    Subscription.objects.update(enabled=False)
    missed = builders.apply(session)
    Subscription.objects.update(enabled=True)
    (told, queued) = alerts("replay", subscription.id, "--session", "maths-1", "--yes")
    assert told == (
        f"To webhook {subscription.url}: 1 to send again under the same event id; 1 to send for the first time."
    )
    assert queued.startswith("Queued 2 alerts.")
    _deliver(subscription)
    assert [request.headers["webhook-id"] for request in receiver.requests] == [
        str(delivered.event_id), str(delivered.event_id), str(missed.event_id),
    ]  # fmt: skip


def test_replay_gives_what_was_parked_all_its_attempts_again(
    session: ExamSession, subscription: Subscription, receiver: Receiver
) -> None:
    alert = builders.apply(session)
    Delivery.objects.update(state=Delivery.State.PARKED, attempt_count=13)
    alerts("replay", subscription.id, "--event", alert.event_id, "--yes")
    again = Delivery.objects.get()
    assert (again.state, again.attempt_count) == ("pending", 0)
    _deliver(subscription)
    assert Delivery.objects.get().state == "delivered"


def test_a_dry_run_and_a_question_that_nobody_answers_send_nothing(
    session: ExamSession, subscription: Subscription
) -> None:
    alert = builders.apply(session)
    _deliver(subscription)
    (told,) = alerts("replay", subscription.id, "--event", alert.event_id, "--dry-run")
    assert "1 to send again" in told
    assert "give --yes" in refusal("replay", subscription.id, "--event", alert.event_id)
    assert Delivery.objects.get().state == "delivered"


def test_replay_takes_a_stretch_of_time_and_leaves_alone_what_waits_and_what_is_filtered(
    session: ExamSession, owner: Organisation, receiver: Receiver
) -> None:
    subscription, _ = builders.subscription(owner, receiver.url("/ok"), event_types=["NO_FACE"])
    early, waiting, late = (builders.apply(session) for _ in range(3))
    unwanted = builders.apply(session, builders.change(EventType.CAMERA_LOST))
    Delivery.objects.filter(alert=early).update(state=Delivery.State.DELIVERED, delivered_at=timezone.now())
    now = timezone.now()
    for alert, age in ((early, 60), (waiting, 50), (unwanted, 40), (late, 10)):
        Alert.objects.filter(pk=alert.pk).update(created_at=now - timedelta(minutes=age))
    stretch = ("--since", iso(now - timedelta(minutes=65)), "--until", iso(now - timedelta(minutes=30)))
    (told,) = alerts("replay", subscription.id, *stretch, "--yes", "--json")
    assert json.loads(told) == {
        "subscription": str(subscription.id), "again": 1, "new": 0, "waiting": 1, "unwanted": 1, "queued": 1,
    }  # fmt: skip


def test_what_replay_cannot_send_is_said_in_a_sentence(session: ExamSession, subscription: Subscription) -> None:
    assert refusal("replay", subscription.id) == "Say which alerts: --event, --session, --since or --until."
    assert "no id of a subscription" in refusal("replay", "x", "--session", "maths-1")
    assert "There is no subscription" in refusal("replay", uuid.uuid4(), "--session", "maths-1")
    assert "has no session 'none'" in refusal("replay", subscription.id, "--session", "none")
    assert "'yesterday' is no time" in refusal("replay", subscription.id, "--since", "yesterday")
    assert "2026-13-01 is no time" in refusal("replay", subscription.id, "--since", "2026-13-01").replace("'", "")
    assert "'x' is no event id" in refusal("replay", subscription.id, "--event", "x")
    missing = uuid.uuid4()
    assert f"has no alert {missing}" in refusal("replay", subscription.id, "--event", missing)
    elsewhere = builders.apply(builders.session())
    assert "has no alert" in refusal("replay", subscription.id, "--event", elsewhere.event_id)
    Subscription.objects.update(enabled=False, disabled_reason="The subscriber answered 410.")
    assert "is disabled (The subscriber answered 410.)" in refusal("replay", subscription.id, "--session", "maths-1")


# --- status -----------------------------------------------------------------------------------------------------------
def status(subscription: Subscription) -> dict[str, Any]:
    lines = [json.loads(line) for line in alerts("status", "--json")]
    return next(line for line in lines if line["subscription"] == str(subscription.id))


def test_status_of_a_subscription_that_takes_its_alerts(session: ExamSession, subscription: Subscription) -> None:
    assert alerts("status")[1].startswith("idle")
    builders.apply(session)
    assert status(subscription)["state"] == "delivering"
    assert status(subscription)["waiting"] == 1
    _deliver(subscription)
    told = status(subscription)
    assert (told["state"], told["waiting"], told["failing_since"]) == ("idle", 0, None)
    assert told["last_success_at"] is not None
    assert alerts("status", "--check")


def test_status_says_since_when_a_subscription_fails_and_a_success_ends_that(
    session: ExamSession, subscription: Subscription, receiver: Receiver
) -> None:
    alert = builders.apply(session)
    receiver.statuses = [500]
    _deliver(subscription)
    told = status(subscription)
    assert (told["state"], told["waiting"], told["needs_attention"]) == ("failing", 1, True)
    subscription.refresh_from_db()
    assert subscription.failing_since is not None
    assert told["failing_since"] == iso(subscription.failing_since)
    Delivery.objects.update(next_attempt_at=timezone.now())
    _deliver(subscription)
    assert Delivery.objects.get(alert=alert).state == "delivered"
    told = status(subscription)
    assert (told["state"], told["failing_since"], told["needs_attention"]) == ("idle", None, False)


def test_status_says_what_waits_how_long_and_what_is_parked(session: ExamSession, subscription: Subscription) -> None:
    for _ in range(3):
        builders.apply(session)
    parked, oldest, _ = Delivery.objects.order_by("sequence")
    Delivery.objects.filter(pk=parked.pk).update(state=Delivery.State.PARKED)
    Delivery.objects.filter(pk=oldest.pk).update(queued_at=timezone.now() - timedelta(hours=25))
    Subscription.objects.update(failing_since=timezone.now() - timedelta(hours=2), failure_count=9)
    told = status(subscription)
    assert (told["state"], told["waiting"], told["parked"], told["needs_attention"]) == ("failing", 2, 1, True)
    header, line, below = alerts("status")
    assert header.split("  ")[0] == "state"
    assert "1 d 1 h ago" in line
    assert "2 h ago" in line
    assert below.split() == [str(subscription.id), "default"]
    with pytest.raises(CommandError, match="1 parked, failing since") as error:
        alerts("status", "--check")
    assert error.value.returncode == 1


def test_status_tells_why_the_service_switched_a_subscription_off(
    owner: Organisation, subscription: Subscription
) -> None:
    Subscription.objects.update(enabled=False)
    assert alerts("status", "--check")  # by hand: nothing to look at
    Subscription.objects.update(disabled_reason="The subscriber answered 410.")
    assert "disabled: The subscriber answered 410." in refusal("status", "--check")
    assert refusal("status", "--organisation", "none") == "There is no organisation 'none'."
    Subscription.objects.all().delete()
    assert alerts("status") == ["There are no subscriptions."]


def test_status_asks_the_database_as_often_for_many_subscriptions_as_for_one(
    owner: Organisation, session: ExamSession, receiver: Receiver, django_assert_num_queries: Any
) -> None:
    for _ in range(5):
        builders.subscription(owner, receiver.url("/ok"))
    builders.apply(session)
    with django_assert_num_queries(1):
        alerts("status")
