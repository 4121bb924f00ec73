"""The published alert: what a subscriber, a socket and the admin get to see of an incident, and its JSON Schema."""

from __future__ import annotations

import dataclasses
import json
import math
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from detection.engine.policy import EventType, RulePolicy

SCHEMA_VERSION = "1.1"
"""What alerts are written in. Alerts of versions before it, which stored ones may have, follow their own schema."""
SCHEMA_VERSIONS = ("1.0", "1.1")
SCHEMAS = Path(__file__).parent / "schemas"
NOTICE_SCHEMA_PATH = SCHEMAS / "notice-1.0.json"

METRICS: Mapping[str, str] = {
    EventType.NO_FACE: "face_count",
    EventType.MULTIPLE_PERSONS: "person_count",
    EventType.FACE_MISMATCH: "face_sim",
    EventType.FACE_PARTIAL: "face_visible_share",
    EventType.FACE_TOO_FAR: "face_width_px",
    EventType.IDENTITY_UNSURE: "cannot_tell_s",
    EventType.HEAD_TURNED: "head_off_deg",
    EventType.GAZE_OFF_SCREEN: "gaze_off_deg",
    EventType.PHONE: "phone_score",
    EventType.BOOK: "book_score",
    EventType.SECOND_SCREEN: "screen_score",
    EventType.LEFT_SEAT: "seat_shift",
    EventType.HAND_TO_FACE: "hand_distance",
    EventType.BODY_MOVEMENT: "movement",
    EventType.SPEECH_OFF_CAMERA: "off_camera_speech",
    EventType.LIPS_MOVING: "silent_lips",
    EventType.SPEECH_DETECTED: "speech_share",
    EventType.MULTIPLE_SPEAKERS: "second_voice_s",
    EventType.UNKNOWN_VOICE: "voice_score",
    EventType.KEYWORD_SPOKEN: "keywords",
    EventType.WHISPER: "whisper_share",
    EventType.NOTIFICATION_SOUND: "tone_share",
    EventType.LOOPED_AUDIO: "loop_s",
    EventType.MICROPHONE_SILENT: "rms_dbfs",
    EventType.PRESENTATION_ATTACK: "attack",
    EventType.CHALLENGE_FAILED: "movements_missed",
    EventType.CAMERA_COVERED: "detail",
    EventType.CAMERA_STATIC: "unchanged_s",
    EventType.LOW_LIGHT: "light",
    EventType.BLURRED: "sharpness",
}
"""What the number that a rule looks at is called in ``confidence_metrics``. What is not listed has no such number."""


class PayloadError(ValueError):
    """An alert that does not follow the published schema: a fault in this program, never in what came in."""


@dataclass(frozen=True, slots=True)
class EvidenceLink:
    """One stored picture behind the incident, as the alert names it."""

    evidence_id: uuid.UUID
    frame_id: str
    captured_at: datetime
    sha256: str
    url: str

    def to_dict(self) -> dict[str, str]:
        """Return the JSON-able form."""
        return {
            "evidence_id": str(self.evidence_id),
            "frame_id": self.frame_id,
            "captured_at": iso(self.captured_at),
            "sha256": self.sha256,
            "url": self.url,
        }


@dataclass(frozen=True, slots=True)
class ReviewFacts:
    """Who decided on an incident, when and why. What was decided is the alert's phase."""

    reviewer: str
    at: datetime
    reason: str

    def to_dict(self) -> dict[str, str]:
        """Return the JSON-able form."""
        return {"by": self.reviewer, "at": iso(self.at), "reason": self.reason}


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """Everything an alert tells. Times are aware datetimes; names are the platform's own."""

    event_id: uuid.UUID
    incident_id: uuid.UUID
    session_id: str
    candidate_id: str
    exam_id: str | None
    organisation: str
    sequence: int
    event_type: str
    phase: str
    technical: bool
    severity: float
    started_at: datetime
    decided_at: datetime
    ended_at: datetime | None
    value: float
    peak_value: float
    peak_at: datetime
    raw_score: float | None
    rule: RulePolicy
    model: str
    policy_name: str
    policy_version: str
    sample_ids: tuple[str, ...]
    frame_ids: tuple[str, ...]
    links: tuple[EvidenceLink, ...] = ()
    accommodated: bool = False
    """Whether the session runs under the candidate's own exceptions to the policy."""
    incident_version: int = 1
    review: ReviewFacts | None = None
    """The decision that the alert tells of; None when the incident opened or closed."""


def rule_document(rule: RulePolicy) -> dict[str, Any]:
    """Return a rule as the admin and the alert show it."""
    return dataclasses.asdict(rule)


def iso(moment: datetime) -> str:
    """Write an aware datetime as ISO 8601 in UTC with milliseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_unix(seconds: float) -> datetime:
    """Turn Unix seconds into an aware datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def unique(items: Iterable[str]) -> list[str]:
    """Return the items in order, each once."""
    return list(dict.fromkeys(items))


def finite(number: float | None, digits: int = 4) -> float | None:
    """Round a number for the outside; what JSON cannot carry (infinite, not a number) becomes None."""
    return round(number, digits) if number is not None and math.isfinite(number) else None


def build(facts: AlertFacts) -> dict[str, Any]:
    """Build the alert in the published schema and check it; a misfit raises ``PayloadError``."""
    document = {
        "event_id": str(facts.event_id),
        "exam_session_id": facts.session_id,
        "candidate_id": facts.candidate_id,
        "timestamp": iso(facts.started_at),
        "event_type": facts.event_type,
        "severity_score": facts.severity,
        "ai_model_source": facts.model,
        "evidence": {
            "frame_ids": unique(facts.frame_ids),
            "confidence_metrics": _metrics(facts),
        },
        "metadata": _metadata(facts),
    }
    validate(document)
    return document


def _metrics(facts: AlertFacts) -> dict[str, float]:
    name = METRICS.get(facts.event_type)
    if name is None:
        return {}
    numbers = {name: finite(facts.value), f"{name}_peak": finite(facts.peak_value)}
    return {key: number for key, number in numbers.items() if number is not None}


def _metadata(facts: AlertFacts) -> dict[str, Any]:
    ended_at = facts.ended_at
    return {
        "phase": facts.phase,
        "incident_id": str(facts.incident_id),
        "sequence": facts.sequence,
        "schema_version": SCHEMA_VERSION,
        "exam_id": facts.exam_id,
        "organisation": facts.organisation,
        "technical": facts.technical,
        "decided_at": iso(facts.decided_at),
        "ended_at": iso(ended_at) if ended_at else None,
        "duration_s": round((ended_at - facts.started_at).total_seconds(), 3) if ended_at else None,
        "rule": rule_document(facts.rule),
        "raw_score": finite(facts.raw_score, 6),
        "peak": {"value": finite(facts.peak_value), "at": iso(facts.peak_at)},
        "policy": facts.policy_name,
        "policy_version": facts.policy_version,
        "accommodated": facts.accommodated,
        "sample_ids": unique(facts.sample_ids),
        "evidence": [link.to_dict() for link in facts.links],
        "incident_version": facts.incident_version,
        "review": facts.review.to_dict() if facts.review else None,
    }


@cache
def schema(version: str = SCHEMA_VERSION) -> dict[str, Any]:
    """Return the published JSON Schema of an alert in one of ``SCHEMA_VERSIONS``."""
    return dict(json.loads((SCHEMAS / f"alert-{version}.json").read_text()))


@cache
def notice_schema() -> dict[str, Any]:
    """Return the published JSON Schema of a notice."""
    return dict(json.loads(NOTICE_SCHEMA_PATH.read_text()))


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(schema(), format_checker=FormatChecker())


@cache
def _notice_validator() -> Draft202012Validator:
    return Draft202012Validator(notice_schema(), format_checker=FormatChecker())


def validate(document: Mapping[str, Any]) -> None:
    """Raise ``PayloadError`` naming each place where an alert leaves the schema."""
    _check(document, _validator())


def validate_notice(document: Mapping[str, Any]) -> None:
    """Raise ``PayloadError`` naming each place where a notice leaves the schema."""
    _check(document, _notice_validator())


def _check(document: Mapping[str, Any], validator: Draft202012Validator) -> None:
    errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]
    if errors:
        raise PayloadError("; ".join(errors))


def ordered(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an alert with its members in the schema's order; PostgreSQL keeps them in an order of its own."""
    result: dict[str, Any] = _in_order(document, _order())
    return result


@dataclass(frozen=True, slots=True)
class _Order:
    """The order of an object's members, or that of the objects in an array."""

    members: Mapping[str, _Order | None]
    items: _Order | None

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> _Order | None:
        """Read it from a schema; None where there is nothing to put in order."""
        members = {name: cls.of(member) for name, member in node.get("properties", {}).items()}
        items = cls.of(node["items"]) if "items" in node else None
        return cls(members, items) if members or items or node.get("type") == "object" else None


@cache
def _order() -> _Order:
    order = _Order.of(schema())
    assert order is not None
    return order


def _in_order(value: Any, order: _Order) -> Any:
    """Put members that the schema does not name behind the others, by name."""
    if isinstance(value, list):
        return value if order.items is None else [_in_order(item, order.items) for item in value]
    if not isinstance(value, Mapping):
        return value
    named = order.members
    result = {
        name: value[name] if member is None else _in_order(value[name], member)
        for name, member in named.items()
        if name in value
    }
    if len(result) < len(value):
        result |= {name: value[name] for name in sorted(value.keys() - named.keys())}
    return result


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def body(document: Mapping[str, Any]) -> bytes:
    """Write an alert as the bytes that are signed and sent: compact UTF-8 JSON, the same for every retry."""
    return _encode(ordered(document)).encode()
