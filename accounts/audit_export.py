"""The audit log as lines of JSON or as CSV, with what is needed to verify it elsewhere."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet

from accounts.models import AuditEntry

FORMATS: Final = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}
"""By name, the content type."""
COLUMNS: Final = (
    "organisation", "sequence", "at", "actor_kind", "actor", "action", "subject_type", "subject", "details", "mac",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_AT_ONCE: Final = 1000


def audit_export(entries: QuerySet[AuditEntry], form: str) -> Iterator[bytes]:
    """Yield the log in one of ``FORMATS``, oldest entries first, some hundred lines at a time."""
    rows = entries.select_related("organisation").order_by("organisation_id", "sequence").iterator(chunk_size=_AT_ONCE)
    if form == "csv":
        yield _csv([list(COLUMNS)])
    block: list[bytes] = []
    for entry in rows:
        told = _told(entry)
        block.append(_csv([[_cell(told[name]) for name in COLUMNS]]) if form == "csv" else _line(told))
        if len(block) >= _AT_ONCE // 4:
            yield b"".join(block)
            block.clear()
    if block:
        yield b"".join(block)


def entry_read(told: dict[str, Any]) -> tuple[str, AuditEntry]:
    """Return a line of JSON, parsed, as the organisation's slug and the entry, not saved and of no organisation.

    Raises ``ValueError``, ``TypeError`` or ``KeyError`` when it is none.
    """
    at = datetime.fromisoformat(told["at"])
    if at.tzinfo is None:
        raise ValueError("An entry's time has a zone.")
    text = {name: str(told[name]) for name in ("actor_kind", "actor", "action", "subject_type", "subject")}
    mac, sequence = bytes.fromhex(told["mac"]), int(told["sequence"])
    return str(told["organisation"]), AuditEntry(at=at, sequence=sequence, mac=mac, details=told["details"], **text)


def _told(entry: AuditEntry) -> dict[str, Any]:
    return {
        "organisation": entry.organisation.slug,
        "sequence": entry.sequence,
        "at": entry.at.isoformat(),
        "actor_kind": entry.actor_kind,
        "actor": entry.actor,
        "action": entry.action,
        "subject_type": entry.subject_type,
        "subject": entry.subject,
        "details": entry.details,
        "mac": bytes(entry.mac).hex(),
    }


def _line(told: dict[str, Any]) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def _csv(rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


def _cell(value: Any) -> str:
    """Write a value so that a spreadsheet takes it for text, whatever somebody has called themselves."""
    text = json.dumps(value) if isinstance(value, dict) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
