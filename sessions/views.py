"""REST: start, read, end and list sessions; enrol on joining; compare a picture with a template."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.audit import Actor
from accounts.auth import API_KEY_OR_STAFF, ApiKeyAuthentication, HasScopeOrStaffReads, organisation_of
from accounts.limits import EventsLimit, PictureLimit
from accounts.models import Scope
from accounts.pages import PageQuerySerializer, Pages
from accounts.problems import Problem
from accounts.schema import problem_responses
from enrollment import serializers as candidates
from enrollment.models import is_external_id
from enrollment.requests import PARSERS, images_require_small
from enrollment.services import candidate_find
from enrollment.views import GATE_CODES
from sessions import serializers
from sessions.auth import JoinPrincipal, JoinsOnly, JoinsOrHasScope, JoinTokenAuthentication
from sessions.browser import browser_events_send
from sessions.challenges import challenge_begin
from sessions.check_in_serializers import ChallengeBegunSerializer
from sessions.models import ExamSession, as_uuid
from sessions.page_event_serializers import PageEventsSerializer, PageEventsTakenSerializer
from sessions.policies import accommodations_set
from sessions.selectors import session_find, sessions_list
from sessions.services import session_end, session_enroll, session_start

TOKEN_CODES = ("token_invalid", "token_expired", "token_wrong_session")


def own_session(request: Request, session_id: str) -> ExamSession:
    """Return the session of the request's join token; raise ``Problem`` when the address names another one."""
    assert isinstance(request.user, JoinPrincipal)
    session = request.user.session
    if session_id != session.session_id and as_uuid(session_id) != session.id:
        raise Problem("token_wrong_session", "This join token belongs to another session.")
    return session


def _session_of(request: Request, session_id: str) -> ExamSession:
    """Return the session that a join token opens or an API key's organisation has; raise ``Problem``."""
    if isinstance(request.user, JoinPrincipal):
        return own_session(request, session_id)
    return session_find(organisation=organisation_of(request), session_id=session_id)


class SessionStartView(APIView):
    """Start."""

    required_scope = Scope.SESSIONS

    @extend_schema(
        operation_id="session_start",
        summary="Start a session",
        description="The answer holds what a client needs to publish. `candidate_url` alone is enough for the "
        "candidate page. A session that is named twice is refused, so a repeated request starts nothing twice. Under a "
        "policy that compares neither faces nor voices the candidate need not have enrolled, nor be known.",
        tags=["sessions"],
        request=serializers.SessionStartSerializer,
        responses={201: serializers.SessionStartedSerializer}
        | problem_responses(
            "candidate_unknown",
            "candidate_not_enrolled",
            "consent_missing",
            "erasure_running",
            "session_exists",
            "policy_invalid",
            body=True,
        ),
    )
    def post(self, request: Request) -> Response:
        """Start a session."""
        body = serializers.SessionStartSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        organisation, actor = organisation_of(request), Actor.of_request(request)
        session = session_start(organisation=organisation, actor=actor, **body.validated_data)
        return Response(serializers.SessionStartedSerializer(session).data, status=201)


class SessionView(APIView):
    """One session."""

    authentication_classes = [JoinTokenAuthentication, ApiKeyAuthentication]  # the first leaves keys to the second
    permission_classes = [JoinsOrHasScope]
    required_scope = Scope.SESSIONS

    @extend_schema(
        operation_id="session_read",
        summary="Read a session",
        description="By API key: everything. By the session's own join token: what the candidate needs to take part.",
        tags=["sessions"],
        responses={200: serializers.SESSION_OR_JOINING} | problem_responses("session_unknown", *TOKEN_CODES),
    )
    def get(self, request: Request, session_id: str) -> Response:
        """Read a session."""
        session = _session_of(request, session_id)
        joins = isinstance(request.user, JoinPrincipal)
        return Response((serializers.JoiningSerializer if joins else serializers.SessionSerializer)(session).data)


class SessionEndView(APIView):
    """End."""

    required_scope = Scope.SESSIONS

    @extend_schema(
        operation_id="session_end",
        summary="End a session",
        description="Voids the join token, lets the gateway drop the candidate, and closes what is open.",
        tags=["sessions"],
        request=None,
        responses={200: serializers.SessionTimesSerializer} | problem_responses("session_unknown", "session_ended"),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """End a session."""
        session = session_find(organisation=organisation_of(request), session_id=session_id)
        ended = session_end(session=session, reason="requested", actor=Actor.of_request(request))
        return Response(serializers.SessionTimesSerializer(ended).data)


class SessionEnrollView(APIView):
    """Enrol from the candidate page."""

    authentication_classes = [JoinTokenAuthentication]
    permission_classes = [JoinsOnly]
    parser_classes = PARSERS
    throttle_classes = [PictureLimit]

    @extend_schema(
        operation_id="session_enroll",
        summary="Enrol on joining",
        description="What the candidate page does for a session started with `enroll_on_join`, once: consent and "
        "pictures of the candidate, with the session's join token.",
        tags=["sessions"],
        request=candidates.JoinEnrollJSON,
        responses={201: candidates.EnrolledSerializer}
        | problem_responses(
            "session_ended",
            "enrollment_closed",
            "already_enrolled",
            "consent_invalid",
            "faces_differ",
            "duplicate_suspected",
            *TOKEN_CODES,
            *GATE_CODES,
            body=True,
        ),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Enrol on joining."""
        session = own_session(request, session_id)
        consent, body = candidates.enrollment_read(candidates.PicturesSerializer, request.data)
        images_require_small(body["images"])
        enrolled = session_enroll(session=session, consent=consent, **body)
        return Response(candidates.EnrolledSerializer(enrolled).data, status=201)


class SessionChallengeView(APIView):
    """Begin the challenge of check-in."""

    authentication_classes = [JoinTokenAuthentication]
    permission_classes = [JoinsOnly]
    throttle_classes = [EventsLimit]

    @extend_schema(
        operation_id="session_challenge",
        summary="Begin the challenge at check-in",
        description="Draws some movements in an order that nobody knows before, and that expires soon. The page shows "
        "one after the other and tells of each with an event `CHALLENGE_STEP`; whether it was done is seen in the "
        "frames, and the live socket tells. Three tries, in the first ten minutes.",
        tags=["sessions"],
        request=None,
        responses={201: ChallengeBegunSerializer}
        | problem_responses("session_ended", "session_unknown", "challenge_closed", "queue_unavailable", *TOKEN_CODES),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Begin the challenge of check-in."""
        challenge = challenge_begin(session=own_session(request, session_id))
        return Response(ChallengeBegunSerializer(challenge).data, status=201)


class SessionEventsView(APIView):
    """Take what the exam's page tells of itself."""

    authentication_classes = [JoinTokenAuthentication, ApiKeyAuthentication]
    permission_classes = [JoinsOrHasScope]
    required_scope = Scope.SESSIONS
    throttle_classes = [EventsLimit]

    @extend_schema(
        operation_id="session_events",
        summary="Tell what the exam's page notices",
        description="That it was hidden, lost the focus or the full screen, that there is a second display: each once "
        "when it begins and once, with `ended`, when it is over; what stands, stands until then. `CLIPBOARD` is a "
        "moment; `CAMERA` names the camera in use whenever that changes, and `CHALLENGE_STEP` tells which movement of "
        "a challenge is asked for from now on. The answer comes as soon as the queue has it; on 503 send the same "
        "again: told twice counts once.",
        tags=["sessions"],
        request=PageEventsSerializer,
        responses={202: PageEventsTakenSerializer}
        | problem_responses(
            "session_unknown",
            "session_ended",
            "event_type_unknown",
            "event_time_invalid",
            "queue_unavailable",
            *TOKEN_CODES,
            body=True,
        ),
    )
    def post(self, request: Request, session_id: str) -> Response:
        """Take what the exam's page tells of itself."""
        session = _session_of(request, session_id)
        body = PageEventsSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        accepted = browser_events_send(session=session, **body.validated_data)
        return Response(PageEventsTakenSerializer({"accepted": accepted}).data, status=202)


class AccommodationsView(APIView):
    """A candidate's accommodations."""

    required_scope = Scope.SESSIONS

    @extend_schema(
        operation_id="accommodations_read",
        summary="Read a candidate's accommodations",
        tags=["candidates"],
        responses={200: serializers.AccommodationsSerializer} | problem_responses("candidate_unknown"),
    )
    def get(self, request: Request, candidate_id: str) -> Response:
        """Read a candidate's accommodations."""
        candidate = candidate_find(organisation=organisation_of(request), candidate_id=candidate_id)
        return Response(serializers.AccommodationsSerializer(candidate).data)

    @extend_schema(
        operation_id="accommodations_set",
        summary="Set a candidate's accommodations",
        description="Laid over the exam's policy and a session's overrides whenever a session of the candidate starts, "
        "and noted with the session and its alerts. Running sessions keep theirs. A candidate who is named for the "
        "first time is made.",
        tags=["candidates"],
        request=serializers.AccommodationsSerializer,
        responses={200: serializers.AccommodationsSerializer}
        | problem_responses("candidate_unknown", "policy_invalid", "erasure_running", body=True),
    )
    def put(self, request: Request, candidate_id: str) -> Response:
        """Set a candidate's accommodations."""
        if not is_external_id(candidate_id):
            raise Problem("candidate_unknown", "A candidate cannot have this id.")
        body = serializers.AccommodationsSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        candidate = accommodations_set(
            organisation=organisation_of(request),
            candidate_id=candidate_id,
            actor=Actor.of_request(request),
            **body.validated_data,
        )
        return Response(serializers.AccommodationsSerializer(candidate).data)


class SessionListView(APIView):
    """The organisation's sessions, for proctors' screens."""

    authentication_classes = API_KEY_OR_STAFF
    permission_classes = [HasScopeOrStaffReads]
    required_scope = Scope.ADMIN
    required_permission = "exam_sessions.view_examsession"

    @extend_schema(
        operation_id="session_list",
        summary="List sessions",
        tags=["sessions"],
        parameters=[serializers.SessionListQuerySerializer, PageQuerySerializer],
        responses={200: serializers.SessionPageSerializer} | problem_responses("request_invalid", "not_found"),
    )
    def get(self, request: Request) -> Response:
        """List sessions."""
        query = serializers.SessionListQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        sessions = sessions_list(organisation=organisation_of(request), **query.validated_data)
        pagination = Pages()
        page = pagination.paginate_queryset(sessions, request, view=self) or []
        return pagination.get_paginated_response(serializers.SessionRowSerializer(page, many=True).data)
