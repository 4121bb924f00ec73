"""Where alerts go, with what waits and what failed."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import action as unfold_action

from accounts.admin_base import OrganisationScopedAdmin, badge, coloured, link_to_list
from accounts.audited_admin import ChangesAudited
from accounts.limits import wait_s
from alerts.delivery import breaker
from alerts.models import Delivery, Subscription
from alerts.samples import Tested, sample_send
from alerts.subscription_form import SubscriptionForm
from alerts.subscriptions import breaker_reset, configuration_save, subscription_delete

HEALTH = [
    "health_badge", "waiting", "parked", "last_success_at", "failing_since", "breaker_until", "disabled_reason",
    "public_key", "previous_secret_until",
]  # fmt: skip
HEALTH_COLOURS = {
    "well": "success", "failing": "warning", "left alone": "danger", "probing": "warning", "switched off": "info",
    "given up": "danger",
}  # fmt: skip


def health(subscription: Subscription) -> str:
    """Say in a word how it goes with a subscription. Given up: the service itself switched it off."""
    if not subscription.enabled:
        return "given up" if subscription.disabled_reason else "switched off"
    state = breaker.state(subscription, timezone.now())
    if state is breaker.State.CLOSED:
        return "failing" if subscription.failing_since else "well"
    return "left alone" if state is breaker.State.OPEN else "probing"


def _told(tested: Tested) -> tuple[str, int]:
    """Say what came of a sample, and how good that is."""
    if not tested.delivered:
        return f"The sample was not delivered: {tested.error}", messages.ERROR
    said = f"The answer: {tested.response}" if tested.response else "The answer was empty."
    return f"The sample was delivered in {tested.duration_ms:.0f} ms. {said}", messages.SUCCESS


@admin.register(Subscription)
class SubscriptionAdmin(ChangesAudited, OrganisationScopedAdmin):
    """Where alerts go. The secret is shown once, when it was generated, and never again."""

    form = SubscriptionForm
    list_display = [
        "address", "transport", "enabled", "coloured_health", "filters", "waiting", "parked", "last_delivery",
        "organisation",
    ]  # fmt: skip
    list_select_related = ["organisation"]
    list_filter = ["enabled", "transport"]
    search_fields = ["url"]
    ordering = ["-created_at"]
    actions_detail = ["send_sample"]

    class Media:
        css: ClassVar[dict[str, list[str]]] = {"all": ["alerts/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request)
        counted: QuerySet[Any] = rows.with_queue()
        return counted

    def get_fields(self, request: HttpRequest, obj: Subscription | None = None) -> list[str]:
        fields = [
            "organisation", "transport", "url", "event_types", "exam_ids", "ordered", "concurrency", "rate_per_s",
            "enabled", "new_secret",
        ]  # fmt: skip
        shown = fields if obj is None else [*fields, "keep_old_secret", *HEALTH, "created_at"]
        return [field for field in shown if field not in self.get_exclude(request, obj)]

    def get_readonly_fields(self, request: HttpRequest, obj: Subscription | None = None) -> list[str]:
        return [] if obj is None else ["organisation", "transport", *HEALTH, "created_at"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"organisation": getattr(request.user, "organisation_id", None)}

    @admin.display(ordering="url")
    def address(self, subscription: Subscription) -> str:
        return subscription.place

    @admin.display(description="only")
    def filters(self, subscription: Subscription) -> str:
        return ", ".join([*subscription.event_types, *subscription.exam_ids]) or "everything"

    @admin.display(ordering="pending_count")
    def waiting(self, subscription: Any) -> SafeString:
        return self._deliveries(subscription, subscription.pending_count, Delivery.State.PENDING)

    @admin.display(ordering="parked_count")
    def parked(self, subscription: Any) -> SafeString:
        return self._deliveries(subscription, subscription.parked_count, Delivery.State.PARKED)

    def _deliveries(self, subscription: Subscription, count: int, state: str) -> SafeString:
        found = {"subscription__id__exact": subscription.pk, "state__exact": state}
        return link_to_list("alerts.delivery", count, **found)

    @admin.display(description="last delivered", ordering="last_success_at")
    def last_delivery(self, subscription: Subscription) -> Any:
        return subscription.last_success_at

    @coloured(HEALTH_COLOURS, description="health")
    def coloured_health(self, subscription: Subscription) -> str:
        return health(subscription)

    @admin.display(description="health")
    def health_badge(self, subscription: Subscription) -> SafeString:
        return badge(health(subscription), HEALTH_COLOURS)

    def save_model(self, request: HttpRequest, obj: Subscription, form: Any, change: bool) -> None:
        form.sealed(obj)
        if change:  # the deliveries write to the row meanwhile
            configuration_save(obj, with_secrets=bool(form.cleaned_data["new_secret"]))
            if obj.enabled:
                breaker_reset(obj)
        else:
            super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Subscription) -> None:
        subscription_delete(subscription_id=obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for subscription_id in list(queryset.values_list("pk", flat=True)):
            subscription_delete(subscription_id=subscription_id)

    def has_test_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Tell whether this person may have a sample sent to this subscription: one that they see."""
        seen = self.get_queryset(request)
        return self.has_change_permission(request) and object_id is not None and seen.filter(pk=object_id).exists()

    @unfold_action(description="Send a sample", permissions=["test"], url_path="test", icon="send")  # type: ignore[untyped-decorator]
    def send_sample(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask first; send a sample when the answer is posted, and say what came of it."""
        subscription = get_object_or_404(self.get_queryset(request), pk=object_id)
        if request.method != "POST":
            context = {**self.admin_site.each_context(request), "title": "Send a sample?", "subscription": subscription}
            return TemplateResponse(
                request, "alerts/admin/sample.html", context | {"opts": self.opts, "original": subscription}
            )
        if wait_s("samples", f"staff:{request.user.pk}") is not None:
            self.message_user(request, "Too many samples; wait a minute.", messages.WARNING)
        else:
            self.message_user(request, *_told(sample_send(subscription=subscription)))
        return redirect("admin:alerts_subscription_change", object_id)

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
