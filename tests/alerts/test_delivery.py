"""From the outbox to a real HTTP receiver: once, in order, and again until it is taken."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from django.db import connection, connections, transaction
from django.utils import timezone
from standardwebhooks import Webhook

from accounts.models import Organisation
from alerts import delivery, payload, tasks, wake
from alerts.delivery import schedule
from alerts.delivery.call import Call, broken, make
from alerts.delivery.claim import claim
from alerts.delivery.settle import settle
from alerts.models import Alert, Delivery, DeliveryAttempt, Subscription
from alerts.subscriptions import subscription_update
from alerts.transports import webhook
from tests.alerts import builders
from tests.alerts.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


def drain(*subscriptions: Subscription) -> None:
    delivery.drain([subscription.id for subscription in subscriptions])


def probe_now() -> None:
    """Let every breaker's time be over."""
    Subscription.objects.exclude(breaker_until=None).update(breaker_until=timezone.now())


def make_due() -> None:
    """Let the waiting time of all that waits be over, and no breaker be open."""
    probe_now()
    Delivery.objects.filter(state="pending").update(next_attempt_at=timezone.now() - timedelta(seconds=1))


def received(receiver: Receiver) -> list[tuple[str, int]]:
    """Session and sequence of every request, in order."""
    bodies = [json.loads(request.body) for request in receiver.requests]
    return [(body["exam_session_id"], body["metadata"]["sequence"]) for body in bodies]


def test_an_alert_arrives_signed_and_in_the_published_schema(owner: Organisation, receiver: Receiver) -> None:
    subscription, secret = builders.subscription(owner, receiver.url())
    alert = builders.apply(builders.session(owner))

    drain(subscription)

    (request,) = receiver.requests
    body = Webhook(secret).verify(request.body, request.headers)
    payload.validate(body)
    assert body["event_id"] == request.headers["webhook-id"] == str(alert.event_id)
    made = Delivery.objects.get()
    assert (made.state, made.attempt_count, made.lease) == ("delivered", 1, None)
    assert made.delivered_at is not None
    attempt = DeliveryAttempt.objects.get()
    assert (attempt.status_code, attempt.response, attempt.error) == (200, "thanks", "")
    assert attempt.duration_ms > 0


def test_a_failed_delivery_comes_again_under_the_same_id_after_the_planned_time(
    owner: Organisation, receiver: Receiver
) -> None:
    subscription, secret = builders.subscription(owner, receiver.url())
    builders.apply(builders.session(owner))
    receiver.statuses = [500]

    drain(subscription)
    waiting = Delivery.objects.get()
    assert (waiting.state, waiting.attempt_count, waiting.lease) == ("pending", 1, None)
    assert 4.5 < (waiting.next_attempt_at - timezone.now()).total_seconds() < 5.6
    drain(subscription)
    assert len(receiver.requests) == 1  # not due yet

    make_due()
    drain(subscription)
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    Webhook(secret).verify(second.body, second.headers)
    assert Delivery.objects.get().state == "delivered"
    codes = list(DeliveryAttempt.objects.values_list("status_code", "error"))
    assert codes == [(500, "The subscriber answered 500."), (200, "")]


def test_the_schedule_is_the_standards_with_short_steps_before_and_ends_parked(
    owner: Organisation, receiver: Receiver
) -> None:
    subscription, _ = builders.subscription(owner, receiver.url("/status/503"))
    builders.apply(builders.session(owner))
    waits = []
    for _ in range(12):
        drain(subscription)
        waits.append((Delivery.objects.get().next_attempt_at - timezone.now()).total_seconds())
        make_due()
    drain(subscription)

    hour = 3600
    planned = [5, 15, 30, 60, 300, 1800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour]
    assert len(waits) == len(planned)
    for wait, plan in zip(waits, planned, strict=True):
        assert plan - 1 <= wait <= plan * 1.1
    parked = Delivery.objects.get()
    assert (parked.state, parked.attempt_count) == ("parked", 13)
    make_due()
    drain(subscription)
    assert len(receiver.requests) == 13


def test_waiting_times_are_jittered() -> None:
    assert len({schedule.waiting_time(6) for _ in range(20)}) > 10


def test_alerts_of_a_session_arrive_in_order_and_wait_for_the_one_before(
    owner: Organisation, receiver: Receiver
) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    session, other = builders.session(owner), builders.session(owner)
    for _ in range(3):
        builders.apply(session)
    receiver.statuses = [500]
    drain(subscription)
    assert received(receiver) == [(session.session_id, 1)]  # 2 and 3 wait

    builders.apply(other)
    drain(subscription)
    assert received(receiver)[1:] == [(other.session_id, 1)]  # another session does not

    make_due()
    drain(subscription)
    assert received(receiver)[2:] == [(session.session_id, number) for number in (1, 2, 3)]


def test_what_is_parked_lets_the_next_one_through(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    session = builders.session(owner)
    builders.apply(session)
    builders.apply(session)
    Delivery.objects.filter(sequence=1).update(attempt_count=12)
    receiver.statuses = [500]
    drain(subscription)
    assert received(receiver) == [(session.session_id, 1), (session.session_id, 2)]
    assert list(Delivery.objects.order_by("sequence").values_list("state", flat=True)) == ["parked", "delivered"]


def test_an_alert_that_is_always_refused_lets_the_later_ones_through_after_a_few_tries(
    owner: Organisation, receiver: Receiver
) -> None:
    def refuse_the_first(request: Any) -> None:
        body = json.loads(receiver.requests[-1].body)
        request.answer(400 if body["metadata"]["sequence"] == 1 else 200)

    receiver.behaviours["/picky"] = refuse_the_first
    subscription, _ = builders.subscription(owner, receiver.url("/picky"))
    session = builders.session(owner)
    for _ in range(3):
        builders.apply(session)
    for tries in range(1, 5):
        drain(subscription)
        assert received(receiver) == [(session.session_id, 1)] * tries  # it holds the others
        make_due()
    drain(subscription)
    assert [sequence for _, sequence in received(receiver)] == [1] * 5 + [2, 3]

    builders.apply(session)
    drain(subscription)  # the refused one waits for its own time meanwhile
    assert [sequence for _, sequence in received(receiver)][7:] == [4]
    refused = Delivery.objects.get(sequence=1)
    assert (refused.state, refused.attempt_count) == ("pending", 5)
    assert (refused.next_attempt_at - timezone.now()).total_seconds() > 290


def test_a_success_brings_forward_what_waits_for_the_same_subscriber(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    elsewhere, _ = builders.subscription(owner, receiver.url("/status/503"))
    away, later = builders.session(owner), builders.session(owner)
    for _ in range(2):
        builders.apply(away)
    # An outage: the first has failed five times and has waited for a minute and a half of five, the second for some of
    # its 15 seconds.
    hence = timezone.now() + timedelta(seconds=210)
    Delivery.objects.filter(sequence=1).update(attempt_count=5, next_attempt_at=hence)
    Delivery.objects.filter(sequence=2).update(attempt_count=2, next_attempt_at=timezone.now() + timedelta(seconds=10))
    drain(subscription)
    assert receiver.requests == []  # nothing is due

    builders.apply(later)
    drain(subscription)

    assert sorted(received(receiver)) == sorted([(later.session_id, 1), (away.session_id, 1), (away.session_id, 2)])
    mine = Delivery.objects.filter(subscription=subscription)
    assert set(mine.values_list("state", flat=True)) == {"delivered"}
    kept = Delivery.objects.get(subscription=elsewhere, session=away, sequence=1)
    assert abs((kept.next_attempt_at - hence).total_seconds()) < 1  # another subscriber's is left alone


def test_what_has_just_failed_is_not_brought_forward(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    refused, taken = builders.session(owner), builders.session(owner)
    builders.apply(refused)
    receiver.statuses = [500]
    drain(subscription)
    builders.apply(taken)
    drain(subscription)
    assert received(receiver) == [(refused.session_id, 1), (taken.session_id, 1)]
    assert Delivery.objects.get(session=refused).state == "pending"


def test_410_parks_the_delivery_and_disables_the_subscription(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    session = builders.session(owner)
    builders.apply(session)
    builders.apply(session)
    receiver.statuses = [410]

    drain(subscription)

    subscription.refresh_from_db()
    assert not subscription.enabled
    assert "410" in subscription.disabled_reason
    assert list(Delivery.objects.order_by("sequence").values_list("state", flat=True)) == ["parked", "pending"]
    builders.apply(session)
    assert Delivery.objects.count() == 2  # nothing new for a disabled subscription

    subscription_update(subscription=subscription, enabled=True)
    assert subscription.disabled_reason == ""
    drain(subscription)
    assert received(receiver) == [(session.session_id, 1), (session.session_id, 2)]


def test_a_redirect_to_a_private_address_is_not_followed(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url("/redirect"))
    builders.apply(builders.session(owner))
    drain(subscription)
    assert [request.path for request in receiver.requests] == ["/redirect"]
    assert DeliveryAttempt.objects.get().status_code == 302
    assert Delivery.objects.get().state == "pending"


def test_an_address_that_became_private_is_not_called(owner: Organisation, receiver: Receiver, settings: Any) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    builders.apply(builders.session(owner))
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    drain(subscription)
    assert receiver.requests == []
    assert "not public" in DeliveryAttempt.objects.get().error


def test_a_secret_that_cannot_be_opened_is_a_failed_attempt(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    other, _ = builders.subscription(owner, receiver.url())
    Subscription.objects.filter(id=subscription.id).update(sealed_secret=other.sealed_secret)
    builders.apply(builders.session(owner))
    drain(subscription)
    assert receiver.requests == []
    assert "secret cannot be opened" in DeliveryAttempt.objects.get().error


# --- Several workers, dead workers ------------------------------------------------------------------------------------
def run_together(count: int, work: Any) -> list[Any]:
    """Run ``work`` in threads at the same instant; return what they return."""
    barrier, results = threading.Barrier(count), []

    def run() -> None:
        try:
            barrier.wait()
            results.append(work())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count
    return results


def test_workers_at_once_deliver_each_alert_once_and_in_order(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    sessions = [builders.session(owner) for _ in range(4)]
    for _ in range(8):
        for session in sessions:
            builders.apply(session)

    run_together(6, lambda: delivery.drain([subscription.id]))
    drain(subscription)

    by_session: dict[str, list[int]] = defaultdict(list)
    for name, sequence in received(receiver):
        by_session[name].append(sequence)
    assert len(by_session) == 4
    for sequences in by_session.values():
        assert sequences == list(range(1, 9))


def test_calls_to_one_subscription_are_bounded_whatever_the_number_of_workers(
    owner: Organisation, receiver: Receiver
) -> None:
    subscription, _ = builders.subscription(owner, receiver.url(), concurrency=3)
    for _ in range(40):
        builders.apply(builders.session(owner))
    claims = run_together(9, lambda: claim([subscription.id], calls_each=1))
    calls = [call for made in claims for call in made.calls]
    assert 1 <= len(calls) <= 3  # who finds another at it comes again
    assert all(made.calls or subscription.id in made.again_s or len(calls) == 3 for made in claims)
    calls += claim([subscription.id]).calls
    assert claim([subscription.id]).calls == []
    held = [item.delivery_id for call in calls for item in call.items]
    assert len(calls) == 3
    assert len(held) == len(set(held)) == 3 * webhook.MAX_BATCH


def one_call(subscription: Subscription) -> Call:
    (call,) = claim([subscription.id]).calls
    return call


def test_the_delivery_of_a_worker_that_died_comes_back_after_its_lease(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    alert = builders.apply(builders.session(owner))
    one_call(subscription)  # and never seen again
    held = Delivery.objects.get()
    assert held.leased_until is not None
    assert (held.leased_until - timezone.now()) > timedelta(seconds=50)
    drain(subscription)
    assert receiver.requests == []

    let_leases_run_out()
    drain(subscription)
    assert receiver.requests[0].headers["webhook-id"] == str(alert.event_id)
    assert Delivery.objects.get().state == "delivered"


def let_leases_run_out() -> None:
    Delivery.objects.exclude(lease=None).update(leased_until=timezone.now())
    for subscription in Subscription.objects.all():
        over = dict.fromkeys(subscription.calls, time.time() - 1)
        Subscription.objects.filter(pk=subscription.pk).update(calls=over)


def test_a_slow_worker_never_undoes_what_its_successor_wrote(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    builders.apply(builders.session(owner))
    slow = one_call(subscription)
    let_leases_run_out()
    successor = one_call(subscription)

    settle([broken(slow, TimeoutError())])
    held = Delivery.objects.get()
    assert (held.lease, held.state, held.attempt_count) == (successor.lease, "pending", 0)

    settle([make(successor)])
    settle([broken(slow, TimeoutError())])
    assert Delivery.objects.get().state == "delivered"
    assert DeliveryAttempt.objects.count() == 3
    subscription.refresh_from_db()
    assert subscription.calls == {}


def test_what_was_erased_while_it_was_sent_does_no_harm(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    session, other = builders.session(owner), builders.session(owner)
    builders.apply(session)
    builders.apply(other)
    calls = claim([subscription.id]).calls
    sent = [make(call) for call in calls]
    session.delete()
    settle(sent)
    assert DeliveryAttempt.objects.get().delivery.session == other
    assert Delivery.objects.get().state == "delivered"


# --- Waking -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note which subscriptions are woken instead of queueing it."""
    ids: list[str] = []
    monkeypatch.setattr(wake, "delivery", lambda subscription_id: ids.append(str(subscription_id)))
    return ids  # type: ignore[return-value]


def test_a_committed_alert_wakes_its_subscriptions(owner: Organisation, woken: list[str]) -> None:
    subscription, _ = builders.subscription(owner, "https://93.184.216.34/")
    builders.apply(builders.session(owner))
    assert woken == [str(subscription.id)]


def test_the_sweep_wakes_what_is_due_and_nothing_else(owner: Organisation, woken: list[str]) -> None:
    due, held, later, disabled, done, idle = (
        builders.subscription(owner, f"https://93.184.216.34/{n}")[0] for n in range(6)
    )
    Subscription.objects.filter(id=idle.id).update(enabled=False)
    builders.apply(builders.session(owner))
    assert claim([held.id]).calls
    Delivery.objects.filter(subscription=later).update(next_attempt_at=timezone.now() + timedelta(seconds=5))
    Subscription.objects.filter(id=disabled.id).update(enabled=False)
    Delivery.objects.filter(subscription=done).update(state="delivered")
    woken.clear()
    tasks.sweep()
    assert woken == [str(due.id)]


def test_waking_neither_raises_nor_waits_when_redis_is_away(
    owner: Organisation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dead = Celery("dead", broker="redis://127.0.0.1:1/0", set_as_current=False)
    monkeypatch.setattr(wake, "current_app", dead)
    builders.subscription(owner, "https://93.184.216.34/")
    started = time.monotonic()
    builders.apply(builders.session(owner))
    assert time.monotonic() - started < 1
    assert Alert.objects.count() == Delivery.objects.count() == 1
    assert wake.flush(15)
    assert "Could not wake the delivery" in caplog.text


def test_waking_queues_one_task_for_all_that_are_waiting(owner: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, free = [], threading.Event()

    class Slow:
        def send_task(self, name: str, args: list[str], **_: object) -> None:
            sent.append((name, args))
            free.wait(5)

    monkeypatch.setattr(wake, "current_app", Slow())
    first, second = uuid.uuid4(), uuid.uuid4()
    wake.delivery(first)
    while not sent:
        time.sleep(0.01)
    for subscription_id in (second, first, second, second):
        wake.delivery(subscription_id)
    free.set()
    assert wake.flush(5)
    assert sent == [("alerts.deliver", [str(first)]), ("alerts.deliver", [str(second), str(first)])]


def test_a_removed_subscription_is_drained_at_once() -> None:
    delivery.drain([uuid.uuid4()])


def test_claiming_does_not_wait_for_an_incident_being_written(owner: Organisation, receiver: Receiver) -> None:
    """A transaction that writes a delivery holds a key-share lock on the subscription's row; claiming passes it."""
    subscription, _ = builders.subscription(owner, receiver.url())
    builders.apply(builders.session(owner))
    with transaction.atomic():
        builders.apply(builders.session(owner))
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '2s'")
        (claimed,) = run_together(1, lambda: claim([subscription.id]))
    assert len(claimed.calls) == 1
