"""Which incidents count as found, missed and false."""

from __future__ import annotations

from detection.engine.policy import EventType
from detection.engine.rulebook import RULES
from detection.evaluation.incidents import Span, joined, match

AWAY, MORE = EventType.NO_FACE, EventType.MULTIPLE_PERSONS


def told(matched) -> tuple[int, int, int, int]:
    return len(matched.found), len(matched.missed), len(matched.false), len(matched.again)


def test_the_same_kind_at_about_the_same_time_is_found():
    assert told(match([Span(10, 20, AWAY)], [Span(11, 19, AWAY)])) == (1, 0, 0, 0)
    assert told(match([Span(10, 20, AWAY)], [Span(21.9, 25, AWAY)])) == (1, 0, 0, 0)
    assert told(match([Span(10, 20, AWAY)], [Span(22.1, 25, AWAY)])) == (0, 1, 1, 0)


def test_another_kind_is_missed_and_false():
    assert told(match([Span(10, 20, AWAY)], [Span(10, 20, MORE)])) == (0, 1, 1, 0)


def test_what_explains_an_expected_incident_stands_for_it():
    rule = RULES[EventType.MICROPHONE_SILENT]
    assert EventType.CONNECTION_LOST in rule.yields_to
    silent, gone = EventType.MICROPHONE_SILENT, EventType.CONNECTION_LOST
    assert told(match([Span(10, 20, silent)], [Span(10, 20, gone)])) == (1, 0, 0, 0)
    assert told(match([Span(10, 20, gone)], [Span(10, 20, silent)])) == (0, 1, 1, 0)
    both = match([Span(10, 20, silent), Span(10, 20, gone)], [Span(10, 20, gone)])
    assert [wanted.event for wanted, _ in both.found] == [gone]


def test_a_second_incident_of_the_same_trouble_is_not_false():
    assert told(match([Span(10, 20, AWAY)], [Span(10, 13, AWAY), Span(16, 20, AWAY)])) == (1, 0, 0, 1)


def test_one_that_never_ends_finds_one():
    expected = [Span(10, 20, AWAY), Span(40, 50, AWAY), Span(70, 80, AWAY)]
    assert told(match(expected, [Span(0, 100, AWAY)])) == (1, 2, 0, 0)


def test_a_clip_with_nothing_in_it():
    assert told(match([], [])) == (0, 0, 0, 0)
    assert told(match([], [Span(1, 2, AWAY)])) == (0, 0, 1, 0)


def test_expected_incidents_that_nearly_touch_are_one():
    spans = [Span(10, 20, AWAY), Span(21, 30, AWAY), Span(12, 14, MORE), Span(33, 40, AWAY)]
    assert joined(spans) == [Span(10, 30, AWAY), Span(12, 14, MORE), Span(33, 40, AWAY)]
