"""The policy document: what is wrong with it is said by path, what is left out has its default."""

from __future__ import annotations

import json
import math

import pytest

from detection.engine.policy import DEFAULT_RULES, SCALES, EventType, Policy, PolicyError, merge
from detection.engine.rulebook import RULES


def errors_of(document) -> dict[str, str]:
    with pytest.raises(PolicyError) as caught:
        Policy.from_dict(document)
    return caught.value.errors


def test_every_event_type_has_a_rule_a_scale_and_defaults():
    assert set(EventType) == set(RULES) == set(SCALES) == set(DEFAULT_RULES)
    for event_type, rule in RULES.items():
        assert set(rule.yields_to) <= set(EventType)
        assert list(RULES).index(event_type) > max((list(RULES).index(other) for other in rule.yields_to), default=-1)


def test_the_default_document_is_json_and_reads_back_the_same():
    document = json.loads(json.dumps(Policy().to_dict()))
    assert Policy.from_dict(document) == Policy()
    assert Policy.from_dict(document).to_dict() == document


def test_what_is_left_out_has_its_default():
    policy = Policy.from_dict({"rules": {"NO_FACE": {"hold_s": 7}}, "detectors": {"identity": {"interval_s": 2}}})
    assert policy.rules[EventType.NO_FACE].hold_s == 7
    assert policy.rules[EventType.NO_FACE].release_s == Policy().rules[EventType.NO_FACE].release_s
    assert policy.rules[EventType.SPEECH_DETECTED] == Policy().rules[EventType.SPEECH_DETECTED]
    assert policy.detectors.identity.interval_s == 2
    assert Policy.from_dict({}) == Policy()


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ({"rules": {"NO_FACE": {"hold_s": -1}}}, "rules.NO_FACE.hold_s", "must be a number from 0 to 600"),
        ({"rules": {"NO_FACE": {"hold_s": "3"}}}, "rules.NO_FACE.hold_s", "must be a number from 0 to 600"),
        ({"rules": {"NO_FACE": {"hold_s": True}}}, "rules.NO_FACE.hold_s", "must be a number from 0 to 600"),
        ({"rules": {"NO_FACE": {"hold_s": None}}}, "rules.NO_FACE.hold_s", "must be a number from 0 to 600"),
        ({"rules": {"NO_FACE": {"hold_s": math.nan}}}, "rules.NO_FACE.hold_s", "must be a number from 0 to 600"),
        ({"rules": {"NO_FACE": {"hold_s": 10**400}}}, "rules.NO_FACE.hold_s", "must be a number from 0 to 600"),
        ({"rules": {"NO_FACE": {"enabled": 1}}}, "rules.NO_FACE.enabled", "must be true or false"),
        ({"rules": {"FACE_MISMATCH": {"enter": 1.2}}}, "rules.FACE_MISMATCH.enter", "must be a number from 0 to 1"),
        ({"rules": {"MICROPHONE_SILENT": {"exit": 3}}}, "rules.MICROPHONE_SILENT.exit", "from -120 to 0"),
        ({"rules": {"NO_FACE": 5}}, "rules.NO_FACE", "must be an object"),
        ({"rules": []}, "rules", "must be an object"),
        ({"rules": {"LOOKED_AWAY": {}}}, "rules.LOOKED_AWAY", "is no event type"),
        ({"rules": {"NO_FACE": {"hold": 3}}}, "rules.NO_FACE.hold", "is no setting; there are enabled, enter"),
        ({"detectors": {"faces": {"min_score": 0.2}}}, "detectors.faces.min_score", "from 0.5 to 1"),
        ({"detectors": {"moods": {}}}, "detectors.moods", "is no setting"),
        ({"sampling": {"frames_per_second": 60}}, "sampling.frames_per_second", "from 0.2 to 10"),
        ({"lateness_s": -0.1}, "lateness_s", "must be a number from 0 to 10"),
        ({"surprise": 1}, "surprise", "is no setting; there are rules, sampling"),
        ([], "policy", "must be an object"),
    ],
)
def test_what_is_wrong_is_said_by_path(document, path, message):
    errors = errors_of(document)
    assert list(errors) == [path]
    assert message in errors[path]


@pytest.mark.parametrize(
    ("event_type", "enter", "exit_", "fits"),
    [
        ("FACE_MISMATCH", 0.75, 0.8, True),
        ("FACE_MISMATCH", 0.75, 0.75, True),
        ("FACE_MISMATCH", 0.75, 0.7, False),
        ("SPEECH_DETECTED", 0.5, 0.3, True),
        ("SPEECH_DETECTED", 0.5, 0.6, False),
        ("MICROPHONE_SILENT", -80, -90, False),
    ],
)
def test_exit_lies_on_the_calm_side_of_enter(event_type, enter, exit_, fits):
    document = {"rules": {event_type: {"enter": enter, "exit": exit_}}}
    if fits:
        assert Policy.from_dict(document).rules[EventType(event_type)].exit == exit_
    else:
        assert list(errors_of(document)) == [f"rules.{event_type}.exit"]


def test_all_errors_come_at_once_and_in_the_message():
    document = {"rules": {"NO_FACE": {"hold_s": -1, "severity": 2}}, "sampling": {"audio_window_s": 9}}
    errors = errors_of(document)
    assert len(errors) == 3
    assert str(PolicyError(errors)).count(": must be a number") == 3


def test_overrides_are_laid_over_the_document_section_by_section():
    document = Policy().to_dict()
    merged = merge(document, {"rules": {"NO_FACE": {"hold_s": 9}}, "lateness_s": 1})
    assert merged["rules"]["NO_FACE"] == document["rules"]["NO_FACE"] | {"hold_s": 9}
    assert merged["rules"]["SPEECH_DETECTED"] == document["rules"]["SPEECH_DETECTED"]
    assert merged["lateness_s"] == 1
    assert document == Policy().to_dict()


def test_an_override_of_the_wrong_shape_is_found_by_the_check():
    assert list(errors_of(merge(Policy().to_dict(), {"rules": {"NO_FACE": "off"}}))) == ["rules.NO_FACE"]
    with pytest.raises(PolicyError, match="must be an object"):
        merge(Policy().to_dict(), [])


def test_limits_that_older_versions_had_are_passed_over():
    document = {"detectors": {"identity": {"min_strength": 10, "min_clarity": 1.25, "interval_s": 7}}}
    assert Policy.from_dict(document).detectors.identity.interval_s == 7
    with pytest.raises(PolicyError, match=r"detectors\.identity\.min_strenth"):
        Policy.from_dict({"detectors": {"identity": {"min_strenth": 10}}})
