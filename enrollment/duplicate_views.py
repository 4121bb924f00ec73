"""REST: list the faces that were found under two candidate ids."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import API_KEY_OR_STAFF, HasScopeOrStaffReads, organisation_of
from accounts.models import Organisation, Scope
from accounts.pages import PageQuerySerializer, Pages
from accounts.schema import problem_responses
from enrollment.models import DuplicateSuspicion
from enrollment.serializers import ExternalIdField


class DuplicateListQuerySerializer(serializers.Serializer[Any]):
    """How the list of suspicions may be filtered."""

    decision = serializers.ChoiceField(
        choices=DuplicateSuspicion.Decision.choices, required=False, help_text="`open`: nobody has decided."
    )
    candidate_id = ExternalIdField(required=False, help_text="Either of the two.")
    since = serializers.DateTimeField(required=False, help_text="Noticed, or noticed again, at this time or later.")
    until = serializers.DateTimeField(required=False, help_text="Noticed before this time.")


class SuspicionSerializer(serializers.Serializer[Any]):
    """Two candidates whose faces are alike: for a person to look at, and no verdict."""

    suspicion_id = serializers.IntegerField(source="pk")
    candidate_id = serializers.CharField(source="candidate.candidate_id", help_text="Who enrolled when it was noticed.")
    other_candidate_id = serializers.CharField(source="other.candidate_id", help_text="Who was there before.")
    similarity = serializers.FloatField(min_value=0, max_value=1, help_text="Calibrated to 0 to 1.")
    comparison_score = serializers.FloatField(help_text="As the model gives it, -1 to 1.")
    noticed_at = serializers.DateTimeField(help_text="The last time.")
    decision = serializers.ChoiceField(
        choices=DuplicateSuspicion.Decision.choices,
        help_text="What a person decided: nothing yet, that both are one person, or two.",
    )
    decided_at = serializers.DateTimeField(allow_null=True)


class SuspicionPageSerializer(serializers.Serializer[Any]):
    """One page of suspicions."""

    count = serializers.IntegerField(help_text="Of all pages.")
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = SuspicionSerializer(many=True)


def suspicions_list(
    *,
    organisation: Organisation,
    decision: str | None = None,
    candidate_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[DuplicateSuspicion]:
    """Return the organisation's suspicions that fit every filter given, the newest first."""
    filters = {"decision": decision, "noticed_at__gte": since, "noticed_at__lt": until}
    found = DuplicateSuspicion.objects.filter(
        organisation=organisation, **{name: value for name, value in filters.items() if value is not None}
    )
    if candidate_id is not None:
        found = found.filter(Q(candidate__candidate_id=candidate_id) | Q(other__candidate_id=candidate_id))
    return found.select_related("candidate", "other").order_by("-noticed_at", "-pk")


class DuplicatesView(APIView):
    """Faces found under two candidate ids."""

    authentication_classes = API_KEY_OR_STAFF
    permission_classes = [HasScopeOrStaffReads]
    required_scope = Scope.ENROLL
    required_permission = "enrollment.view_duplicatesuspicion"

    @extend_schema(
        operation_id="duplicate_list",
        summary="List suspected duplicates",
        description="What the search for duplicates noticed, where the organisation has switched it on, the newest "
        "first; also what a person has decided on it. Ask with `since` to follow it. People decide in the admin.",
        tags=["candidates"],
        parameters=[DuplicateListQuerySerializer, PageQuerySerializer],
        responses={200: SuspicionPageSerializer} | problem_responses("request_invalid", "not_found"),
    )
    def get(self, request: Request) -> Response:
        """List suspected duplicates."""
        query = DuplicateListQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        found = suspicions_list(organisation=organisation_of(request), **query.validated_data)
        pages = Pages()
        page = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response(SuspicionSerializer(page, many=True).data)
