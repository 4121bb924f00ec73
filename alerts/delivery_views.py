"""REST: deliveries and their attempts, sending again, samples and new secrets."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.audit import Actor
from accounts.auth import API_KEY_ONLY, HasScope, organisation_of
from accounts.limits import SampleLimit
from accounts.models import Organisation, Scope
from accounts.problems import Problem
from accounts.schema import problem_responses
from alerts.deliveries import Wanted, deliveries_find, deliveries_resend, delivery_requeue
from alerts.delivery_serializers import (
    DeliveryDetailSerializer,
    DeliveryListSerializer,
    DeliveryQuerySerializer,
    DeliverySerializer,
    ResentSerializer,
    RotatedSerializer,
    RotateSerializer,
    TestedSerializer,
    WantedSerializer,
)
from alerts.models import Delivery, DeliveryQuerySet, Subscription
from alerts.samples import sample_send
from alerts.subscription_audit import subscription_tell
from alerts.subscriptions import secret_rotate


class _SubscriptionsView(APIView):
    authentication_classes = API_KEY_ONLY
    permission_classes = [HasScope]
    required_scope = Scope.SUBSCRIPTIONS


def find_subscription(request: Request, subscription_id: uuid.UUID) -> Subscription:
    """Return the organisation's subscription; raise ``Problem`` when there is none of this id."""
    found = Subscription.objects.of(organisation_of(request)).filter(id=subscription_id).first()
    if found is None:
        raise Problem("subscription_unknown", f"There is no subscription {subscription_id}.")
    return found


class DeliveriesView(_SubscriptionsView):
    """Alerts on their way, and what became of them."""

    @extend_schema(
        operation_id="delivery_list",
        summary="List deliveries",
        parameters=[DeliveryQuerySerializer],
        responses={200: DeliveryListSerializer} | problem_responses("request_invalid", "event_type_unknown"),
    )
    def get(self, request: Request) -> Response:
        """List the deliveries that are asked for, the newest first."""
        query = DeliveryQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        limit, before = query.validated_data["limit"], query.validated_data.get("before")
        organisation = organisation_of(request)
        found = deliveries_find(organisation=organisation, wanted=query.wanted())
        rows = list(_before(found, organisation, before).select_related("alert", "notice", "session")[: limit + 1])
        page = rows[:limit]
        following = page[-1].pk if len(rows) > limit else None
        return Response({"results": DeliverySerializer(page, many=True).data, "next": following})


def _before(found: DeliveryQuerySet, organisation: Organisation, before: int | None) -> DeliveryQuerySet:
    """Return what comes after the delivery ``before``; when another organisation's was made is not told by that."""
    if before is None:
        return found
    last = Delivery.objects.of(organisation).filter(pk=before).values_list("created_at", flat=True).first()
    if last is None:
        return found.filter(pk__lt=before)
    return found.filter(Q(created_at__lt=last) | Q(created_at=last, pk__lt=before))


class DeliveryView(_SubscriptionsView):
    """One delivery."""

    @extend_schema(
        operation_id="delivery_get",
        summary="Look up a delivery with its attempts",
        responses={200: DeliveryDetailSerializer} | problem_responses("delivery_unknown"),
    )
    def get(self, request: Request, delivery_id: int) -> Response:
        """Show a delivery and every try at it: when, how long, what was answered."""
        return Response(DeliveryDetailSerializer(_find_delivery(request, delivery_id)).data)


def _find_delivery(request: Request, delivery_id: int) -> Delivery:
    rows = Delivery.objects.of(organisation_of(request)).select_related("alert", "notice", "session")
    found = rows.prefetch_related("attempts").filter(pk=delivery_id).first()
    if found is None:
        raise Problem("delivery_unknown", f"There is no delivery {delivery_id}.")
    return found


class DeliveryResendView(_SubscriptionsView):
    """One delivery, again."""

    @extend_schema(
        operation_id="delivery_resend",
        summary="Send one delivery again",
        request=None,
        responses={202: DeliverySerializer} | problem_responses("delivery_unknown", "delivery_under_way"),
    )
    def post(self, request: Request, delivery_id: int) -> Response:
        """Queue a delivery again, whatever its state, under the same event id; its schedule begins anew."""
        found = _find_delivery(request, delivery_id)
        if not delivery_requeue([found.pk], {found.subscription_id}):
            raise Problem("delivery_under_way", "Look at its attempts in a minute.")
        return Response(DeliverySerializer(_find_delivery(request, delivery_id)).data, status=202)


class DeliveriesResendView(_SubscriptionsView):
    """Many deliveries, again."""

    @extend_schema(
        operation_id="deliveries_resend",
        summary="Send deliveries again, by event or by time",
        request=WantedSerializer,
        responses={202: ResentSerializer} | problem_responses("range_missing", "event_type_unknown", body=True),
    )
    def post(self, request: Request) -> Response:
        """Queue again what is named by event, time, session or subscription; without `state`, what is parked.

        With `event_id` it is sent again whatever its state.
        """
        given = WantedSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = given.wanted()
        if not wanted.states and wanted.event_id is None:
            wanted = Wanted(**asdict(wanted) | {"states": [Delivery.State.PARKED]})
        queued, more = deliveries_resend(organisation=organisation_of(request), wanted=wanted)
        return Response({"queued": queued, "more": more}, status=202)


class SubscriptionTestView(_SubscriptionsView):
    """A sample for a subscription."""

    throttle_classes = [SampleLimit]

    @extend_schema(
        operation_id="subscription_test",
        summary="Send a sample",
        request=None,
        responses={200: TestedSerializer} | problem_responses("subscription_unknown"),
    )
    def post(self, request: Request, subscription_id: uuid.UUID) -> Response:
        """Send a sample now and say what came of it. Its event type is `TEST`, and `metadata.sample` is true."""
        tested = sample_send(subscription=find_subscription(request, subscription_id))
        return Response(TestedSerializer(tested).data)


class SubscriptionSecretView(_SubscriptionsView):
    """A new secret for a subscription."""

    @extend_schema(
        operation_id="subscription_rotate_secret",
        summary="Change the secret without losing an alert",
        request=RotateSerializer,
        responses={200: RotatedSerializer} | problem_responses("subscription_unknown", "secret_invalid", body=True),
    )
    def post(self, request: Request, subscription_id: uuid.UUID) -> Response:
        """Give the subscription a new secret. Until the overlap is over, alerts are signed with the old one too."""
        subscription = find_subscription(request, subscription_id)
        serializer = RotateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given: dict[str, Any] = dict(serializer.validated_data)
        overlap = timedelta(seconds=given.pop("overlap_s"))
        with transaction.atomic():
            secret = secret_rotate(subscription=subscription, overlap=overlap, **given)
            subscription_tell(subscription=subscription, actor=Actor.of_request(request), verb="secret_rotated")
        subscription.refresh_from_db()
        once = {} if "secret" in given else {"secret": secret}
        until = subscription.previous_secret_until or timezone.now()
        return Response({**once, "public_key": subscription.public_key, "previous_secret_until": until})
