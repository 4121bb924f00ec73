"""Read what tells of erasures and withdrawals outside the database: exported audit logs, and receipts one a line.

Nothing is believed that was not written here: receipts are signed, and each entry of a log has a MAC over itself and
the MAC of the entry before, which stands in the line before, in the file before, or in the database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import jwt

from accounts.audit import entry_holds, mac_before
from accounts.audit_export import entry_read
from accounts.models import AuditEntry, Organisation
from accounts.problems import Problem
from accounts.receipts import receipt_read

ACTIONS: Final = ("candidate.erased", "enrollment.erased", "consent.withdrawn")
"""What the audit log calls that which has to be done again."""
_SUBJECT: Final = re.compile(r"[0-9a-f]{32}")


class LineError(ValueError):
    """A line that is no entry of the audit log and no receipt that can be believed; the text says why."""


@dataclass(frozen=True, slots=True)
class Told:
    """That something happened to a candidate ``at`` a time. ``action`` is the audit log's word for it."""

    organisation: str
    action: str
    at: datetime
    subject: str = ""
    candidate_id: str = ""


class LineReader:
    """Reads one file after the other; ``unverified``: believe what the keys that are here cannot verify."""

    def __init__(self, *, unverified: bool = False) -> None:
        self._unverified = unverified
        self._organisations = {organisation.slug: organisation for organisation in Organisation.objects.all()}
        self._last: dict[str, AuditEntry] = {}

    def read(self, lines: Iterable[str]) -> Iterator[Told | LineError]:
        """Yield what lines tell, or why one cannot be believed; what tells of other things is passed over."""
        for number, line in enumerate(lines, start=1):
            text = line.strip()
            try:
                told = self._entry(text) if text.startswith("{") else self._receipt(text) if text else None
            except LineError as error:
                yield LineError(f"Line {number}: {error}")
                continue
            if told is not None:
                yield told

    def _entry(self, text: str) -> Told | None:
        try:
            slug, entry = entry_read(json.loads(text))
        except (ValueError, TypeError, KeyError) as error:
            raise LineError("this is no entry of an exported audit log.") from error
        before, self._last[slug] = self._last.get(slug), entry
        if entry.action not in ACTIONS or entry.subject_type != "candidate":
            return None
        if _SUBJECT.fullmatch(entry.subject) is None:
            raise LineError("the entry names no candidate.")
        organisation = self._organisations.get(slug)
        if organisation is not None and not self._unverified:
            entry.organisation = organisation
            _verify(entry, before)
        return Told(slug, entry.action, entry.at, subject=entry.subject)

    def _receipt(self, text: str) -> Told:
        try:
            claims = receipt_read(text, unverified=self._unverified)
            action = {"everything": "candidate.erased", "enrollment": "enrollment.erased"}[claims["kind"]]
            at = datetime.fromisoformat(claims["erased_at"])
            return Told(claims["organisation"], action, at, candidate_id=str(claims["sub"]))
        except Problem as problem:
            raise LineError(f"the receipt is signed with a key that is not here ({problem.detail})") from problem
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError) as error:
            raise LineError(f"this is no receipt that holds ({type(error).__name__}).") from error


def _verify(entry: AuditEntry, before: AuditEntry | None) -> None:
    follows = before is not None and before.sequence + 1 == entry.sequence
    mac = bytes(before.mac) if before is not None and follows else mac_before(entry)
    if mac is None:
        raise LineError("the line before it in the log is missing, without which it cannot be verified.")
    if not entry_holds(entry, before=mac):
        raise LineError("the entry is not one that was written here, or was changed.")
