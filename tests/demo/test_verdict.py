"""What counts as found, and what the table and the last line say."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from demo import report
from demo.inbox import Inbox
from demo.script import JOURNEY, Expected, Scene, Script
from demo.verdict import Verdict, judge

STARTED_AT = 1_800_000_000.0
SCRIPT = Script(
    name="small",
    duration_s=30.0,
    scenes=(Scene(0.0, {}),),
    expected=(Expected("NO_FACE", 5.0, 12.0), Expected("SPEECH_DETECTED", 15.0, 20.0)),
)


def at(seconds: float) -> str:
    return datetime.fromtimestamp(STARTED_AT + seconds, UTC).isoformat()


def incident(
    inbox: Inbox, event_type: str, onset_s: float, end_s: float | None, *, webhook: bool = True, session_id: str = "s"
) -> None:
    """Let an incident's alerts arrive: the opening one 0.3 s after a hold time of 3 s."""
    incident_id = f"{event_type}-{onset_s}"
    for phase, ended_at in (("opened", None), ("closed", end_s)):
        if phase == "closed" and ended_at is None:
            continue
        metadata: dict[str, Any] = {"incident_id": incident_id, "phase": phase, "decided_at": at(onset_s + 3)}
        metadata["ended_at"] = None if ended_at is None else at(ended_at)
        event_id = f"{incident_id}-{phase}"
        alert = {
            "event_id": event_id,
            "exam_session_id": session_id,
            "event_type": event_type,
            "timestamp": at(onset_s),
            "metadata": metadata,
        }
        inbox.socket[event_id] = (STARTED_AT + onset_s + 3.3, alert)
        if webhook:
            inbox.webhook[event_id] = (STARTED_AT + onset_s + 3.4, alert)


@pytest.fixture
def inbox() -> Inbox:
    """Return an inbox with everything that the script wants, and something of another session."""
    inbox = Inbox()
    incident(inbox, "NO_FACE", 5.4, 12.3)
    incident(inbox, "SPEECH_DETECTED", 15.1, 20.4)
    incident(inbox, "FACE_MISMATCH", 9.0, 10.0, session_id="another")
    return inbox


def verdict(inbox: Inbox) -> Verdict:
    return judge(SCRIPT, inbox, started_at=STARTED_AT, session_id="s")


def test_everything_in_its_window_and_nothing_else_passes(inbox: Inbox) -> None:
    result = verdict(inbox)
    assert result.passed
    assert [line.found.delay_s for line in result.lines if line.found] == pytest.approx([0.3, 0.3], abs=0.01)
    assert report.summary(result).startswith("PASSED: 2 of 2 scripted incidents found, 0 beyond the script.")


def test_a_missing_incident_fails(inbox: Inbox) -> None:
    for event_id in [each for each in inbox.socket if each.startswith("NO_FACE")]:
        del inbox.socket[event_id]
    result = verdict(inbox)
    assert not result.passed
    assert "not found in its window" in report.table(result)
    assert report.summary(result).startswith("FAILED: 1 of 2")


@pytest.mark.parametrize(("onset_s", "end_s"), [(3.0, 12.3), (8.0, 12.3), (5.4, 10.0), (5.4, 15.0)])
def test_an_incident_outside_its_window_fails_twice(onset_s: float, end_s: float) -> None:
    inbox = Inbox()
    incident(inbox, "NO_FACE", onset_s, end_s)
    incident(inbox, "SPEECH_DETECTED", 15.1, 20.4)
    result = verdict(inbox)
    assert [line.wrong for line in result.lines] == [
        "not found in its window",
        "",
        "not scripted, or outside its window",
    ]


def test_an_incident_that_was_not_scripted_fails(inbox: Inbox) -> None:
    incident(inbox, "CONNECTION_LOST", 28.0, 29.0)
    result = verdict(inbox)
    assert not result.passed
    assert report.summary(result).startswith("FAILED: 2 of 2 scripted incidents found, 1 beyond the script.")


def test_an_incident_that_never_closed_fails(inbox: Inbox) -> None:
    del inbox.socket["NO_FACE-5.4-closed"]
    assert not verdict(inbox).passed
    assert "0:05.4 to …" in report.table(verdict(inbox))


def test_an_alert_that_the_webhook_did_not_bring_fails() -> None:
    inbox = Inbox()
    incident(inbox, "NO_FACE", 5.4, 12.3, webhook=False)
    incident(inbox, "SPEECH_DETECTED", 15.1, 20.4)
    assert [line.wrong for line in verdict(inbox).lines] == ["the webhook did not bring it", ""]


def test_the_same_incident_is_not_counted_for_two_expected_ones(inbox: Inbox) -> None:
    twice = Script(name="twice", duration_s=30.0, scenes=SCRIPT.scenes, expected=SCRIPT.expected[:1] * 2)
    lines = judge(twice, inbox, started_at=STARTED_AT, session_id="s").lines
    assert [bool(line.found) for line in lines[:2]] == [True, False]


def test_the_clock_counts_minutes() -> None:
    assert [report.clock(seconds) for seconds in (0.04, 59.96, 61.25, -0.5)] == [
        "0:00.0",
        "1:00.0",
        "1:01.2",
        "-0:00.5",
    ]


def test_every_photograph_is_credited() -> None:
    *lines, where = report.credits().splitlines()
    uses = [("A", "enrolled"), ("A", "in the clip"), ("B", "in the clip"), ("C", "in the clip")]
    assert [(line[2], line[4:15].strip()) for line in lines] == uses
    assert all("Wikimedia Commons" in line for line in lines)
    assert Path(where.split()[-1]).is_file()


def test_the_log_tells_who_is_seen_and_when_somebody_speaks() -> None:
    cues = JOURNEY.cues()
    assert [at_s for at_s, _ in cues] == [0.0, 7.0, 13.0, 18.0, 23.0, 24.0]
    assert cues[1] == (7.0, "in the picture: nobody")
    assert cues[3:5] == [(18.0, "somebody speaks"), (23.0, "nobody speaks any more")]


def test_what_the_demos_policy_leaves_out_is_said() -> None:
    assert "this version has no such rules yet" in report.left_out([])
    assert report.left_out(["HEAD_TURNED", "LIPS_MOVING"]).endswith("trigger: HEAD_TURNED, LIPS_MOVING.")
