"""Do again, in a database that was restored from a backup, what the backup does not know of: erasures and withdrawals.

They are read from what lies outside the database: lines of an exported audit log, where a candidate is a keyed hash,
and receipts, which name the candidate and are signed. What is newer than what a line tells of is left alone, so that
the same file may be given twice, and one that reaches back further than the backup does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet

from accounts.audit import Actor, candidate_subjects
from accounts.models import AuditEntry, Organisation
from accounts.problems import Problem
from enrollment.models import Candidate, Consent, FaceTemplate
from proctor_site.erasure import candidate_erase, enrollment_erase
from proctor_site.replay_lines import LineError, Told
from sessions.consents import consent_withdraw

ACTOR: Final = Actor(AuditEntry.ActorKind.SYSTEM, "replay")
_AT_ONCE: Final = 1000


@dataclass(slots=True)
class Replayed:
    """What was done, by action; how many lines found nothing left to do; and in words, what could not be done."""

    done: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_DO, 0))
    nothing_left: int = 0
    failed: list[str] = field(default_factory=list)


def replay(lines: Iterable[Told | LineError], *, dry_run: bool = False) -> Replayed:
    """Do again what the lines tell of, the oldest first; with ``dry_run`` only count it.

    What is refused, by a legal hold for one, or cannot be done now, is told in ``failed`` and holds up nothing else.
    """
    report = Replayed()
    by_organisation: dict[str, list[Told]] = {}
    for line in lines:
        if isinstance(line, LineError):
            report.failed.append(str(line))
        else:
            by_organisation.setdefault(line.organisation, []).append(line)
    for slug, told in by_organisation.items():
        organisation = Organisation.objects.filter(slug=slug).first()
        if organisation is None:
            report.failed.append(f"There is no organisation '{slug}' here, of which {len(told)} lines tell.")
            continue
        for one, candidate_id in _named(organisation, sorted(told, key=lambda one: one.at)):
            _again(organisation, one, candidate_id, report, dry_run=dry_run)
    return report


def _named(organisation: Organisation, told: list[Told]) -> Iterator[tuple[Told, str | None]]:
    """Yield what is told with the candidate's id; None where nobody here has the hash."""
    wanted = {one.subject for one in told if one.subject}
    names: Mapping[str, str] = dict(_subjects(organisation, wanted)) if wanted else {}
    for one in told:
        yield one, one.candidate_id or names.get(one.subject)


def _subjects(organisation: Organisation, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """Yield hash and id of the candidates that are meant: only by hashing every id are they found."""
    ids = Candidate.objects.filter(organisation=organisation).order_by("pk").values_list("candidate_id", flat=True)
    for subject, candidate_id in candidate_subjects(organisation=organisation, ids=ids.iterator(chunk_size=_AT_ONCE)):
        if subject in wanted:
            yield subject, candidate_id


# --- Doing ------------------------------------------------------------------------------------------------------------
def _again(
    organisation: Organisation, told: Told, candidate_id: str | None, report: Replayed, *, dry_run: bool
) -> None:
    candidates = Candidate.objects.filter(organisation=organisation, candidate_id=candidate_id)
    candidate = candidates.filter(created_at__lte=told.at).first()
    is_left, do = _DO[told.action]
    if candidate is None or not is_left(candidate, told.at):
        report.nothing_left += 1
        return
    try:
        if not dry_run:
            do(organisation, candidate)
    except Problem as problem:
        report.failed.append(f"Row {candidate.pk} of '{organisation.slug}', {told.action}: {problem.detail}")
        return
    report.done[told.action] += 1


def _enrollment_is_left(candidate: Candidate, at: datetime) -> bool:
    """Tell whether something recognisable is there that is older than the erasure, and nobody enrolled anew since."""
    templates: QuerySet[FaceTemplate] = FaceTemplate.objects.filter(candidate=candidate)
    if templates.filter(created_at__gt=at).exists():
        return False
    return candidate.data_key_id is not None or templates.exists() or candidate.enrollments.exists()


def _consent_is_left(candidate: Candidate, at: datetime) -> bool:
    standing = Consent.objects.filter(candidate=candidate, withdrawn_at=None)
    return standing.exists() and not standing.filter(recorded_at__gt=at).exists()


_DO: Final[Mapping[str, tuple[Callable[[Candidate, datetime], bool], Callable[[Organisation, Candidate], Any]]]] = {
    "candidate.erased": (
        lambda candidate, at: True,
        lambda organisation, candidate: candidate_erase(
            organisation=organisation, candidate_id=candidate.candidate_id, actor=ACTOR
        ),
    ),
    "enrollment.erased": (
        _enrollment_is_left,
        lambda organisation, candidate: enrollment_erase(
            organisation=organisation, candidate_id=candidate.candidate_id, actor=ACTOR
        ),
    ),
    "consent.withdrawn": (
        _consent_is_left,
        lambda organisation, candidate: consent_withdraw(candidate=candidate, actor=ACTOR),
    ),
}
