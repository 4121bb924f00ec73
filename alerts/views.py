"""REST: subscriptions, evidence pictures, statistics, and the published schema of an alert."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import transaction
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.audit import Actor
from accounts.auth import API_KEY_ONLY, API_KEY_OR_STAFF, HasScope, HasScopeOrStaffReads, organisation_of
from accounts.models import AuditEntry, Scope
from accounts.problems import Problem
from accounts.schema import problem_responses
from alerts import evidence, payload, stats
from alerts.delivery_views import find_subscription
from alerts.models import Evidence, Subscription
from alerts.serializers import (
    SubscriptionCreatedSerializer,
    SubscriptionCreateSerializer,
    SubscriptionListSerializer,
    SubscriptionSerializer,
    SubscriptionUpdateSerializer,
)
from alerts.subscription_audit import subscription_tell
from alerts.subscriptions import subscription_create, subscription_delete, subscription_update

_REFUSALS = ("address_refused", "transport_unavailable", "secret_invalid", "event_type_unknown")


class SubscriptionsView(APIView):
    """Where the organisation's alerts are delivered."""

    authentication_classes = API_KEY_ONLY
    permission_classes = [HasScope]
    required_scope = Scope.SUBSCRIPTIONS

    @extend_schema(
        operation_id="subscription_list",
        summary="List the subscriptions",
        responses={200: SubscriptionListSerializer} | problem_responses(),
    )
    def get(self, request: Request) -> Response:
        """List the subscriptions, oldest first; their secrets are never shown."""
        rows = Subscription.objects.of(organisation_of(request)).with_queue().order_by("created_at", "id")
        return Response({"results": SubscriptionSerializer(rows, many=True).data})

    @extend_schema(
        operation_id="subscription_create",
        summary="Subscribe to alerts",
        request=SubscriptionCreateSerializer,
        responses={201: SubscriptionCreatedSerializer} | problem_responses(*_REFUSALS, body=True),
    )
    def post(self, request: Request) -> Response:
        """Deliver the organisation's alerts to an address, from now on."""
        serializer = SubscriptionCreateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data
        with transaction.atomic():
            subscription, secret = subscription_create(organisation=organisation_of(request), **given)
            subscription_tell(subscription=subscription, actor=Actor.of_request(request), verb="added")
        once = {} if "secret" in given or not secret else {"secret": secret}
        return Response({**_shown(subscription), **once}, status=201)


def _shown(subscription: Subscription) -> dict[str, Any]:
    return dict(SubscriptionSerializer(Subscription.objects.with_queue().get(pk=subscription.pk)).data)


class SubscriptionView(APIView):
    """One subscription."""

    authentication_classes = API_KEY_ONLY
    permission_classes = [HasScope]
    required_scope = Scope.SUBSCRIPTIONS

    @extend_schema(
        operation_id="subscription_get",
        summary="Look up a subscription",
        responses={200: SubscriptionSerializer} | problem_responses("subscription_unknown"),
    )
    def get(self, request: Request, subscription_id: uuid.UUID) -> Response:
        """Show a subscription; its secret is never shown."""
        return Response(_shown(find_subscription(request, subscription_id)))

    @extend_schema(
        operation_id="subscription_update",
        summary="Change a subscription",
        request=SubscriptionUpdateSerializer,
        responses={200: SubscriptionSerializer} | problem_responses("subscription_unknown", *_REFUSALS, body=True),
    )
    def patch(self, request: Request, subscription_id: uuid.UUID) -> Response:
        """Change a subscription; what waited while it was disabled is delivered when it is enabled again."""
        subscription = find_subscription(request, subscription_id)
        serializer = SubscriptionUpdateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data
        with transaction.atomic():
            changed = subscription_update(subscription=subscription, **given)
            subscription_tell(subscription=changed, actor=Actor.of_request(request), verb="changed", fields=given)
        return Response(_shown(changed))

    @extend_schema(
        operation_id="subscription_delete",
        summary="Remove a subscription",
        responses={204: None} | problem_responses("subscription_unknown"),
    )
    def delete(self, request: Request, subscription_id: uuid.UUID) -> Response:
        """Remove a subscription with its deliveries."""
        subscription = find_subscription(request, subscription_id)
        with transaction.atomic():
            subscription_delete(subscription_id=subscription.id)
            subscription_tell(subscription=subscription, actor=Actor.of_request(request), verb="removed")
        return Response(status=204)


class StatsView(APIView):
    """Figures for a dashboard."""

    authentication_classes = API_KEY_OR_STAFF
    permission_classes = [HasScopeOrStaffReads]
    required_scope = Scope.ADMIN
    required_permission = "exam_sessions.view_examsession"

    @extend_schema(
        operation_id="admin_stats",
        summary="Count sessions, incidents, deliveries and gaps",
        responses={200: stats.StatsSerializer} | problem_responses(),
    )
    def get(self, request: Request) -> Response:
        """Count the organisation's sessions, incidents, alerts, deliveries and gaps."""
        return Response(stats.collect(organisation_of(request)))


class AnythingGoes(BaseContentNegotiation):
    """Answers with the picture whatever ``Accept`` says: browsers' image elements ask for what they like."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class HasLinkOrScope(HasScopeOrStaffReads):
    """A signed link, or what the view otherwise asks for."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if "signature" in request.query_params:
            evidence.link_check(view.kwargs["evidence_id"], request.query_params["signature"])
            return True
        return super().has_permission(request, view)


class EvidenceView(APIView):
    """A stored picture behind an incident."""

    authentication_classes = API_KEY_OR_STAFF
    permission_classes = [HasLinkOrScope]
    content_negotiation_class = AnythingGoes
    required_scope = Scope.SESSIONS
    required_permission = "alerts.view_evidence"

    @extend_schema(
        operation_id="evidence_get",
        summary="Fetch a picture behind an incident",
        parameters=[OpenApiParameter("signature", str, description="From a link in an alert; then no key is needed.")],
        responses={(200, "image/jpeg"): OpenApiResponse(OpenApiTypes.BINARY, description="The picture.")}
        | problem_responses(
            "evidence_unknown",
            "evidence_removed",
            "evidence_erased",
            "storage_unavailable",
            "link_invalid",
            "link_expired",
            "permission_denied",
        ),
    )
    def get(self, request: Request, evidence_id: uuid.UUID) -> HttpResponse:
        """Return the picture, by API key, by login, or by the signed link that an alert carries."""
        rows = Evidence.objects.select_related("session__candidate__data_key", "session__organisation").filter(
            id=evidence_id
        )
        if "signature" not in request.query_params:
            rows = rows.filter(organisation=organisation_of(request))
        found = rows.first()
        if found is None:
            raise Problem("evidence_unknown", f"There is no evidence {evidence_id}.")
        linked = "signature" in request.query_params
        return picture_response(found, actor=LINK_HOLDER if linked else Actor.of_request(request))


LINK_HOLDER = Actor(AuditEntry.ActorKind.SYSTEM, "signed link")
"""Whoever holds a link that we signed: a subscriber, or somebody whom they gave it."""


def picture_response(found: Evidence, *, actor: Actor) -> HttpResponse:
    """Answer with a picture that no proxy may keep and no browser may take for anything else; note who saw it."""
    return HttpResponse(
        evidence.picture_show(found, actor=actor),
        content_type=found.content_type,
        headers={
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
        },
    )


class AlertSchemaView(APIView):
    """The contract of an alert, in one of its versions."""

    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="alert_schema",
        summary="Fetch the JSON Schema of the alert",
        parameters=[OpenApiParameter("version", str, OpenApiParameter.PATH, enum=payload.SCHEMA_VERSIONS)],
        responses={(200, "application/schema+json"): OpenApiTypes.OBJECT}
        | problem_responses("not_found", anybody=True),
    )
    def get(self, request: Request, version: str) -> Response:
        """Return the JSON Schema that every alert of this version follows."""
        if version not in payload.SCHEMA_VERSIONS:
            raise Problem("not_found", f"Alerts have no version {version}.", versions=payload.SCHEMA_VERSIONS)
        return Response(payload.schema(version), content_type="application/schema+json")


class NoticeSchemaView(APIView):
    """The contract of a notice."""

    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="notice_schema",
        summary="Fetch the JSON Schema of the notice",
        responses={(200, "application/schema+json"): OpenApiTypes.OBJECT} | problem_responses(anybody=True),
    )
    def get(self, request: Request) -> Response:
        """Return the JSON Schema that every notice of version 1.0 follows, such as `DELIVERY_PARKED`."""
        return Response(payload.notice_schema(), content_type="application/schema+json")
