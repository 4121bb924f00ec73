"""The published alert as a protobuf message, and the names of the services of proto/alerts.proto."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from alerts.following.recent import Reader
from alerts.models import Alert
from alerts.rpc import alerts_pb2

_SERVICES = alerts_pb2.DESCRIPTOR.services_by_name
STREAM: Final[str] = _SERVICES["AlertStream"].full_name
RECEIVER: Final[str] = _SERVICES["AlertReceiver"].full_name
DELIVER_PATH: Final = f"/{RECEIVER}/Deliver"

_OWN_FIELDS: Final = frozenset(
    {
        "phase", "incident_id", "sequence", "schema_version", "exam_id", "organisation", "technical", "decided_at",
        "ended_at", "duration_s", "evidence",
    }
)  # fmt: skip
"""Members of a document's ``metadata`` that have a field; all others travel in ``more``."""


def alert_message(document: Mapping[str, Any]) -> alerts_pb2.Alert:
    """Return the message that says what a document of the published schema says; nothing is left out.

    Notices tell of no incident: the fields about one stay empty.
    """
    evidence = document.get("evidence", {"frame_ids": (), "confidence_metrics": {}})
    message = alerts_pb2.Alert(
        event_id=document["event_id"],
        exam_session_id=document["exam_session_id"],
        candidate_id=document["candidate_id"],
        event_type=document["event_type"],
        severity_score=document.get("severity_score"),
        ai_model_source=document.get("ai_model_source"),
        evidence=alerts_pb2.Evidence(
            frame_ids=evidence["frame_ids"], confidence_metrics=evidence["confidence_metrics"]
        ),
        metadata=_metadata(document["metadata"]),
    )
    message.timestamp.FromJsonString(document["timestamp"])
    return message


def _metadata(metadata: Mapping[str, Any]) -> alerts_pb2.Metadata:
    message = alerts_pb2.Metadata(
        phase=metadata.get("phase"),
        incident_id=metadata.get("incident_id"),
        sequence=metadata.get("sequence"),
        schema_version=metadata["schema_version"],
        exam_id=metadata["exam_id"],
        organisation=metadata["organisation"],
        technical=metadata["technical"],
        duration_s=metadata.get("duration_s"),
        pictures=[_picture(picture) for picture in metadata.get("evidence", ())],
    )
    for name in ("decided_at", "ended_at"):
        if metadata.get(name) is not None:
            getattr(message, name).FromJsonString(metadata[name])
    message.more.update({name: value for name, value in metadata.items() if name not in _OWN_FIELDS})
    return message


def _picture(picture: Mapping[str, Any]) -> alerts_pb2.Picture:
    message = alerts_pb2.Picture(
        evidence_id=picture["evidence_id"],
        frame_id=picture["frame_id"],
        sha256=picture["sha256"],
        url=picture["url"],
    )
    message.captured_at.FromJsonString(picture["captured_at"])
    return message


def _wire(alert: Alert) -> bytes:
    return alert_message(alert.payload).SerializeToString()


READER: Final = Reader(_wire)
"""Reads alerts as the bytes that go over the wire."""
