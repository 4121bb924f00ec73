"""The published schema, against what is really built."""

from __future__ import annotations

import json
import math
import re
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from rest_framework.test import APIClient

from alerts import payload, severity, why
from detection.engine.policy import DEFAULT_RULES, TECHNICAL_EVENTS, EventType, RulePolicy
from sessions.policy_words import DESCRIPTIONS

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
TIMES = st.floats(min_value=0, max_value=4_000_000_000)
IDS = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=32), max_size=5)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=1000)
REVIEWS = st.builds(
    payload.ReviewFacts, reviewer=TEXTS.map(lambda t: t[:200]), at=TIMES.map(payload.from_unix), reason=TEXTS
)
TOLD = st.tuples(st.sampled_from(["opened", "closed"]), st.none()) | st.tuples(
    st.sampled_from(["confirmed", "dismissed", "reopened"]), REVIEWS
)


def facts(**changed: object) -> payload.AlertFacts:
    moment = payload.from_unix(1_790_000_000.25)
    values: dict[str, object] = {
        "event_id": uuid.uuid4(), "incident_id": uuid.uuid4(), "session_id": "exam-1", "candidate_id": "ann",
        "exam_id": None, "organisation": "default", "sequence": 1, "event_type": "FACE_MISMATCH", "phase": "opened",
        "technical": False, "severity": 0.9, "started_at": moment, "decided_at": moment, "ended_at": None,
        "value": 0.68, "peak_value": 0.61, "peak_at": moment, "raw_score": 0.31,
        "rule": DEFAULT_RULES[EventType.FACE_MISMATCH], "model": "sface-2021dec", "policy_name": "default",
        "policy_version": "1", "sample_ids": ("f1", "f2", "f1"), "frame_ids": ("f1", "f2", "f1"),
    }  # fmt: skip
    return payload.AlertFacts(**(values | changed))  # type: ignore[arg-type]


def test_the_schema_is_itself_valid() -> None:
    Draft202012Validator.check_schema(payload.schema())


def test_the_alert_has_the_published_members() -> None:
    document = payload.build(facts())
    assert list(document) == [
        "event_id", "exam_session_id", "candidate_id", "timestamp", "event_type", "severity_score",
        "ai_model_source", "evidence", "metadata",
    ]  # fmt: skip
    assert document["timestamp"] == "2026-09-21T14:13:20.250Z"
    assert document["evidence"] == {
        "frame_ids": ["f1", "f2"], "confidence_metrics": {"face_sim": 0.68, "face_sim_peak": 0.61}
    }  # fmt: skip
    assert document["metadata"]["rule"]["enter"] == 0.75


@given(
    event_type=st.sampled_from(list(EventType)), told=TOLD, version=st.integers(1, 2**31 - 1), value=NUMBERS,
    peak=NUMBERS, raw=st.none() | NUMBERS, started=TIMES, lasted=st.floats(0, 90_000), ids=IDS,
    weight=st.floats(0, 1), enter=st.floats(-120, 100),
)  # fmt: skip
def test_whatever_is_measured_the_alert_follows_the_schema_and_fits_into_a_webhook(
    event_type: EventType, told: tuple[str, payload.ReviewFacts | None], version: int, value: float, peak: float,
    raw: float | None, started: float, lasted: float,
    ids: list[str], weight: float, enter: float,
) -> None:  # fmt: skip
    phase, review = told
    rule = RulePolicy(True, enter=enter, exit=enter, hold_s=1.0, release_s=1.0, cooldown_s=0.0, severity=weight)
    document = payload.build(
        facts(
            event_type=event_type.value, phase=phase, value=value, peak_value=peak, raw_score=raw,
            started_at=payload.from_unix(started), decided_at=payload.from_unix(started + lasted),
            ended_at=None if phase == "opened" else payload.from_unix(started + lasted),
            peak_at=payload.from_unix(started), sample_ids=tuple(ids), rule=rule, frame_ids=tuple(ids),
            severity=severity.severity(
                weight,
                severity.excess(event_type, peak_value=0.0 if math.isnan(peak) else peak, enter=enter),
            ),
            incident_version=version, review=review,
        )
    )  # fmt: skip
    sent = payload.body(document)
    payload.validate(json.loads(sent))
    assert len(sent) < 20_000


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("severity_score",), 1.5, r"\$\.severity_score"),
        (("event_id",), "not-a-uuid", r"\$\.event_id"),
        (("timestamp",), "2026-09-21 14:13", r"\$\.timestamp"),
        (("metadata", "phase"), "forgotten", r"\$\.metadata\.phase"),
        (("metadata", "phase"), "confirmed", r"\$\.metadata\.review"),
        (("metadata", "review"), {"by": "ann"}, r"\$\.metadata\.review"),
        (("evidence", "frame_ids"), "f1", r"\$\.evidence\.frame_ids"),
        (("surprise",), 1, "surprise"),
    ],
)
def test_what_leaves_the_schema_is_refused_by_name(path: tuple[str, ...], value: object, named: str) -> None:
    document = payload.build(facts())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(payload.PayloadError, match=named):
        payload.validate(document)


def test_the_schema_is_served() -> None:
    for version in ("1.0", "1.1"):
        answer = APIClient().get(f"/api/v1/schemas/alert-{version}.json")
        assert answer.status_code == 200
        assert answer["content-type"] == "application/schema+json"
        schema = json.loads(answer.content)
        assert schema == payload.schema(version)
        assert schema["properties"]["metadata"]["properties"]["schema_version"] == {"const": version}


def test_a_version_that_was_never_published_is_not_found() -> None:
    for version in ("0.9", "1.10", "..%2f1.0"):
        answer = APIClient().get(f"/api/v1/schemas/alert-{version}.json")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_version_1_1_only_adds_to_version_1_0() -> None:
    """A reader of 1.0 that ignores what it does not know reads 1.1."""
    old, new = (payload.schema(version)["properties"] for version in ("1.0", "1.1"))
    assert new.keys() == old.keys()
    for name in old.keys() - {"metadata"}:
        assert new[name] == old[name]
    before, after = old["metadata"], new["metadata"]
    assert set(before["required"]) < set(after["required"])
    assert set(before["properties"]["phase"]["enum"]) < set(after["properties"]["phase"]["enum"])
    for name in before["properties"].keys() - {"phase", "schema_version"}:
        assert after["properties"][name] == before["properties"][name]


def test_the_documents_example_follows_the_schema() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "events.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    document = json.loads(example)
    payload.validate(document)
    assert payload.ordered(document) == document
    assert list(payload.ordered(document)["metadata"]) == list(document["metadata"])


def test_members_come_in_the_schemas_order_whatever_the_database_made_of_them() -> None:
    document = payload.build(facts())
    shuffled = json.loads(json.dumps(document, sort_keys=True))
    assert payload.body(shuffled) == payload.body(document)
    assert payload.body(shuffled).startswith(b'{"event_id":')


# --- Severity ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("event_type", "peak", "expected"),
    [
        (EventType.FACE_MISMATCH, 0.75, 0.45),  # just below the threshold: half the weight of 0.9
        (EventType.FACE_MISMATCH, 0.0, 0.9),
        (EventType.FACE_MISMATCH, 0.375, 0.675),
        (EventType.FACE_MISMATCH, -0.3, 0.9),
        (EventType.FACE_MISMATCH, 0.9, 0.45),
        (EventType.SPEECH_DETECTED, 1.0, 0.4),
        (EventType.SPEECH_DETECTED, 0.5, 0.2),
        (EventType.NO_FACE, 0.0, 0.6),
        (EventType.MULTIPLE_PERSONS, 2.0, 0.8),
        (EventType.CONNECTION_LOST, 1.0, 0.3),
    ],
)
def test_severity_is_the_weight_scaled_by_how_clearly_the_threshold_was_passed(
    event_type: EventType, peak: float, expected: float
) -> None:
    rule = DEFAULT_RULES[event_type]
    share = severity.excess(event_type, peak_value=peak, enter=rule.enter)
    assert severity.severity(rule.severity, share) == expected


def test_a_threshold_at_the_limit_counts_in_full() -> None:
    assert severity.excess(EventType.SPEECH_DETECTED, peak_value=1.0, enter=1.0) == 1.0


@pytest.mark.parametrize("event", [event for event in EventType if event not in TECHNICAL_EVENTS])
def test_every_behaviour_event_has_the_words_that_explain_it(event: EventType) -> None:
    measured = (payload.METRICS, why._MEASURED, why._EXTREMES, why._RAW)
    # What the page tells of itself has no number: it happened or not.
    assert [event in words for words in measured] == [event not in why._PLAIN] * len(measured)
    assert f"rules.{event}" in DESCRIPTIONS
