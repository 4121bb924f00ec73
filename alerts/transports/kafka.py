"""Kafka: each alert a CloudEvents 1.0 record in binary mode, keyed by its session; only a delivery report is success.

The next alert of a session is handed to the producer when the one before has been reported delivered, and not before.
librdkafka's idempotence alone would not do: an alert that runs out of time in its queue leaves a gap, and the alerts
behind it in the queue may still go. So a batch goes out in rounds, each with the next alert of every session. An alert
whose report is missing may have arrived nevertheless; it is tried again under the same id. Whoever reads the topic and
ignores ids seen before sees every session in its order.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from confluent_kafka import KafkaError, KafkaException
from django.conf import settings

from alerts import kafka_config, kafka_producer
from alerts.addresses import AddressRefusedError, TransportUnavailableError
from alerts.kafka_producer import Record, Report
from alerts.outgoing import Answer, Outgoing, Result, TransportError
from alerts.signing import Kind

MAX_BATCH = 500
SECRETS: frozenset[Kind] = frozenset()
SPECVERSION = "1.0"
TYPE_PREFIX = "sdproctor."
START_UNTIL_S = 20.0
"""No further round is started after this time: the last one may take ``kafka_producer.REPORT_TIMEOUT_S`` more."""

_NOT_CONFIGURED = "This deployment has no Kafka: KAFKA_BOOTSTRAP_SERVERS is not set."
_PERMANENT = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD})
"""About this one alert, whenever it comes. A topic that is missing or forbidden may be made or allowed: that is waited
for, as for a webhook that answers 404 or 403."""
_OF_THE_BATCH = _PERMANENT | {KafkaError._INVALID_DIFFERENT_RECORD}
"""The cluster refuses whole batches: only an alert that goes alone is told what is true of it."""
_NO_REPORT = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError._PURGE_INFLIGHT})


def check(address: str) -> None:
    """Raise ``AddressRefusedError`` unless alerts may go to this topic; empty is that of the deployment.

    Raises ``TransportUnavailableError`` where the deployment has no Kafka.
    """
    if not settings.KAFKA_BOOTSTRAP_SERVERS:
        raise TransportUnavailableError(_NOT_CONFIGURED)
    topic = topic_of(address)
    if not kafka_config.TOPIC.match(topic):
        raise AddressRefusedError("A topic is 1 to 249 letters, digits, dots, underscores and hyphens.")
    if topic != settings.KAFKA_ALERT_TOPIC and not any(
        fnmatchcase(topic, allowed) for allowed in settings.KAFKA_ALLOWED_TOPICS
    ):
        raise AddressRefusedError(
            f"Alerts go to the topic {settings.KAFKA_ALERT_TOPIC}; KAFKA_ALLOWED_TOPICS can allow {topic}."
        )


def topic_of(address: str) -> str:
    """Return the topic that a subscription's address means."""
    topic: str = address or settings.KAFKA_ALERT_TOPIC
    return topic


def headers(message: Outgoing) -> dict[str, str]:
    """Return what stands beside the body: the event's attributes as CloudEvents wants them, and by our own names."""
    return {
        "content-type": "application/json",
        "ce_specversion": SPECVERSION,
        "ce_id": message.event_id,
        "ce_source": settings.PUBLIC_URL,
        "ce_type": TYPE_PREFIX + message.event_type,
        "ce_time": message.timestamp,
        "ce_subject": message.session_id,
        "event_id": message.event_id,
        "event_type": message.event_type,
        "schema_version": message.schema_version,
    }


def send(messages: Sequence[Outgoing]) -> list[Result]:
    """Produce the alerts round by round; return what was reported on each.

    Takes at most ``START_UNTIL_S`` and one round's time; what was not begun by then is held.
    """
    until = time.monotonic() + START_UNTIL_S
    waiting = _by_session(messages)
    results: dict[int, Result] = {}
    while waiting and time.monotonic() < until:
        turn = [queue.popleft() for queue in waiting.values()]
        results |= _round({index: messages[index] for index in turn}, until)
        waiting = {
            session: queue
            for (session, queue), index in zip(waiting.items(), turn, strict=True)
            if queue and isinstance(results[index], Answer)
        }
    return [results.get(index) or _held() for index in range(len(messages))]


def _by_session(messages: Sequence[Outgoing]) -> dict[str, deque[int]]:
    waiting: dict[str, deque[int]] = {}
    for index, message in enumerate(messages):
        waiting.setdefault(message.session_id, deque()).append(index)
    return waiting


def _held() -> TransportError:
    return TransportError("An earlier alert of the session was not taken, or the time was over.", held=True)


def _round(messages: Mapping[int, Outgoing], until: float) -> dict[int, Result]:
    """Produce alerts of different sessions at once."""
    records: dict[int, Record] = {}
    refused: dict[int, Result] = {}
    for index, message in messages.items():
        try:
            check(message.address)
        except AddressRefusedError as error:
            refused[index] = TransportError(str(error))
        else:
            records[index] = _record(message)
    try:
        reports = dict(zip(records, kafka_producer.deliver(list(records.values())), strict=True)) if records else {}
        if doubtful := [index for index, report in reports.items() if _is_of_the_batch(report)]:
            apart = kafka_producer.deliver_apart([records[index] for index in doubtful], until=until)
            reports |= dict(zip(doubtful, apart, strict=True))
    except KafkaException as error:
        trouble = f"No Kafka client can be made of KAFKA_CONFIG: {error.args[0].str()}"
        return refused | {index: TransportError(trouble) for index in records}
    return refused | {index: _judge(report) for index, report in reports.items()}


def _record(message: Outgoing) -> Record:
    return Record(topic_of(message.address), message.session_id, message.body, list(headers(message).items()))


def _is_of_the_batch(report: Report) -> bool:
    return report.error is not None and report.error.code() in _OF_THE_BATCH


def _judge(report: Report) -> Result:
    error = report.error
    if error is None:
        told = f"partition {report.partition}, offset {report.offset}"
        return Answer(None, told, duration_s=report.latency_s)
    if not report.begun:
        return TransportError(f"The alert was not sent ({error.name()}).", held=True)
    code = error.code()
    if code in _NO_REPORT:
        cause = f" ({report.trouble})" if report.trouble else ""
        return TransportError(f"Kafka did not report the alert delivered in time{cause}; it may have arrived.")
    return TransportError(f"{error.name()}: {error.str()}", permanent=code in _PERMANENT)
