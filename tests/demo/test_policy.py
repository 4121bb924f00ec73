"""The demo's own policy is made once, follows the default one, and is the one its exam is watched under."""

from __future__ import annotations

import pytest

from accounts.models import Organisation
from demo import policy, settings
from detection.engine.policy import EventType
from sessions.models import Exam, Policy
from sessions.policies import policy_default, policy_snapshot

pytestmark = pytest.mark.django_db


@pytest.fixture
def organisation() -> Organisation:
    return Organisation.objects.get_or_create(slug="default", defaults={"name": "Default"})[0]


def test_the_demos_exam_is_watched_under_its_own_policy(
    organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "LEFT_OUT", (EventType.SPEECH_DETECTED.value, "A_RULE_OF_LATER_VERSIONS"))
    policy.make_policy()
    exam = Exam.objects.get(organisation=organisation, exam_id=settings.EXAM_ID)
    snapshot = policy_snapshot(organisation=organisation, exam=exam, overrides=None)
    default = policy_default(organisation=organisation)
    changed = {
        name
        for name, rule in snapshot.document["rules"].items()
        if rule["enabled"] != default.document["rules"][name]["enabled"]
    }
    assert snapshot.name == "Demo"
    assert changed == {EventType.SPEECH_DETECTED.value}
    assert not snapshot.document["rules"][EventType.SPEECH_DETECTED.value]["enabled"]
    assert default.name != snapshot.name


def test_a_second_demo_keeps_the_version_unless_the_default_policy_changed(organisation: Organisation) -> None:
    policy.make_policy()
    policy.make_policy()
    assert Policy.objects.get(organisation=organisation, name="Demo").version == 1
    default = policy_default(organisation=organisation)
    default.document["rules"]["NO_FACE"]["enabled"] = False
    default.save()
    policy.make_policy()
    own = Policy.objects.get(organisation=organisation, name="Demo")
    assert own.version == 2
    assert own.document["rules"]["NO_FACE"]["enabled"] is False
