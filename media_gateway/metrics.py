"""What the gateway counts. With ``PROMETHEUS_MULTIPROC_DIR`` set, the web side's ``/metrics`` shows it too."""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from detection.messages import Stream, Technical

PEERS = Gauge("sdproctor_gateway_peers", "Peers connected or connecting.", multiprocess_mode="livesum")
PUBLISHED = Counter("sdproctor_gateway_samples_published_total", "Samples handed to the queue.", ["stream"])
SKIPPED = Counter("sdproctor_gateway_samples_skipped_total", "Samples not handed on.", ["stream", "reason"])
TECHNICAL = Counter("sdproctor_gateway_technical_messages_total", "Technical messages handed on.", ["kind"])
TECHNICAL_DROPPED = Counter(
    "sdproctor_gateway_technical_messages_dropped_total", "Technical messages lost: the queue was away for too long."
)
DECODED = Counter("sdproctor_gateway_frames_decoded_total", "Video frames decoded.")
DECODE_SECONDS = Counter(
    "sdproctor_gateway_decode_seconds_total", "Thread time spent decoding and encoding.", ["stream"]
)
LATE_PACKETS = Counter(
    "sdproctor_gateway_packets_late_total", "Packets that came after their place was given up.", ["stream"]
)
PUBLISH_SECONDS = Histogram(
    "sdproctor_gateway_publish_seconds",
    "From sampling to the queue.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
QUEUE_LENGTH = Gauge(
    "sdproctor_gateway_queue_length", "Messages waiting in a queue, as last seen.", ["queue"], multiprocess_mode="max"
)
REQUESTS = Counter("sdproctor_gateway_requests_total", "WHIP requests answered.", ["method", "status"])

REDIS_AWAY = "redis_unavailable"
QUEUE_FULL = "queue_full"
BACKLOG = "backlog"
_REASONS = {
    Stream.VIDEO: (REDIS_AWAY, QUEUE_FULL, BACKLOG, "overloaded", "failed", "damaged", "busy"),
    Stream.AUDIO: (REDIS_AWAY, QUEUE_FULL, BACKLOG, "overloaded", "failed"),
}
"""Why samples are not handed on."""

for _stream, _reasons in _REASONS.items():  # from 0, so that a rate sees the first loss
    PUBLISHED.labels(_stream.value)
    for _reason in _reasons:
        SKIPPED.labels(_stream.value, _reason)
for _kind in Technical:
    TECHNICAL.labels(_kind.value)


def exposition() -> tuple[bytes, str]:
    """Return all metrics in Prometheus' text format, and its content type."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST


def forget_process() -> None:
    """Take this process's gauges out of the shared directory, as it ends."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
