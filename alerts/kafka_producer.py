"""The one Kafka producer of this process: made when first needed and so after any fork, replaced when it is past help.

librdkafka sends in a thread of its own; a second thread here serves its reports. A producer is replaced after a fatal
error, and after an alert that it could not get rid of in time: the broker may have forgotten the producer's id, and
librdkafka then tries for ever under the old one. The replaced one goes on until it has reported on all it was given.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from prometheus_client import Counter

from alerts import kafka_config

logger = logging.getLogger(__name__)

REPORT_TIMEOUT_S = kafka_config.DELIVERY_TIMEOUT_S + 3
"""librdkafka looks for what is overdue once a second. It always reports; this bounds the wait should it not."""
FLUSH_TIMEOUT_S = 5
_POLL_S = 0.5
_QUIET_S = 60
"""The same trouble is logged once in this time."""

_PAST_HELP = (KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError._FATAL)

REPLACED = Counter("sdproctor_kafka_producers_replaced", "Kafka producers given up, by error.", ["error"])


@dataclass(frozen=True, slots=True)
class Record:
    """What is produced: one alert."""

    topic: str
    key: str
    value: bytes
    headers: list[tuple[str, str | bytes | None]]


@dataclass(frozen=True, slots=True)
class Report:
    """What librdkafka reported on a record, with the place in the topic that it got when ``error`` is None.

    ``begun`` is False where nothing was tried, for want of room or time. ``trouble`` is what the producer complained of
    last, for errors that say only that time is over.
    """

    error: KafkaError | None
    partition: int = -1
    offset: int = -1
    latency_s: float | None = None
    begun: bool = True
    trouble: str = ""


class _Client:
    """A producer with the thread that serves its reports."""

    def __init__(self) -> None:
        self._users = 0
        self._retired = False
        self._lock = threading.Lock()
        self._fatal: KafkaError | None = None
        self._trouble = ""
        self._logged: dict[str, float] = {}
        self._producer = Producer({**kafka_config.producer(), "error_cb": self._note}, logger=logger)
        self._thread = threading.Thread(target=self._serve, name="kafka reports", daemon=True)
        self._thread.start()

    @property
    def is_dead(self) -> bool:
        """Tell whether a fatal error has ended it."""
        return self._fatal is not None

    def take(self) -> None:
        """Keep this client from ending until ``release``, also when it is retired meanwhile."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """Take back one ``take``."""
        with self._lock:
            self._users -= 1

    def deliver(self, records: Sequence[Record]) -> list[Report]:
        """Produce all at once and return the reports, in the same order. Only who has taken the client may."""
        arrived: SimpleQueue[tuple[int, Report]] = SimpleQueue()
        reports: dict[int, Report] = {}
        for index, record in enumerate(records):
            try:
                self._produce(record, partial(self._report, arrived, index))
            except BufferError:
                reports[index] = Report(KafkaError(KafkaError._QUEUE_FULL), begun=False)
            except KafkaException as error:
                reports[index] = Report(error.args[0])
        deadline = time.monotonic() + REPORT_TIMEOUT_S
        while len(reports) < len(records):
            try:
                index, report = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
            reports[index] = report
        return [reports.get(index) or self._overdue() for index in range(len(records))]

    def retire(self) -> None:
        """End once every record was reported on and nobody uses this client any more."""
        self._retired = True

    def join(self, timeout_s: float) -> None:
        """Wait for the end of a retired client."""
        self._thread.join(timeout_s)

    def _produce(self, record: Record, on_delivery: Callable[[KafkaError | None, Message], None]) -> None:
        self._producer.produce(
            record.topic, value=record.value, key=record.key, headers=record.headers, on_delivery=on_delivery
        )

    def _report(
        self, arrived: SimpleQueue[tuple[int, Report]], index: int, error: KafkaError | None, message: Message
    ) -> None:
        if error is not None:  # after a fatal one all others are reported as purged
            arrived.put((index, Report(self._fatal or error, trouble=self._trouble)))
            return
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        arrived.put((index, Report(None, partition, offset, message.latency())))

    def _overdue(self) -> Report:
        return Report(KafkaError(KafkaError._TIMED_OUT), trouble=self._trouble)

    def _serve(self) -> None:
        while not self._is_done():
            try:
                self._producer.poll(_POLL_S)
            except KafkaException as error:  # raised once, for a fatal error; the reports follow
                self._fatal = error.args[0]
                self._note(error.args[0])
        self._producer.close()

    def _is_done(self) -> bool:
        with self._lock:
            return self._retired and self._users == 0 and len(self._producer) == 0

    def _note(self, error: KafkaError) -> None:
        """Remember what the producer complains of; log it, but not at every try."""
        self._trouble = error.name()
        now = time.monotonic()
        if now - self._logged.get(self._trouble, -_QUIET_S) >= _QUIET_S:
            self._logged[self._trouble] = now
            logger.warning("Kafka: %s: %s", error.name(), error.str())


_lock = threading.Lock()
_current: _Client | None = None
_inherited: list[_Client] = []


def deliver(records: Sequence[Record]) -> list[Report]:
    """Produce the records, all at once, and return what came of each, after at most ``REPORT_TIMEOUT_S``.

    Raises ``KafkaException`` when no producer can be made of the settings.
    """
    client = _take_current()
    try:
        reports = client.deliver(records)
    finally:
        client.release()
    _replace_if_past_help(client, reports)
    return reports


def deliver_apart(records: Sequence[Record], *, until: float) -> list[Report]:
    """Produce the records one after the other by a producer of their own, so that each is a batch of its own.

    None is begun after ``until`` (monotonic seconds) or after one whose report was missing.
    """
    reports: list[Report] = []
    client = _Client()
    client.take()
    try:
        for record in records:
            if time.monotonic() >= until or (reports and _is_past_help(reports[-1])):
                reports.append(Report(KafkaError(KafkaError._TIMED_OUT_QUEUE), begun=False))
            else:
                reports += client.deliver([record])
    finally:
        client.release()
        client.retire()
    return reports


def close() -> None:
    """Wait shortly for what is under way, and let the producer go. The next delivery makes a new one."""
    global _current
    with _lock:
        client, _current = _current, None
    if client is not None:
        client.retire()
        client.join(FLUSH_TIMEOUT_S)


def brokers(timeout_s: float) -> int:
    """Ask the cluster how many brokers it has; raise ``OSError`` when it does not answer in time."""
    try:
        client = AdminClient(kafka_config.connection())
        return len(client.describe_cluster(request_timeout=timeout_s).result(timeout_s).nodes)
    except (KafkaException, TimeoutError) as error:
        raise OSError(f"Kafka does not answer: {error}") from None


def _take_current() -> _Client:
    global _current
    with _lock:
        if _current is not None and _current.is_dead:
            _current.retire()
            _current = None
        if _current is None:
            _current = _Client()
        _current.take()
        return _current


def _replace_if_past_help(client: _Client, reports: Sequence[Report]) -> None:
    global _current
    cause = next((report.error for report in reports if _is_past_help(report)), None)
    if cause is None:
        return
    client.retire()
    with _lock:
        if _current is not client:
            return
        _current = None
    REPLACED.labels(error=cause.name()).inc()
    logger.warning("Kafka: the producer is replaced after %s", cause.name())


def _is_past_help(report: Report) -> bool:
    error = report.error
    return error is not None and (error.fatal() or error.code() in _PAST_HELP)


def _forget() -> None:
    """Leave the parent's producer to the parent: its threads do not exist in this process."""
    global _current, _lock
    _lock = threading.Lock()
    if _current is not None:
        _inherited.append(_current)  # letting go of it would end what only the parent can end
    _current = None


os.register_at_fork(after_in_child=_forget)
atexit.register(close)
