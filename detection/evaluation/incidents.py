"""Match the incidents that the product opened with those that a person would expect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from detection.engine.policy import EventType
from detection.engine.rulebook import RULES
from detection.engine.rules import Change
from detection.evaluation import media

TOLERANCE_S = 2.0
"""An incident still belongs to an expected one if they are no further apart than this: one release time and the label's
own inaccuracy. Expected incidents of one type that are closer together than this are one."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """An incident, expected or found. Seconds of the clip; ``decided_s`` is when a found one opened."""

    start_s: float
    end_s: float
    event: EventType
    decided_s: float = 0.0

    def is_near(self, other: Span) -> bool:
        """Return whether both overlap, or nearly so."""
        return self.start_s <= other.end_s + TOLERANCE_S and other.start_s <= self.end_s + TOLERANCE_S

    def stands_for(self, expected: Span) -> bool:
        """Return whether this incident tells of an expected one: at that time, of its type or of one that explains it.

        While the rule of one type yields to another, both are one trouble and the product opens one incident: whoever
        expects SPEECH_DETECTED has it in SPEECH_OFF_CAMERA.
        """
        same_trouble = self.event == expected.event or self.event in RULES[expected.event].yields_to
        return same_trouble and self.is_near(expected)

    def __str__(self) -> str:
        return f"{self.event} {self.start_s:.1f}-{self.end_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Matched:
    """What became of expected and found incidents.

    ``found``: each expected incident with the one that stands for it. ``again``: further ones of the same expected
    incident, which are not false but should have been one.
    """

    found: list[tuple[Span, Span]]
    missed: list[Span]
    false: list[Span]
    again: list[Span]


def opened(changes: Iterable[Change]) -> list[Span]:
    """Return the incidents of a session that has ended, by onset."""
    closed = {change.finding_id: change for change in changes if change.phase == "closed"}
    return sorted(
        Span(
            change.started_at - media.EPOCH,
            (change.ended_at if change.ended_at is not None else change.decided_at) - media.EPOCH,
            change.event_type,
            change.decided_at - media.EPOCH,
        )
        for change in closed.values()
    )


def joined(expected: Iterable[Span]) -> list[Span]:
    """Make one of expected incidents of one type that overlap or nearly do."""
    result: list[Span] = []
    for span in sorted(expected, key=lambda each: (each.event, each.start_s)):
        if result and span.event == result[-1].event and span.is_near(result[-1]):
            result[-1] = Span(result[-1].start_s, max(result[-1].end_s, span.end_s), span.event)
        else:
            result.append(span)
    return sorted(result)


def match(expected: Sequence[Span], found: Sequence[Span]) -> Matched:
    """Match in order of onset, those of the same type first.

    A found incident stands for one expected one at most: one that never ends finds one.
    """
    left, wanting = sorted(found), sorted(expected)
    pairs: list[tuple[Span, Span]] = []
    for same_type in (True, False):
        for wanted in list(wanting):
            hits = [span for span in left if span.stands_for(wanted) and (span.event == wanted.event) == same_type]
            if hits:
                pairs.append((wanted, hits[0]))
                left.remove(hits[0])
                wanting.remove(wanted)
    again = [span for span in left if any(span.stands_for(wanted) for wanted in expected)]
    return Matched(sorted(pairs), wanting, [span for span in left if span not in again], again)
