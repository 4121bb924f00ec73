"""REST: withdraw consent, by the platform or by the candidate."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.audit import Actor
from accounts.auth import organisation_of
from accounts.limits import EventsLimit
from accounts.models import AuditEntry, Scope
from accounts.schema import problem_responses
from enrollment.services import candidate_find
from sessions.auth import JoinsOnly, JoinTokenAuthentication
from sessions.consents import consent_withdraw
from sessions.views import TOKEN_CODES, own_session

_STOPS = (
    "Ends the candidate's running sessions that compare faces or voices: gateways let go of them within a second. "
    "Sessions without biometrics go on. From then on no photograph is compared and no such session starts, until "
    "there is consent again. Nothing is erased: `DELETE /api/v1/enroll/{candidate_id}` does that."
)


class WithdrawnSerializer(serializers.Serializer[Any]):
    """What a withdrawal did."""

    candidate_id = serializers.CharField()
    consents = serializers.IntegerField(help_text="How many stood; 0: there was nothing to withdraw.")
    sessions_ended = serializers.ListField(child=serializers.CharField())


class ConsentWithdrawView(APIView):
    """Withdraw a candidate's consent."""

    required_scope = Scope.ENROLL

    @extend_schema(
        operation_id="consent_withdraw",
        summary="Withdraw a candidate's consent",
        description=_STOPS,
        tags=["candidates"],
        request=None,
        responses={200: WithdrawnSerializer} | problem_responses("candidate_unknown"),
    )
    def post(self, request: Request, candidate_id: str) -> Response:
        """Withdraw a candidate's consent."""
        candidate = candidate_find(organisation=organisation_of(request), candidate_id=candidate_id)
        withdrawn = consent_withdraw(candidate=candidate, actor=Actor.of_request(request))
        return Response(WithdrawnSerializer(withdrawn).data)


class SessionConsentWithdrawView(APIView):
    """Withdraw one's own consent."""

    authentication_classes = [JoinTokenAuthentication]
    permission_classes = [JoinsOnly]
    throttle_classes = [EventsLimit]

    @extend_schema(
        operation_id="session_consent_withdraw",
        summary="Withdraw one's own consent",
        description="By the candidate, with the join token of any of their sessions, also of one that is over. "
        + _STOPS,
        tags=["sessions"],
        request=None,
        responses={200: WithdrawnSerializer} | problem_responses(*TOKEN_CODES, "candidate_unknown"),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Withdraw one's own consent."""
        session = own_session(request, session_id)
        actor = Actor(AuditEntry.ActorKind.CANDIDATE, str(session.id))
        withdrawn = consent_withdraw(candidate=session.candidate, actor=actor)
        return Response(WithdrawnSerializer(withdrawn).data)
