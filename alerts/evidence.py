"""Stored pictures behind an incident: sealed under the candidate's data key, linked by signature.

The file's name follows from the incident and the frame, so that storing twice overwrites. Files lie in one folder per
day of writing: what no row names (a transaction that was rolled back) is found by looking at few days.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.urls import reverse
from django.utils import timezone
from prometheus_client import Counter

from accounts import keys
from accounts.audit import Actor, audit_write
from accounts.problems import Problem
from alerts.evidence_chain import chain_append
from alerts.jpeg import without_metadata
from alerts.models import Evidence, Incident
from alerts.payload import EvidenceLink, from_unix
from sessions.holds import session_held
from sessions.models import ExamSession
from sessions.retention import EVIDENCE, days_kept

logger = logging.getLogger(__name__)


Frames = Mapping[str, tuple[float, bytes]]
"""By frame id: capture time in Unix seconds and the JPEG."""

PURPOSE = "evidence"
STORAGE = "evidence"
LINK_LIFETIME = timedelta(days=4)
"""Longer than the 76 hours over which a delivery is retried, so a late alert still has working links."""

STORAGE_RETRY_S = 5
"""When to ask again for what a storage that is away holds."""

NO_LIMIT_DAYS = 36_500
"""Of pictures that are kept without limit: a column of times needs one."""

_SIGNER_SALT = "alerts.evidence.link"

UNREADABLE = Counter("sdproctor_evidence_unreadable", "Pictures not stored, because they are no JPEG.")
STORED = Counter("sdproctor_evidence_stored", "Evidence pictures stored.")
UNSEALABLE = Counter("sdproctor_evidence_unsealable", "Pictures not stored, because the candidate has no data key.")


def storage() -> Storage:
    """Return where sealed pictures lie."""
    return storages[STORAGE]


def keep(*, incident: Incident, frames: Frames) -> list[Evidence]:
    """Seal and store the pictures of an incident's frames; return its rows, also those stored before.

    A candidate without a data key (never enrolled, or erased) has not agreed to pictures being kept: none are.
    Raises ``OSError`` when the storage cannot be written.
    """
    rows = list(incident.evidence.all())
    missing = frames.keys() - {row.frame_id for row in rows}
    candidate = incident.session.candidate
    if missing and candidate.data_key is None:
        UNSEALABLE.inc(len(missing))
        logger.info("Incident %s: %d pictures not kept, the candidate has no data key", incident.id, len(missing))
        return rows
    rows += [row for frame_id in sorted(missing) if (row := _store(incident, frame_id, *frames[frame_id]))]
    return sorted(rows, key=lambda row: row.captured_at)


def _store(incident: Incident, frame_id: str, captured_at: float, frame: bytes) -> Evidence | None:
    try:
        jpeg = without_metadata(frame)
    except ValueError as error:
        UNREADABLE.inc()
        logger.error("A picture of incident %s is not kept: %s", incident.id, error)
        return None
    evidence_id = uuid.uuid5(incident.id, frame_id)
    data_key = incident.session.candidate.data_key
    assert data_key is not None
    now = timezone.now()
    sealed = keys.seal(jpeg, data_key=data_key, purpose=PURPOSE, row=str(evidence_id))
    name = storage().save(f"{now:%Y-%m-%d}/{incident.session_id.hex}/{evidence_id.hex}.sealed", ContentFile(sealed))
    row = Evidence(
        id=evidence_id,
        organisation_id=incident.organisation_id,
        incident=incident,
        session_id=incident.session_id,
        frame_id=frame_id,
        captured_at=from_unix(captured_at),
        sha256=hashlib.sha256(jpeg).hexdigest(),
        storage_name=name,
        expires_at=now + _kept(incident.session),
        created_at=now,
    )
    with transaction.atomic():
        chain_append(row, organisation=incident.session.organisation)
    STORED.inc()
    return row


def _kept(session: ExamSession) -> timedelta:
    """Return how long the session's pictures are kept."""
    days = days_kept(organisation_id=session.organisation_id, exam_id=session.exam_id, kind=EVIDENCE)
    return timedelta(days=days or NO_LIMIT_DAYS)


def picture(evidence: Evidence) -> bytes:
    """Open a stored picture. What is gone raises ``Problem``: ``evidence_removed`` or ``evidence_erased``.

    Raises ``accounts.keys.SealError`` when the file was changed, and ``OSError`` when the storage cannot be read.
    """
    if evidence.removed_at is not None or (evidence.expires_at <= timezone.now() and not _is_held(evidence)):
        raise Problem("evidence_removed", "The picture was removed when its retention time was over.")
    data_key = evidence.session.candidate.data_key
    if data_key is None:
        raise Problem("evidence_erased", "The candidate was erased, and with it the key to the picture.")
    try:
        with storage().open(evidence.storage_name) as file:
            sealed = file.read()
    except FileNotFoundError:
        raise Problem("evidence_unknown", "The picture's file is not in the storage.") from None
    try:
        return keys.open_sealed(sealed, data_key=data_key, purpose=PURPOSE, row=str(evidence.id))
    except keys.SealError:
        if keys.key_id_of(sealed) != str(data_key.id):  # erased, then enrolled again under a new key
            raise Problem("evidence_erased", "The candidate was erased, and with it the key to the picture.") from None
        raise


def _is_held(evidence: Evidence) -> bool:
    return ExamSession.objects.filter(session_held(), pk=evidence.session_id).exists()


def picture_show(evidence: Evidence, *, actor: Actor) -> bytes:
    """Open a stored picture for somebody, and write down that they saw it.

    Raises as ``picture``, but ``Problem`` (``storage_unavailable``) for a storage that is away.
    """
    try:
        content = picture(evidence)
    except OSError as error:
        logger.warning("The picture %s cannot be read: %s", evidence.id, error)
        raise Problem("storage_unavailable", retry_after_s=STORAGE_RETRY_S) from error
    audit_write(
        organisation=evidence.session.organisation,
        actor=actor,
        action="evidence.viewed",
        subject_type="evidence",
        subject=str(evidence.id),
        details={"session": str(evidence.session_id), "incident": str(evidence.incident_id)},
    )
    return content


# --- Links ------------------------------------------------------------------------------------------------------------
def _signer() -> TimestampSigner:
    return TimestampSigner(salt=_SIGNER_SALT)


def link(evidence_id: uuid.UUID) -> str:
    """Return the absolute address of a picture, signed and good for ``LINK_LIFETIME``."""
    signature = _signer().sign(str(evidence_id)).split(":", 1)[1]
    return f"{settings.PUBLIC_URL}{reverse('evidence', args=[evidence_id])}?signature={signature}"


def link_check(evidence_id: uuid.UUID, signature: str) -> None:
    """Raise ``Problem`` unless the signature was made for this picture and is not too old."""
    try:
        _signer().unsign(f"{evidence_id}:{signature}", max_age=LINK_LIFETIME)
    except SignatureExpired:
        raise Problem("link_expired", "The link has expired; ask with an API key instead.") from None
    except BadSignature:
        raise Problem("link_invalid", "The link's signature is not ours.") from None


def links(stored: Iterable[Evidence]) -> tuple[EvidenceLink, ...]:
    """Describe stored pictures for an alert, each with a signed link."""
    return tuple(
        EvidenceLink(row.id, row.frame_id, row.captured_at, row.sha256, link(row.id))
        for row in stored
        if row.removed_at is None
    )


@receiver(post_delete, sender=Evidence)
def _file_follows_row(instance: Evidence, **_: object) -> None:
    """Remove the file once the row's removal is committed; rows go with their session, candidate or organisation."""
    if instance.removed_at is None:
        transaction.on_commit(partial(storage().delete, instance.storage_name), robust=True)
