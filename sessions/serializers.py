"""The shapes of requests and answers about sessions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers

from detection.engine.policy import EventType, Policy
from detection.engine.rulebook import RULES
from enrollment.consents import consent_text
from enrollment.serializers import ExternalIdField
from sessions import challenges, joining
from sessions.biometrics import is_biometric
from sessions.check_in_serializers import CheckInSerializer
from sessions.models import RISK_NOTE, ExamSession
from sessions.retention import EVIDENCE, days_kept
from sessions.selectors import gaps_summarise, incidents_count
from sessions.services import PLANNED

ORDERINGS: Final = [
    "-created_at", "created_at", "-planned_end_at", "planned_end_at", "-live_at", "-ended_at",
    "-risk_score", "risk_score",
]  # fmt: skip
RESERVED: Final = ("start", "ws")
"""Session ids that would be other addresses below ``/api/v1/session/``."""
MAX_MINUTES: Final = 24 * 60
UNNAMED: Final = "Default"
"""What the organisation that is made at set-up is called until somebody names it."""


class SessionStartSerializer(serializers.Serializer[Any]):
    """A session to be started."""

    candidate_id = ExternalIdField()
    exam_id = ExternalIdField(required=False, allow_null=True, help_text="Made when named for the first time.")
    session_id = ExternalIdField(required=False, allow_null=True, help_text="Your own name for it; ours if left out.")
    planned_minutes = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_MINUTES,
        help_text=f"How long the session is planned to last from now; {PLANNED // timedelta(minutes=1)} if left out.",
    )
    planned_end_at = serializers.DateTimeField(required=False, help_text="The same as a time.")
    policy = serializers.DictField(
        required=False, help_text="Overrides of the exam's policy, in the policy document's own form."
    )
    accommodations = serializers.DictField(
        required=False,
        help_text="The candidate's exceptions for this session, on top of those they have anyway, as in `policy`.",
    )
    enroll_on_join = serializers.BooleanField(
        default=False,
        help_text="The candidate need not be known: the candidate page asks for consent and takes the pictures.",
    )

    def validate_session_id(self, value: str | None) -> str | None:
        if value in RESERVED:
            raise serializers.ValidationError(f"'{value}' is an address of its own.")
        return value

    def validate_planned_end_at(self, value: Any) -> Any:
        now = timezone.now()
        if not now < value <= now + timedelta(minutes=MAX_MINUTES):
            raise serializers.ValidationError(f"Must lie within the next {MAX_MINUTES} minutes.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Turn the body into ``session_start``'s arguments."""
        minutes = attrs.pop("planned_minutes", None)
        if minutes is not None and "planned_end_at" in attrs:
            raise serializers.ValidationError("Give planned_minutes or planned_end_at, not both.")
        if minutes is not None:
            attrs["planned_end_at"] = timezone.now() + timedelta(minutes=minutes)
        attrs["overrides"] = attrs.pop("policy", None)
        return attrs


class AccommodationsSerializer(serializers.Serializer[Any]):
    """A candidate's own exceptions to the policy of any exam."""

    accommodations = serializers.DictField(help_text="Part of a policy document; empty: none.")


class PolicyNameSerializer(serializers.Serializer[Any]):
    """Which policy a session is watched under."""

    name = serializers.CharField(source="policy_name")
    version = serializers.CharField(source="policy_version")


class IceServerSerializer(serializers.Serializer[Any]):
    """As in ``RTCConfiguration.iceServers``."""

    urls = serializers.JSONField(help_text="One address or a list of them.")
    username = serializers.CharField(required=False)
    credential = serializers.CharField(required=False)


class _SessionSerializer(serializers.Serializer[Any]):
    """What everybody who may see a session sees."""

    session_id = serializers.CharField(help_text="Your name for the session.")
    id = serializers.UUIDField(help_text="Ours.")
    state = serializers.ChoiceField(choices=ExamSession.State.choices)
    candidate_id = serializers.CharField(source="candidate.candidate_id")
    exam_id = serializers.SerializerMethodField()

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_exam_id(self, session: ExamSession) -> str | None:
        return session.exam.exam_id if session.exam else None


class _JoinableSerializer(_SessionSerializer):
    """A session with what is needed to publish to it."""

    whip_url = serializers.SerializerMethodField(help_text="Where the media goes (RFC 9725).")
    ws_url = serializers.SerializerMethodField(help_text="The live socket.")
    ice_servers = serializers.SerializerMethodField()
    planned_end_at = serializers.DateTimeField()
    expires_at = serializers.SerializerMethodField(help_text="When the join token expires.")

    def get_whip_url(self, session: ExamSession) -> str:
        return joining.whip_url(session)

    def get_ws_url(self, session: ExamSession) -> str:
        return joining.ws_url(session)

    @extend_schema_field(IceServerSerializer(many=True))
    def get_ice_servers(self, session: ExamSession) -> list[dict[str, Any]]:
        return joining.ice_servers()

    @extend_schema_field(serializers.DateTimeField())
    def get_expires_at(self, session: ExamSession) -> str | None:
        return serializers.DateTimeField().to_representation(joining.join_expires_at(session))


class SessionStartedSerializer(_JoinableSerializer):
    """A started session: hand ``candidate_url`` to the candidate, it is all the page needs."""

    join_token = serializers.SerializerMethodField(help_text="Bearer token for `whip_url`, `ws_url` and the page.")
    candidate_url = serializers.SerializerMethodField()
    policy = PolicyNameSerializer(source="*")

    def get_join_token(self, session: ExamSession) -> str:
        return joining.join_token_mint(session)

    def get_candidate_url(self, session: ExamSession) -> str:
        return joining.candidate_url(session)


class GapSerializer(serializers.Serializer[Any]):
    """Media that nobody looked at, and why."""

    stream = serializers.CharField()
    reason = serializers.CharField()
    started_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField()
    skipped = serializers.IntegerField(help_text="Sampled frames or audio windows.")


class GapsSerializer(serializers.Serializer[Any]):
    """All gaps of a session in figures, and the latest of them."""

    count = serializers.IntegerField()
    skipped = serializers.IntegerField(help_text="Sampled frames and audio windows, of all gaps.")
    seconds = serializers.FloatField(help_text="Of all gaps.")
    latest = GapSerializer(many=True)


class IncidentCountSerializer(serializers.Serializer[Any]):
    """Incidents of one type."""

    event_type = serializers.CharField()
    count = serializers.IntegerField()
    open = serializers.IntegerField()


class SessionTimesSerializer(_SessionSerializer):
    """A session with its times."""

    policy = PolicyNameSerializer(source="*")
    created_at = serializers.DateTimeField()
    planned_end_at = serializers.DateTimeField()
    live_at = serializers.DateTimeField(allow_null=True, help_text="When media first arrived.")
    ended_at = serializers.DateTimeField(allow_null=True)
    end_reason = serializers.CharField(allow_blank=True)
    closed_at = serializers.DateTimeField(allow_null=True, help_text="When the rules had closed what was open.")


class SessionSerializer(SessionTimesSerializer):
    """A session in full, as platforms and proctors see it."""

    enrolled = serializers.BooleanField()
    enroll_on_join = serializers.BooleanField()
    policy_document = serializers.DictField(help_text="The policy with this session's overrides and accommodations.")
    accommodations = serializers.DictField(help_text="What of it are the candidate's own exceptions.")
    check_in = serializers.SerializerMethodField()
    gaps = serializers.SerializerMethodField()
    risk_score = serializers.FloatField(help_text=RISK_NOTE)
    risk_note = serializers.SerializerMethodField(help_text="What the score is for, to be shown with it.")
    incidents = serializers.SerializerMethodField()

    @extend_schema_field(CheckInSerializer)
    def get_check_in(self, session: ExamSession) -> dict[str, Any]:
        tries = list(session.challenges.order_by("issued_at"))
        standing = challenges.check_in_outcome(session, tries)
        return dict(CheckInSerializer({"outcome": standing, "tries": tries}).data)

    @extend_schema_field(GapsSerializer)
    def get_gaps(self, session: ExamSession) -> dict[str, Any]:
        return dict(GapsSerializer(gaps_summarise(session)).data)

    def get_risk_note(self, session: ExamSession) -> str:
        return RISK_NOTE

    @extend_schema_field(IncidentCountSerializer(many=True))
    def get_incidents(self, session: ExamSession) -> list[dict[str, Any]]:
        return incidents_count(session)


class SessionRowSerializer(SessionTimesSerializer):
    """A session in a list."""

    incident_count = serializers.IntegerField()
    open_incident_count = serializers.IntegerField()
    risk_score = serializers.FloatField(help_text=RISK_NOTE)


class ConsentTextSerializer(serializers.Serializer[Any]):
    """A text that candidates agree to."""

    version = serializers.CharField()
    locale = serializers.CharField()
    text = serializers.CharField()


class JoiningSerializer(_JoinableSerializer):
    """A session as the candidate sees it: what is needed to take part, nothing of what was noticed."""

    enrolled = serializers.BooleanField()
    enroll_on_join = serializers.BooleanField()
    biometric = serializers.SerializerMethodField(
        help_text="Whether face or voice are compared: then withdrawing consent ends the session."
    )
    ended_at = serializers.DateTimeField(allow_null=True)
    organisation = serializers.SerializerMethodField(help_text="Who invited the candidate; null while it has no name.")
    consent_text = serializers.SerializerMethodField(
        help_text="What the candidate agrees to when enrolling; null: the page's own text will do."
    )
    watched = serializers.SerializerMethodField(help_text="The kinds of incident that are looked for.")
    check_in = serializers.SerializerMethodField(help_text="Whether a challenge may be begun now.")
    page_in_front = serializers.SerializerMethodField(help_text="Whether the page must stay in front, full screen.")
    evidence_days = serializers.SerializerMethodField(
        help_text="For how many days pictures of incidents are kept; 0: without limit."
    )
    pictures_kept = serializers.SerializerMethodField(
        help_text="Whether any are: of somebody who has not enrolled there is no key to keep them under."
    )

    @extend_schema_field(ConsentTextSerializer(allow_null=True))
    def get_consent_text(self, session: ExamSession) -> dict[str, Any] | None:
        text = consent_text(organisation=session.organisation) if session.enroll_on_join else None
        return None if text is None else dict(ConsentTextSerializer(text).data)

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_organisation(self, session: ExamSession) -> str | None:
        name = session.organisation.name
        return None if name == UNNAMED else name

    @extend_schema_field(serializers.BooleanField())
    def get_check_in(self, session: ExamSession) -> bool:
        return challenges.challenge_is_open(session)

    @extend_schema_field(serializers.BooleanField())
    def get_page_in_front(self, session: ExamSession) -> bool:
        return Policy.from_dict(session.policy_document).page.in_front

    @extend_schema_field(serializers.IntegerField(min_value=0))
    def get_evidence_days(self, session: ExamSession) -> int:
        return days_kept(organisation_id=session.organisation_id, exam_id=session.exam_id, kind=EVIDENCE)

    @extend_schema_field(serializers.BooleanField())
    def get_biometric(self, session: ExamSession) -> bool:
        return is_biometric(session.policy)

    @extend_schema_field(serializers.BooleanField())
    def get_pictures_kept(self, session: ExamSession) -> bool:
        return session.enroll_on_join or session.candidate.data_key_id is not None

    @extend_schema_field(serializers.ListField(child=serializers.ChoiceField(choices=[e.value for e in EventType])))
    def get_watched(self, session: ExamSession) -> list[str]:
        policy = Policy.from_dict(session.policy_document)
        unasked = set() if policy.detectors.transcript.is_asked_for else {EventType.KEYWORD_SPOKEN}
        looked_for = [event for event, rule in policy.rules.items() if rule.enabled and event not in unasked]
        return [event.value for event in looked_for if _is_measured(event, policy)]


def _is_measured(event: EventType, policy: Policy) -> bool:
    """Tell whether what an event is decided from is switched on; without biometrics nobody is recognised, say."""
    rule = RULES.get(event)
    detector = None if rule is None else getattr(policy.detectors, rule.source or rule.detector, None)
    return detector is None or bool(detector.enabled)


class SessionListQuerySerializer(serializers.Serializer[Any]):
    """How the list of sessions may be filtered and sorted."""

    state = serializers.ChoiceField(choices=ExamSession.State.choices, required=False)
    exam_id = ExternalIdField(required=False)
    candidate_id = ExternalIdField(required=False)
    since = serializers.DateTimeField(required=False, help_text="Created at this time or later.")
    until = serializers.DateTimeField(required=False, help_text="Created before this time.")
    search = serializers.CharField(
        required=False, max_length=128, help_text="Part of the session's, the candidate's or the exam's id."
    )
    ordering = serializers.ChoiceField(choices=ORDERINGS, default="-created_at")


class SessionPageSerializer(serializers.Serializer[Any]):
    """One page of sessions."""

    count = serializers.IntegerField(help_text="Of all pages.")
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = SessionRowSerializer(many=True)


SESSION_OR_JOINING: Final = PolymorphicProxySerializer(
    component_name="SessionOrJoining",
    serializers=[SessionSerializer, JoiningSerializer],
    resource_type_field_name=None,
)
