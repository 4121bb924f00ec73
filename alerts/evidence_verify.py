"""Verify that a session's evidence is what it was: the chain of its rows, and the pictures themselves."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from datetime import datetime

from accounts.keys import SealError
from accounts.models import OrganisationKey
from accounts.own_keys import own_key_bytes
from accounts.problems import Problem
from alerts import evidence
from alerts.evidence_chain import chain_key, chain_seal, row_mac
from alerts.models import Alert, Evidence, EvidenceChain
from enrollment.models import Erasure
from sessions.models import ExamSession


def chain_verify(session: ExamSession, *, pictures: bool = True) -> Iterator[str]:
    """Yield, in words, each place where a session's evidence is not what it was.

    ``pictures``: open every file too, and compare it with its hash. Raises ``OSError`` when the storage is away.
    """
    rows = list(Evidence.objects.filter(session=session).select_related("session__candidate__data_key"))
    yield from _verify_rows(session, sorted((r for r in rows if r.chain_index), key=lambda r: r.chain_index or 0))
    known = {str(row.id) for row in rows}
    for named in sorted(_named_by_alerts(session) - known):
        yield f"An alert names the picture {named}, which is missing."
    erasures = Erasure.objects.filter(candidate=session.candidate_id).order_by("begun_at")
    erased = list(erasures.values_list("begun_at", flat=True))
    for row in rows:
        if row.removed_at is not None:
            yield from _verify_removal(row, row.removed_at, erased)
        elif pictures:
            yield from _verify_picture(row, erased)


def _verify_rows(session: ExamSession, rows: list[Evidence]) -> Iterator[str]:
    chain = EvidenceChain.objects.filter(session=session).first()
    if chain is None:
        if rows:
            yield "The end of the chain is missing."
        return
    try:
        key = own_key_bytes(chain_key(chain))
    except (OrganisationKey.DoesNotExist, SealError):
        yield "The key of the chain is missing or does not open."
        return
    if not hmac.compare_digest(chain_seal(chain, key=key), bytes(chain.seal)):
        yield "The end of the chain was changed."
    index, mac = 0, b""
    for row in rows:
        assert row.chain_index is not None
        if row.chain_index != index + 1:
            yield f"The pictures {index + 1} to {row.chain_index - 1} are missing."
        elif not hmac.compare_digest(row_mac(row, before=mac, key=key), bytes(row.chain_mac)):
            yield f"What is said of the picture {row.chain_index} ({row.id}) was changed."
        index, mac = row.chain_index, bytes(row.chain_mac)
    if index < chain.length:
        yield f"The pictures {index + 1} to {chain.length} are missing."
    elif index > chain.length or not hmac.compare_digest(mac, bytes(chain.mac)):
        yield "The last picture is not the one that the chain ended with."


def _verify_removal(row: Evidence, removed_at: datetime, erased: Sequence[datetime]) -> Iterator[str]:
    """Ask for the reason of a removal: its time was over, or an erasure had begun.

    Of a session that is being removed as a whole, the rows follow as soon as that goes on.
    """
    if removed_at < row.expires_at and not any(row.captured_at <= at <= removed_at for at in erased):
        yield f"The picture {row.id} was removed before its time, and no erasure says so."


def _verify_picture(row: Evidence, erased: Sequence[datetime]) -> Iterator[str]:
    try:
        content = evidence.picture(row)
    except Problem as problem:
        if problem.code == "evidence_unknown":
            yield f"The file of the picture {row.id} is missing."
        elif problem.code == "evidence_erased" and not any(row.captured_at <= at for at in erased):
            yield f"The file of the picture {row.id} is sealed under a key that is gone, and no erasure says so."
        return  # its time is over, or it is being erased: its hash stays
    except SealError:
        yield f"The file of the picture {row.id} was changed."
        return
    if hashlib.sha256(content).hexdigest() != row.sha256:
        yield f"The picture {row.id} is not the one whose hash was stored."


def _named_by_alerts(session: ExamSession) -> set[str]:
    payloads = Alert.objects.filter(session=session).values_list("payload", flat=True)
    return {str(link["evidence_id"]) for payload in payloads for link in payload["metadata"].get("evidence", [])}
