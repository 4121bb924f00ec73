"""REST: read incidents, and decide on them."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.audit import Actor, audit_opened
from accounts.auth import API_KEY_OR_STAFF, HasScopeOrStaff, organisation_of
from accounts.models import APIKey, Scope, User
from accounts.pages import PageQuerySerializer, Pages
from accounts.schema import problem_responses
from alerts import incident_serializers as shapes
from alerts.incident_selectors import incident_find, incidents_list
from alerts.reviews import Reviewer, incident_review


def _document(request: Request, incident_id: uuid.UUID) -> dict[str, Any]:
    incident = incident_find(organisation=organisation_of(request), incident_id=incident_id)
    user = request.user
    pictures = not isinstance(user, User) or user.has_perm("alerts.view_evidence")
    return dict(shapes.IncidentSerializer(incident, context={"pictures": pictures}).data)


class IncidentsView(APIView):
    """What was found in the organisation's sessions."""

    authentication_classes = API_KEY_OR_STAFF
    permission_classes = [HasScopeOrStaff]
    required_scope = Scope.SESSIONS
    required_permission = "alerts.view_incident"

    @extend_schema(
        operation_id="incident_list",
        summary="List incidents",
        parameters=[shapes.IncidentListQuerySerializer, PageQuerySerializer],
        responses={200: shapes.IncidentPageSerializer} | problem_responses("request_invalid", "not_found"),
    )
    def get(self, request: Request) -> Response:
        """List incidents."""
        query = shapes.IncidentListQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        incidents = incidents_list(organisation=organisation_of(request), **query.validated_data)
        pagination = Pages()
        page = pagination.paginate_queryset(incidents, request, view=self) or []
        return pagination.get_paginated_response(shapes.IncidentRowSerializer(page, many=True).data)


class IncidentView(APIView):
    """One incident."""

    authentication_classes = API_KEY_OR_STAFF
    permission_classes = [HasScopeOrStaff]
    required_scope = Scope.SESSIONS
    required_permission = "alerts.view_incident"

    @extend_schema(
        operation_id="incident_read",
        summary="Read an incident",
        description="With its pictures, the reasons for it in words and numbers, and what people decided on it.",
        responses={200: shapes.IncidentSerializer} | problem_responses("incident_unknown"),
    )
    def get(self, request: Request, incident_id: uuid.UUID) -> Response:
        """Read an incident; a person who does is told of in the audit log, as on its page in the admin."""
        document = _document(request, incident_id)
        if isinstance(request.user, User):
            audit_opened(
                organisation=organisation_of(request),
                actor=Actor.of_request(request),
                kind="incident",
                subject=str(incident_id),
            )
        return Response(document)


class IncidentReviewView(APIView):
    """A person's decision."""

    authentication_classes = API_KEY_OR_STAFF
    permission_classes = [HasScopeOrStaff]
    required_scope = Scope.REVIEW
    required_permission = "alerts.review_incident"

    @extend_schema(
        operation_id="incident_review",
        summary="Confirm, dismiss or reopen an incident",
        description="A person decides, never a program. The decision is kept with who, when and why, changes the "
        "session's risk score, and is told as an alert. Confirmed or dismissed incidents are reopened before they are "
        "decided on anew. Give the `version` you have read: so nobody's decision is overwritten unseen.",
        request=shapes.ReviewCreateSerializer,
        responses={200: shapes.IncidentSerializer}
        | problem_responses(
            "incident_unknown", "incident_open", "incident_decided", "incident_undecided", "incident_changed", body=True
        ),
    )
    def post(self, request: Request, incident_id: uuid.UUID) -> Response:
        """Confirm, dismiss or reopen an incident."""
        incident = incident_find(organisation=organisation_of(request), incident_id=incident_id)
        body = shapes.ReviewCreateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        name = body.validated_data.pop("reviewer", "")
        incident_review(incident=incident, reviewer=_reviewer(request, name), **body.validated_data)
        return Response(_document(request, incident_id))


def _reviewer(request: Request, name: str) -> Reviewer:
    if isinstance(request.auth, APIKey):
        return Reviewer.at_platform(request.auth, name)
    assert isinstance(request.user, User)
    return Reviewer.signed_in(request.user)
