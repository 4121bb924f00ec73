"""Alerts as they were told, and every try at delivering them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, RangeDateTimeFilter
from unfold.decorators import action as unfold_action

from accounts.admin_base import (
    ReadOnlyAdmin,
    ReadOnlyInline,
    ScopedAutocompleteFilter,
    as_json,
    badge,
    coloured,
    link_to,
)
from alerts.admin.incidents import EventTypeFilter
from alerts.deliveries import delivery_requeue
from alerts.feed import alert_document
from alerts.models import Alert, Delivery, DeliveryAttempt
from alerts.subscriptions import EVENT_TYPES

DELIVERY_COLOURS = {"pending": "info", "delivered": "success", "parked": "danger"}
PHASE_COLOURS = {"opened": "danger", "closed": "info", "confirmed": "primary", "reopened": "warning"}


class DeliveredTypeFilter(EventTypeFilter):
    """By what the alert or the notice tells."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in EVENT_TYPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        return queryset & Delivery.objects.of_event_type(name) if name else queryset


class _Timed:
    """When a delivery is tried next: nothing once it is settled."""

    @admin.display(description="next try", ordering="next_attempt_at", empty_value="-")
    def next_try(self, delivery: Delivery) -> datetime | None:
        return delivery.next_attempt_at if delivery.state == Delivery.State.PENDING else None


class DeliveryInline(_Timed, ReadOnlyInline):
    """Who was told."""

    model = Delivery
    fields = ["link", "coloured_state", "attempt_count", "next_try", "delivered_at"]
    readonly_fields = ["link", "coloured_state", "next_try"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).select_related("subscription", "alert")
        return rows

    @admin.display(description="to")
    def link(self, delivery: Delivery) -> SafeString:
        url = reverse("admin:alerts_delivery_change", args=[delivery.pk])
        return format_html('<a href="{}">{}</a>', url, delivery.subscription)

    @coloured(DELIVERY_COLOURS, description="state")
    def coloured_state(self, delivery: Delivery) -> str:
        return delivery.state


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """What was told, as it was told."""

    list_display = ["event_type", "coloured_phase", "session_link", "sequence", "created_at"]
    list_select_related = ["session"]
    list_filter: ClassVar[list[Any]] = [EventTypeFilter, ("created_at", RangeDateTimeFilter)]
    search_fields = ["session__session_id", "session__candidate__candidate_id"]
    search_help_text = "Session or candidate"
    ordering = ["-created_at"]
    fields = [("event_type", "phase_badge"), ("session_link", "incident_link"), ("event_id", "sequence"), "document"]
    inlines = [DeliveryInline]

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> Any:
        return None

    @coloured(PHASE_COLOURS, description="phase", ordering="phase")
    def coloured_phase(self, alert: Alert) -> str:
        return alert.phase

    @admin.display(description="phase")
    def phase_badge(self, alert: Alert) -> SafeString:
        return badge(alert.phase, PHASE_COLOURS)

    @admin.display(description="session", ordering="session__session_id")
    def session_link(self, alert: Alert) -> SafeString | str:
        return link_to(alert.session)

    @admin.display(description="incident")
    def incident_link(self, alert: Alert) -> SafeString | str:
        return link_to(alert.incident)

    @admin.display(description="payload, without links to pictures")
    def document(self, alert: Alert) -> SafeString:
        """Show the alert; its links would open pictures to who may see none. The incident's page has them."""
        return as_json(alert_document(alert, pictures=False))


class AttemptInline(ReadOnlyInline):
    """Every try, and what the subscriber answered."""

    model = DeliveryAttempt
    fields = ["attempted_at", "status_code", "milliseconds", "error", "answer"]
    readonly_fields = ["milliseconds", "answer"]
    ordering = ["attempted_at"]

    @admin.display(description="took")
    def milliseconds(self, attempt: DeliveryAttempt) -> str:
        return f"{attempt.duration_ms:.0f} ms"

    @admin.display(description="answer")
    def answer(self, attempt: DeliveryAttempt) -> SafeString:
        return format_html('<pre class="text-xs whitespace-pre-wrap">{}</pre>', attempt.response)


@admin.register(Delivery)
class DeliveryAdmin(_Timed, ReadOnlyAdmin):
    """Alerts on their way."""

    list_display = [
        "what", "session_link", "subscription_link", "coloured_state", "attempt_count", "next_try",
        "delivered_at",
    ]  # fmt: skip
    list_select_related = ["alert", "notice", "session", "subscription"]
    list_filter: ClassVar[list[Any]] = [
        ("state", ChoicesCheckboxFilter),
        ("subscription", ScopedAutocompleteFilter),
        DeliveredTypeFilter,
        ("created_at", RangeDateTimeFilter),
    ]
    search_fields = ["session__session_id", "session__candidate__candidate_id", "subscription__url"]
    search_help_text = "Session, candidate or address"
    ordering = ["-created_at"]
    fields = [
        ("alert_link", "session_link"), ("subscription_link", "state_badge"), ("attempt_count", "next_try"),
        ("queued_at", "delivered_at"), "event_id",
    ]  # fmt: skip
    inlines = [AttemptInline]
    actions = ["resend"]
    actions_detail = ["resend_one"]

    @admin.action(description="Send again", permissions=["resend"])
    def resend(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        """Queue the chosen deliveries again under the same event ids."""
        chosen = list(queryset.values_list("pk", "subscription_id"))
        count = delivery_requeue([pk for pk, _ in chosen], {subscription_id for _, subscription_id in chosen})
        self.message_user(request, f"{count} of {len(chosen)} queued again.", messages.SUCCESS)

    def has_resend_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may manage subscriptions, which sending again belongs to."""
        return bool(request.user.has_perm("alerts.change_subscription"))

    @unfold_action(description="Send again", permissions=["resend_one"], url_path="resend", icon="forward_to_inbox")  # type: ignore[untyped-decorator]
    def resend_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask first; queue the delivery again when the answer is posted."""
        delivery = get_object_or_404(self.get_queryset(request), pk=object_id)
        if request.method != "POST":
            context = {**self.admin_site.each_context(request), "title": "Send it again?", "delivery": delivery}
            return TemplateResponse(
                request, "alerts/admin/resend.html", context | {"opts": self.opts, "original": delivery}
            )
        if delivery_requeue([delivery.pk], {delivery.subscription_id}):
            self.message_user(request, "It is queued again.", messages.SUCCESS)
        else:
            self.message_user(request, "It is being sent at this moment: look at its attempts.", messages.WARNING)
        return redirect("admin:alerts_delivery_change", object_id)

    def has_resend_one_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Tell whether the person may have this delivery sent again: one that they see."""
        seen = object_id is not None and self.get_queryset(request).filter(pk=object_id).exists()
        return seen and self.has_resend_permission(request)

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> Any:
        return None

    @admin.display(description="event id")
    def event_id(self, delivery: Delivery) -> str:
        return str(delivery.alert_id or delivery.notice_id)

    @admin.display(description="alert", ordering="alert__event_type")
    def what(self, delivery: Delivery) -> str:
        return str(delivery.alert or delivery.notice)

    @admin.display(description="alert")
    def alert_link(self, delivery: Delivery) -> SafeString | str:
        return link_to(delivery.alert) if delivery.alert else str(delivery.notice)

    @admin.display(description="session", ordering="session__session_id")
    def session_link(self, delivery: Delivery) -> SafeString | str:
        return link_to(delivery.session)

    @admin.display(description="to", ordering="subscription__url")
    def subscription_link(self, delivery: Delivery) -> SafeString:
        url = reverse("admin:alerts_subscription_change", args=[delivery.subscription_id])
        return format_html('<a href="{}">{}</a>', url, delivery.subscription)

    @coloured(DELIVERY_COLOURS, description="state", ordering="state")
    def coloured_state(self, delivery: Delivery) -> str:
        return delivery.state

    @admin.display(description="state")
    def state_badge(self, delivery: Delivery) -> SafeString:
        return badge(delivery.state, DELIVERY_COLOURS)
