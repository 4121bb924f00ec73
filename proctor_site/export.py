"""Everything stored about one candidate, as a ZIP that is written while it is sent.

What is not in it: the template itself, numbers that only our own model can compare and that would be a way into every
system that uses the same one; keys; and where subscribers' servers are. docs/trust.md says so.
"""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Q
from django.utils import timezone

from accounts.audit import candidate_subject
from accounts.keys import SealError
from accounts.models import AuditEntry
from accounts.problems import Problem
from alerts import evidence
from alerts.models import Alert, Delivery, Evidence, Incident, Review
from detection.models import Detection
from enrollment.models import Candidate, DuplicateSuspicion, FaceTemplate, FailedVerifications
from sessions.models import Challenge, ExamSession, LegalHold, MediaGap

logger = logging.getLogger(__name__)

_ROWS: Final = 500


class _Pipe:
    """What a ZIP is written into, and taken out of again piece by piece; it never goes back."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._held.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: what is held is taken."""

    def take(self) -> bytes:
        """Return what was written since the last time."""
        data = b"".join(self._held)
        self._held.clear()
        return data


def candidate_export(candidate: Candidate) -> Iterator[bytes]:
    """Yield the ZIP's bytes; at most one picture, or some hundred rows, are in memory at a time.

    A picture that cannot be read is named in ``missing.json`` and holds up nothing.
    """
    pipe = _Pipe()
    missing: list[dict[str, str]] = []
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        yield from _document(archive, pipe, "candidate.json", _candidate(candidate))
        for session in ExamSession.objects.filter(candidate=candidate).select_related("exam").order_by("created_at"):
            yield from _session(archive, pipe, session, missing)
        yield from _lines(archive, pipe, "audit.jsonl", _audit(candidate))
        yield from _document(archive, pipe, "missing.json", missing)
    yield pipe.take()


def _candidate(candidate: Candidate) -> dict[str, Any]:
    template = FaceTemplate.objects.filter(candidate=candidate).first()
    return {
        "exported_at": timezone.now(),
        "organisation": candidate.organisation.slug,
        "candidate_id": candidate.candidate_id,
        "created_at": candidate.created_at,
        "accommodations": candidate.accommodations,
        "consents": list(candidate.consents.values("version", "locale", "given_at", "recorded_at", "withdrawn_at")),
        "enrollments": list(candidate.enrollments.values("created_at", "images", "consent__version")),
        "template": None if template is None else {"model": template.model, "created_at": template.created_at},
        "legal_holds": list(LegalHold.objects.filter(candidate=candidate).values("placed_at", "lifted_at")),
        "duplicate_suspicions": list(_suspicions(candidate)),
        "failed_verifications": list(
            FailedVerifications.objects.filter(candidate=candidate).values("count", "paused_until")
        ),
    }


def _suspicions(candidate: Candidate) -> Iterable[Mapping[str, Any]]:
    """Say how alike somebody was to the candidate, and what a person decided; not who: that is the other's."""
    pairs = DuplicateSuspicion.objects.filter(Q(candidate=candidate) | Q(other=candidate)).order_by("noticed_at")
    return pairs.values("similarity", "comparison_score", "model", "noticed_at", "decision", "decided_at")


def _session(
    archive: zipfile.ZipFile, pipe: _Pipe, session: ExamSession, missing: list[dict[str, str]]
) -> Iterator[bytes]:
    folder = f"sessions/{session.id}"
    yield from _document(archive, pipe, f"{folder}/session.json", _facts(session))
    incidents = Incident.objects.filter(session=session).order_by("started_at").values()
    yield from _lines(archive, pipe, f"{folder}/incidents.jsonl", incidents.iterator(chunk_size=_ROWS))
    reviews = Review.objects.filter(incident__session=session).order_by("created_at")
    told = reviews.values("incident_id", "version", "decision", "reason", "created_at")
    yield from _lines(archive, pipe, f"{folder}/reviews.jsonl", told.iterator(chunk_size=_ROWS))
    payloads = Alert.objects.filter(session=session).order_by("sequence").values_list("payload", flat=True)
    yield from _lines(archive, pipe, f"{folder}/alerts.jsonl", payloads.iterator(chunk_size=_ROWS))
    deliveries = Delivery.objects.filter(session=session).order_by("pk").values(
        "alert_id", "notice_id", "subscription__transport", "state", "created_at", "delivered_at"
    )  # fmt: skip
    yield from _lines(archive, pipe, f"{folder}/deliveries.jsonl", deliveries.iterator(chunk_size=_ROWS))
    measured = Detection.objects.filter(session=session).order_by("captured_at", "sample_id")
    rows = measured.values("captured_at", "sample_id", "stream", "measures")
    yield from _lines(archive, pipe, f"{folder}/detections.jsonl", rows.iterator(chunk_size=_ROWS))
    pictures = Evidence.objects.filter(session=session).select_related("session__candidate__data_key")
    for row in pictures.order_by("captured_at").iterator(chunk_size=_ROWS):
        yield from _picture(archive, pipe, f"{folder}/evidence/{row.id}.jpg", row, missing)


def _facts(session: ExamSession) -> dict[str, Any]:
    names = (
        "id", "session_id", "state", "created_at", "planned_end_at", "live_at", "ended_at", "end_reason", "policy_name",
        "policy_version", "policy", "accommodations", "risk_score",
    )  # fmt: skip
    return {name: getattr(session, name) for name in names} | {
        "exam_id": session.exam.exam_id if session.exam else None,
        "challenges": list(Challenge.objects.filter(session=session).values("issued_at", "outcome", "steps")),
        "gaps": list(MediaGap.objects.filter(session=session).values("stream", "started_at", "ended_at", "reason")),
        "evidence": list(
            Evidence.objects.filter(session=session)
            .order_by("captured_at")
            .values("id", "incident_id", "frame_id", "captured_at", "sha256", "expires_at", "removed_at")
        ),
        "legal_holds": list(LegalHold.objects.filter(session=session).values("placed_at", "lifted_at")),
    }


def _audit(candidate: Candidate) -> Iterator[dict[str, Any]]:
    subject = candidate_subject(organisation=candidate.organisation, candidate_id=candidate.candidate_id)
    entries = AuditEntry.objects.filter(
        organisation=candidate.organisation, subject_type="candidate", subject=subject
    ).order_by("sequence")
    for entry in entries.values("at", "actor_kind", "action", "details").iterator(chunk_size=_ROWS):
        yield dict(entry)


def _picture(
    archive: zipfile.ZipFile, pipe: _Pipe, name: str, row: Evidence, missing: list[dict[str, str]]
) -> Iterator[bytes]:
    if row.removed_at is not None:  # the row says when
        return
    try:
        content = evidence.picture(row)
    except (Problem, SealError, OSError) as error:
        logger.error("The picture %s cannot be exported: %s", row.id, error)
        missing.append({"evidence_id": str(row.id), "reason": getattr(error, "code", "unreadable")})
        return
    archive.writestr(_entry(name, compressed=False), content)
    yield pipe.take()


def _document(archive: zipfile.ZipFile, pipe: _Pipe, name: str, content: Any) -> Iterator[bytes]:
    archive.writestr(_entry(name), json.dumps(content, cls=DjangoJSONEncoder, indent=1))
    yield pipe.take()


def _lines(archive: zipfile.ZipFile, pipe: _Pipe, name: str, rows: Iterable[Any]) -> Iterator[bytes]:
    with archive.open(_entry(name), "w", force_zip64=True) as entry:
        for number, row in enumerate(rows, start=1):
            entry.write(json.dumps(row, cls=DjangoJSONEncoder).encode() + b"\n")
            if number % _ROWS == 0:
                yield pipe.take()
    yield pipe.take()


def _entry(name: str, *, compressed: bool = True) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, timezone.now().timetuple()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    return info
