"""Where alerts go, with what waits and what failed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from accounts.admin_base import (
    OrganisationScopedAdmin,
    link_to_list,
)
from alerts.models import Delivery, Subscription
from alerts.subscription_form import SubscriptionForm


@admin.register(Subscription)
class SubscriptionAdmin(OrganisationScopedAdmin):
    """Where alerts go. The secret is shown once, when it was generated, and never again."""

    form = SubscriptionForm
    list_display = ["address", "transport", "enabled", "filters", "waiting", "parked", "last_delivery", "organisation"]
    list_select_related = ["organisation"]
    list_filter = ["enabled", "transport"]
    search_fields = ["url"]
    ordering = ["-created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        deliveries = Delivery.objects.filter(subscription=OuterRef("pk")).order_by().values("subscription")
        unsettled = deliveries.exclude(state=Delivery.State.DELIVERED)
        rows: QuerySet[Any] = super().get_queryset(request)
        annotated: QuerySet[Any] = rows.annotate(
            waiting_count=Coalesce(
                Subquery(unsettled.annotate(n=Count("pk", filter=Q(state="pending"))).values("n")), 0
            ),
            parked_count=Coalesce(Subquery(unsettled.annotate(n=Count("pk", filter=Q(state="parked"))).values("n")), 0),
            delivered_last=Subquery(deliveries.annotate(last=Max("delivered_at")).values("last")),
        )
        return annotated

    def get_fields(self, request: HttpRequest, obj: Subscription | None = None) -> list[str]:
        fields = ["organisation", "transport", "url", "event_types", "exam_ids", "enabled", "new_secret"]
        shown = fields if obj is None else [*fields, "disabled_reason", "created_at"]
        return [field for field in shown if field not in self.get_exclude(request, obj)]

    def get_readonly_fields(self, request: HttpRequest, obj: Subscription | None = None) -> list[str]:
        return [] if obj is None else ["organisation", "transport", "disabled_reason", "created_at"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"organisation": getattr(request.user, "organisation_id", None)}

    @admin.display(ordering="url")
    def address(self, subscription: Subscription) -> str:
        return subscription.url

    @admin.display(description="only")
    def filters(self, subscription: Subscription) -> str:
        return ", ".join([*subscription.event_types, *subscription.exam_ids]) or "everything"

    @admin.display(ordering="waiting_count")
    def waiting(self, subscription: Any) -> SafeString:
        return self._deliveries(subscription, subscription.waiting_count, Delivery.State.PENDING)

    @admin.display(ordering="parked_count")
    def parked(self, subscription: Any) -> SafeString:
        return self._deliveries(subscription, subscription.parked_count, Delivery.State.PARKED)

    def _deliveries(self, subscription: Subscription, count: int, state: str) -> SafeString:
        found = {"subscription__id__exact": subscription.pk, "state__exact": state}
        return link_to_list("alerts.delivery", count, **found)

    @admin.display(description="last delivered", ordering="delivered_last")
    def last_delivery(self, subscription: Any) -> Any:
        return subscription.delivered_last

    def save_model(self, request: HttpRequest, obj: Subscription, form: Any, change: bool) -> None:
        super().save_model(request, form.sealed(obj), form, change)

    def response_add(
        self, request: HttpRequest, obj: Subscription, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show a generated secret, in this answer alone: it goes into no session, cookie or log."""
        generated = getattr(obj, "generated_secret", None)
        if generated is None:
            plain: HttpResponse = super().response_add(request, obj, post_url_continue)
            return plain
        context = {
            **self.admin_site.each_context(request),
            "title": "A new subscription",
            "subscription": obj,
            "secret": generated,
            "opts": self.model._meta,
        }
        return TemplateResponse(request, "alerts/admin/secret.html", context)
