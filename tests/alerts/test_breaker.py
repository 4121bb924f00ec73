"""Subscribers in trouble: the breaker, limits, and that nobody else waits for them."""

from __future__ import annotations

import itertools
import threading
import time
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from accounts.models import Organisation
from alerts import delivery
from alerts.delivery import breaker, schedule
from alerts.delivery.claim import claim
from alerts.models import Delivery, DeliveryAttempt, Subscription
from alerts.status import statuses
from tests.alerts import builders
from tests.alerts.receiver import Receiver
from tests.alerts.test_delivery import drain, make_due, probe_now, received

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


def state_of(subscription: Subscription) -> breaker.State:
    subscription.refresh_from_db()
    return breaker.state(subscription, timezone.now())


def fail_until_open(subscription: Subscription) -> None:
    """Have sessions enough to fail, one after the other, until the breaker opens."""
    for _ in range(breaker.THRESHOLD):
        builders.apply(builders.session(subscription.organisation))
        drain(subscription)


def test_failures_in_a_row_open_the_breaker_and_then_nothing_is_sent(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url("/status/503"))
    fail_until_open(subscription)
    assert state_of(subscription) is breaker.State.OPEN
    sent = len(receiver.requests)
    assert sent == breaker.THRESHOLD

    builders.apply(builders.session(owner))
    drain(subscription)
    assert len(receiver.requests) == sent
    newest = Delivery.objects.order_by("-id")[0]
    assert (newest.state, newest.attempt_count) == ("pending", 0)  # no attempt is used up
    assert not Subscription.objects.with_due(timezone.now()).exists()


def test_half_open_lets_one_probe_through_whose_failure_opens_it_for_longer(
    owner: Organisation, receiver: Receiver
) -> None:
    subscription, _ = builders.subscription(owner, receiver.url("/status/503"))
    fail_until_open(subscription)
    for _ in range(3):
        builders.apply(builders.session(owner))
    spans = []
    for probes in range(1, 9):
        make_due()
        assert state_of(subscription) is breaker.State.HALF_OPEN
        drain(subscription)
        assert len(receiver.requests) == breaker.THRESHOLD + probes
        subscription.refresh_from_db()
        assert subscription.breaker_until is not None
        spans.append((subscription.breaker_until - timezone.now()).total_seconds())
    assert all(later > earlier * 1.5 for earlier, later in itertools.pairwise(spans[:5]))
    assert spans[-1] <= breaker.OPEN_MOST_S


def test_a_probe_that_succeeds_closes_the_breaker_and_all_that_waited_follows(
    owner: Organisation, receiver: Receiver
) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    receiver.statuses = [503] * breaker.THRESHOLD
    fail_until_open(subscription)
    failing_since = Subscription.objects.get().failing_since
    assert failing_since is not None
    waiting = builders.session(owner)
    for _ in range(3):
        builders.apply(waiting)
    Delivery.objects.filter(attempt_count=1).update(next_attempt_at=timezone.now() + timedelta(seconds=3.5))

    probe_now()
    drain(subscription)

    assert not Delivery.objects.exclude(state="delivered").exists()
    subscription.refresh_from_db()
    assert state_of(subscription) is breaker.State.CLOSED
    assert (subscription.failing_since, subscription.failure_count, subscription.breaker_trips) == (None, 0, 0)
    assert subscription.last_success_at is not None
    order = [number for name, number in received(receiver) if name == waiting.session_id]
    assert order == [1, 2, 3]


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_a_subscriber_that_refuses_all_is_said_to_fail_from_the_first_refusal_on(
    owner: Organisation, receiver: Receiver, status: int
) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    receiver.statuses = [200, status, status]
    since = []
    for _ in range(3):
        builders.apply(builders.session(owner))
        drain(subscription)
        subscription.refresh_from_db()
        since.append(subscription.failing_since)
    assert since[0] is None
    assert since[1] is not None
    assert since[2] == since[1]
    assert (
        breaker.calls_allowed(subscription, timezone.now()) == subscription.concurrency
    )  # it answers: nothing is held
    (told,) = statuses(owner)
    assert (told.state, told.needs_attention) == ("failing", True)

    builders.apply(builders.session(owner))
    drain(subscription)
    subscription.refresh_from_db()
    assert subscription.failing_since is None


def test_an_alert_that_is_disliked_opens_no_breaker(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url("/status/400"))
    for _ in range(breaker.THRESHOLD + 2):
        builders.apply(builders.session(owner))
    drain(subscription)
    assert len(receiver.requests) == breaker.THRESHOLD + 2
    assert state_of(subscription) is breaker.State.CLOSED


def in_seconds(seconds: float) -> str:
    return str(int(seconds))


def as_date(seconds: float) -> str:
    return format_datetime(timezone.now().astimezone(datetime.now().astimezone().tzinfo) + timedelta(seconds=seconds))


def as_http_date(seconds: float) -> str:
    return format_datetime((timezone.now() + timedelta(seconds=seconds)).replace(microsecond=0), usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("say", [in_seconds, as_date, as_http_date])
def test_retry_after_is_heeded(owner: Organisation, receiver: Receiver, status: int, say: Any) -> None:
    receiver.behaviours["/busy"] = lambda handler: handler.answer(status, **{"retry-after": say(120)})
    subscription, _ = builders.subscription(owner, receiver.url("/busy"))
    builders.apply(builders.session(owner))
    drain(subscription)
    wait_s = (Delivery.objects.get().next_attempt_at - timezone.now()).total_seconds()
    assert 115 < wait_s < 125

    builders.apply(builders.session(owner))
    drain(subscription)
    assert len(receiver.requests) == 1  # it is left alone altogether
    subscription.refresh_from_db()
    assert subscription.breaker_until is not None
    assert 115 < (subscription.breaker_until - timezone.now()).total_seconds() < 125


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("99999999999", schedule.RETRY_AFTER_MOST_S - 5, schedule.RETRY_AFTER_MOST_S), ("-5", 4, 6), ("soon", 4, 6),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 4, 6), ("Fri, 99 Xyz 2026", 4, 6), ("0", 4, 6)],
)  # fmt: skip
def test_a_retry_after_out_of_reason_is_bounded(
    owner: Organisation, receiver: Receiver, said: str, least: float, most: float
) -> None:
    receiver.behaviours["/busy"] = lambda handler: handler.answer(429, **{"retry-after": said})
    subscription, _ = builders.subscription(owner, receiver.url("/busy"))
    builders.apply(builders.session(owner))
    drain(subscription)
    assert least < (Delivery.objects.get().next_attempt_at - timezone.now()).total_seconds() <= most


def test_the_rate_is_kept_and_what_is_left_over_comes_later(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url(), rate_per_s=20)
    for _ in range(30):
        builders.apply(builders.session(owner))
    drain(subscription)
    times = [request.at for request in receiver.requests]
    assert len(times) == 30
    assert times[-1] - times[0] > 0.4  # at once at most the 20 of the second before; the others one by one


def test_a_rate_that_is_used_up_is_waited_for_by_claims_of_all_workers(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url(), rate_per_s=4)
    Subscription.objects.update(rate_used_at=timezone.now())
    builders.apply(builders.session(owner))
    made = claim([subscription.id])
    assert made.calls == []
    assert 0 < made.again_s[subscription.id] <= 0.25


def test_unordered_alerts_of_a_session_do_not_wait_for_one_that_fails(owner: Organisation, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url(), ordered=False)
    session = builders.session(owner)
    for _ in range(4):
        builders.apply(session)
    receiver.statuses = [400]
    drain(subscription)
    assert sorted(number for _, number in received(receiver)) == [1, 2, 3, 4]
    assert Delivery.objects.filter(state="delivered").count() == 3


def test_hanging_subscribers_leave_the_others_their_turn(owner: Organisation, receiver: Receiver) -> None:
    """More subscribers hang than there are threads for all that they may have; another is served meanwhile."""
    hanging = [builders.subscription(owner, receiver.url(f"/hang/{number}"))[0] for number in range(6)]
    for _ in range(8):
        builders.apply(builders.session(owner))
    quick, _ = builders.subscription(owner, receiver.url())
    for _ in range(5):
        builders.apply(builders.session(owner))
    pump = delivery.Pump(slots=16)
    pump.wake([subscription.id for subscription in hanging])

    def run() -> None:
        try:
            pump.run()
        finally:
            connections.close_all()

    runner = threading.Thread(target=run)
    runner.start()
    try:
        while len([request for request in receiver.requests if "hang" in request.path]) < len(hanging):
            time.sleep(0.01)
        pump.wake([quick.id])
        until = time.monotonic() + 8  # before the first of those that hang is given up
        while Delivery.objects.filter(subscription=quick, state="delivered").count() < 5:
            assert time.monotonic() < until, "the quick one waits"
            time.sleep(0.02)
        assert not DeliveryAttempt.objects.exclude(delivery__subscription=quick).exists()
    finally:
        pump.stop()
        receiver.stopping.set()
        runner.join(20)
        pump.close()
