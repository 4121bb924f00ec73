"""The audit log: who saw or changed what. Append-only, chained under a key of the organisation.

Entries hold no personal data of candidates: they outlive an erasure. A candidate is named by a keyed hash of the id
(``candidate_subject``), by which entries are found again while somebody still knows the id.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone
from rest_framework.request import Request

from accounts.models import APIKey, AuditEntry, AuditHead, Organisation, OrganisationKey, User
from accounts.own_keys import own_key, own_key_bytes

OPENED_AGAIN: Final = timedelta(minutes=5)
"""Pages renew themselves: the same person at the same row within this time is one visit."""
_SUBJECT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: ``name`` is a user name, the prefix of an API key, a subject, or the part of the system."""

    kind: AuditEntry.ActorKind
    name: str = ""

    @classmethod
    def of_request(cls, request: Request) -> Actor:
        """Return who asks: the API key's or the signed-in person's."""
        if isinstance(request.auth, APIKey):
            return cls(AuditEntry.ActorKind.KEY, request.auth.prefix)
        return cls.of_user(request.user)

    @classmethod
    def of_user(cls, user: object) -> Actor:
        """Return a signed-in person; whoever is not one is told as the system."""
        return cls(AuditEntry.ActorKind.PERSON, user.get_username()) if isinstance(user, User) else SYSTEM


SYSTEM: Final = Actor(AuditEntry.ActorKind.SYSTEM)


def audit_write(
    *,
    organisation: Organisation,
    actor: Actor,
    action: str,
    subject_type: str,
    subject: str = "",
    details: dict[str, Any] | None = None,
) -> AuditEntry:
    """Append an entry to the organisation's log, in the caller's transaction.

    ``details`` is JSON without personal data. The chain's head is locked until the transaction ends: write the entry
    last. Raises ``accounts.keys.SealError`` when the audit key does not open.
    """
    key = _key_bytes(organisation)
    with transaction.atomic():
        _, is_new = AuditHead.objects.get_or_create(organisation=organisation)
        head = AuditHead.objects.select_for_update().get(organisation=organisation)
        if is_new:
            head.seal = head_seal(head, key=key)
        entry = AuditEntry(
            organisation=organisation,
            sequence=head.sequence + 1,
            at=timezone.now(),
            actor_kind=actor.kind,
            actor=actor.name,
            action=action,
            subject_type=subject_type,
            subject=subject,
            details=details or {},
        )
        entry.mac = _mac(entry, before=bytes(head.mac), key=key)
        entry.save(force_insert=True)
        _head_change(head, key=key, sequence=entry.sequence, mac=entry.mac)
    return entry


def audit_opened(*, organisation: Organisation, actor: Actor, kind: str, subject: str) -> None:
    """Write down that somebody looks at a row (``kind`` with ``.opened``), once within ``OPENED_AGAIN``."""
    action = f"{kind}.opened"
    visits = AuditEntry.objects.filter(
        organisation=organisation,
        subject_type=kind,
        subject=subject,
        at__gt=timezone.now() - OPENED_AGAIN,
        action=action,
        actor_kind=actor.kind,
        actor=actor.name,
    )
    if not visits.exists():
        audit_write(organisation=organisation, actor=actor, action=action, subject_type=kind, subject=subject)


def audit_cut(head: AuditHead, *, last: AuditEntry) -> None:
    """Have a log, whose head the caller has locked, begin behind ``last``, the last entry that retention removes."""
    key = _key_bytes(head.organisation)
    _head_change(head, key=key, base_sequence=last.sequence, base_mac=bytes(last.mac))


def _head_change(head: AuditHead, *, key: bytes, **changes: Any) -> None:
    """Store where a log ends or begins. A seal that did not hold stays as it is: going on must not make it good."""
    holds = _head_holds(head, key=key)
    for name, value in changes.items():
        setattr(head, name, value)
    if holds:
        head.seal = head_seal(head, key=key)
    head.save(update_fields=[*changes, "seal"])


def _head_holds(head: AuditHead, *, key: bytes) -> bool:
    return hmac.compare_digest(head_seal(head, key=key), bytes(head.seal))


def head_seal(head: AuditHead, *, key: bytes) -> bytes:
    """Return the seal over both ends of a log."""
    ends = [head.sequence, bytes(head.mac).hex(), head.base_sequence, bytes(head.base_mac).hex()]
    told = json.dumps(["head", head.organisation_id, *ends])
    return hmac.digest(key, told.encode(), hashlib.sha256)


def audit_verify(organisation: Organisation) -> Iterator[str]:
    """Walk the organisation's log and yield, in words, each place where it was changed or where entries are missing."""
    head = AuditHead.objects.filter(organisation=organisation).first()
    if head is None:
        if AuditEntry.objects.filter(organisation=organisation).exists():
            yield "The head of the log is missing."
        return
    key = _key_bytes(organisation)
    if not _head_holds(head, key=key):
        yield "Where the log begins or ends was changed."
    sequence, mac = head.base_sequence, bytes(head.base_mac)
    for entry in AuditEntry.objects.filter(organisation=organisation).order_by("sequence").iterator(chunk_size=1000):
        if entry.sequence != sequence + 1:
            yield f"Entries {sequence + 1} to {entry.sequence - 1} are missing."
        elif not hmac.compare_digest(_mac(entry, before=mac, key=key), bytes(entry.mac)):
            yield f"Entry {entry.sequence} was changed."
        sequence, mac = entry.sequence, bytes(entry.mac)
    if sequence != head.sequence:
        yield f"Entries {sequence + 1} to {head.sequence} are missing."
    elif not hmac.compare_digest(mac, bytes(head.mac)):
        yield "The last entry is not the one that the log ended with."


def entry_holds(entry: AuditEntry, *, before: bytes) -> bool:
    """Tell whether an entry, read from an export for one, is as it was written after one whose MAC is ``before``."""
    return hmac.compare_digest(_mac(entry, before=before, key=_key_bytes(entry.organisation)), bytes(entry.mac))


def mac_before(entry: AuditEntry) -> bytes | None:
    """Return the MAC of what comes before ``entry`` in the organisation's log here; None where that is not here."""
    head = AuditHead.objects.filter(organisation=entry.organisation).first() or AuditHead()
    if entry.sequence == head.base_sequence + 1:
        return bytes(head.base_mac)
    found = AuditEntry.objects.filter(organisation=entry.organisation, sequence=entry.sequence - 1).first()
    return None if found is None else bytes(found.mac)


def candidate_subject(*, organisation: Organisation, candidate_id: str) -> str:
    """Return how the log names a candidate: 32 hexadecimal digits that tell nothing without the audit key."""
    return _subject(_key_bytes(organisation), candidate_id)


def candidate_subjects(*, organisation: Organisation, ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield how the log names each candidate, with the id: the key is opened once for all of them."""
    key = _key_bytes(organisation)
    for candidate_id in ids:
        yield _subject(key, candidate_id), candidate_id


def _subject(key: bytes, candidate_id: str) -> str:
    return hmac.digest(key, b"candidate\0" + candidate_id.encode(), hashlib.sha256)[:_SUBJECT_BYTES].hex()


def _key_bytes(organisation: Organisation) -> bytes:
    return own_key_bytes(own_key(organisation=organisation, purpose=OrganisationKey.Purpose.AUDIT))


def _mac(entry: AuditEntry, *, before: bytes, key: bytes) -> bytes:
    told = {
        "organisation": entry.organisation_id,
        "sequence": entry.sequence,
        "at": entry.at.isoformat(),
        "actor": [str(entry.actor_kind), entry.actor],
        "action": entry.action,
        "subject": [entry.subject_type, entry.subject],
        "details": entry.details,
    }
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.digest(key, before + text.encode(), hashlib.sha256)
