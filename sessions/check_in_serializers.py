"""The shapes of answers about the challenge at check-in."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from detection.engine.challenge import Prompt
from detection.engine.learners import challenge as challenge_states
from detection.engine.policy import Policy
from sessions import challenges
from sessions.models import Challenge


class ChallengeStepSerializer(serializers.Serializer[Any]):
    """One movement."""

    prompt = serializers.ChoiceField(choices=[prompt.value for prompt in Prompt])
    result = serializers.ChoiceField(
        choices=challenge_states.RESULTS,
        help_text="`missed`: it was not seen in time. `unseen`: no face was measured meanwhile.",
    )
    shown_at = serializers.SerializerMethodField(help_text="When the page asked for it; null: it did not.")
    done_at = serializers.SerializerMethodField(help_text="When it was seen; null: it was not.")

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_shown_at(self, step: dict[str, Any]) -> str | None:
        return challenges.moment_iso(step["shown_at"])

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_done_at(self, step: dict[str, Any]) -> str | None:
        return challenges.moment_iso(step["done_at"])


class ChallengeSerializer(serializers.Serializer[Any]):
    """One try at the challenge of check-in."""

    challenge_id = serializers.UUIDField(source="id")
    outcome = serializers.ChoiceField(choices=Challenge.Outcome.choices, source="settled")
    issued_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(help_text="What is done later does not count.")
    steps = ChallengeStepSerializer(many=True)


class ChallengeBegunSerializer(ChallengeSerializer):
    """A challenge for the page to show."""

    step_s = serializers.SerializerMethodField(help_text="How long each movement may take.")

    def get_step_s(self, challenge: Challenge) -> float:
        return Policy.from_dict(challenge.session.policy_document).check_in.step_s


class CheckInSerializer(serializers.Serializer[Any]):
    """What became of the challenge at check-in. It is a measurement: a person decides what it means."""

    outcome = serializers.ChoiceField(choices=[*challenges.STANDINGS], help_text="The best of the tries.")
    tries = ChallengeSerializer(many=True)
