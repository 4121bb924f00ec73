"""Decide on incidents in the admin: one after the other with few keys, or many at once with a reason."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.decorators import action as unfold_action

from accounts.models import User
from accounts.problems import Problem
from alerts.incident_selectors import undecided_after
from alerts.models import Incident, Review
from alerts.reviews import REASON_LENGTH, Reviewer, incident_review

MOST_AT_ONCE = 200
"""Incidents that are dismissed in one request; each is a transaction and an alert of its own."""
REASONS = 5
"""Reasons that one gave most often lately, offered again."""
LATELY = 200


class ReviewForm(forms.Form):
    """A decision with its reason, and the version of the incident that was looked at."""

    decision = forms.ChoiceField(choices=Review.Decision.choices)
    reason = forms.CharField(max_length=REASON_LENGTH)
    version = forms.IntegerField(min_value=1, max_value=2**31 - 1)


class BulkForm(forms.Form):
    """The reason for dismissing several incidents."""

    reason = forms.CharField(max_length=REASON_LENGTH)


def reasons_lately(user: User) -> list[str]:
    """Return the reasons that somebody gave most often lately."""
    given = Review.objects.filter(user=user).order_by("-id").values_list("reason", flat=True)[:LATELY]
    return [reason for reason, _ in Counter(given).most_common(REASONS)]


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _go_on(page: Any, request: HttpRequest, current: Incident | None) -> HttpResponse:
    """Show the next incident that waits; stay when there is none."""
    following = undecided_after(page.get_queryset(request).prefetch_related(None), current)
    if following is not None:
        return redirect("admin:alerts_incident_change", following.pk)
    page.message_user(request, "Nothing else waits for a decision.")
    return redirect("admin:alerts_incident_change", current.pk) if current else redirect("..")


class Reviewing:
    """What the incidents' admin does about decisions. Comes before the class that shows rows."""

    change_form_outer_before_template = "alerts/admin/review.html"
    actions: ClassVar[list[Any]] = ["dismiss"]
    actions_list: ClassVar[list[Any]] = ["review_next"]

    def get_urls(self: Any) -> list[URLPattern]:
        site, name = self.admin_site, "alerts_incident"
        own = [
            path("<uuid:incident_id>/review/", site.admin_view(self.review), name=f"{name}_review"),
            path("<uuid:incident_id>/next/", site.admin_view(self.next_after), name=f"{name}_next"),
        ]
        return [*own, *super().get_urls()]  # type: ignore[misc]

    def has_review_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return request.user.has_perm("alerts.review_incident")

    def changeform_view(
        self: Any, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Add what the panel above an incident shows."""
        panel = self._panel(request, object_id) if request.method == "GET" else {}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **panel})  # type: ignore[misc]

    def _panel(self: Any, request: HttpRequest, object_id: str | None) -> dict[str, Any]:
        incident: Incident | None = self.get_object(request, object_id)
        if incident is None:
            return {}
        may = self.has_review_permission(request)
        return {
            "incident": incident,
            "reviews": list(incident.reviews.all()),
            "may_review": may,
            "undecided": incident.state in Incident.UNDECIDED,
            "waiting": self.get_queryset(request).prefetch_related(None).undecided().count(),
            "reasons": reasons_lately(_user(request)) if may else [],
            "reason_length": REASON_LENGTH,
        }

    def review(self: Any, request: HttpRequest, incident_id: uuid.UUID) -> HttpResponse:
        """Take a decision, and show the next incident that waits for one."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_review_permission(request):
            raise PermissionDenied
        incident = get_object_or_404(self.get_queryset(request), pk=incident_id)
        form = ReviewForm(request.POST)
        if not form.is_valid():
            told = "; ".join(f"{name}: {errors[0]}" for name, errors in form.errors.items())
            self.message_user(request, f"Nothing was decided. {told}", "ERROR")
            return redirect("admin:alerts_incident_change", incident_id)
        try:
            review = incident_review(
                incident=incident, reviewer=Reviewer.signed_in(_user(request)), **form.cleaned_data
            )
        except Problem as problem:
            self.message_user(request, f"Nothing was decided. {problem.title}. {problem.detail}", "ERROR")
            return redirect("admin:alerts_incident_change", incident_id)
        self.log_change(request, incident, f"{review.decision}: {review.reason}")
        self.message_user(request, f"{incident}: {review.decision}.", "SUCCESS")
        if review.decision == Review.Decision.REOPENED:
            return redirect("admin:alerts_incident_change", incident_id)
        return _go_on(self, request, incident)

    def next_after(self: Any, request: HttpRequest, incident_id: uuid.UUID) -> HttpResponse:
        """Pass over an incident."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return _go_on(self, request, get_object_or_404(self.get_queryset(request), pk=incident_id))

    @unfold_action(description="Review what waits", permissions=["review"], url_path="waiting", icon="fact_check")  # type: ignore[untyped-decorator]
    def review_next(self: Any, request: HttpRequest) -> HttpResponse:
        return _go_on(self, request, None)

    @admin.action(description="Dismiss with a reason", permissions=["review"])
    def dismiss(self: Any, request: HttpRequest, incidents: QuerySet[Incident]) -> HttpResponse | None:
        """Ask for the reason; dismiss what still is as it was shown when the answer is posted."""
        chosen = list(incidents.order_by("session_id", "started_at", "id")[: MOST_AT_ONCE + 1])
        if len(chosen) > MOST_AT_ONCE:
            self.message_user(request, f"At most {MOST_AT_ONCE} incidents are dismissed at once.", "ERROR")
            return None
        form = BulkForm(request.POST if "reason" in request.POST else None)
        if form.is_valid():
            self._dismiss(request, chosen, form.cleaned_data["reason"])
            return None
        possible = [incident for incident in chosen if incident.state in Incident.UNDECIDED]
        context = {
            **self.admin_site.each_context(request),
            "title": "Dismiss incidents",
            "opts": self.opts,
            "form": form,
            "possible": possible,
            "left": len(chosen) - len(possible),
            "reasons": reasons_lately(_user(request)),
            "reason_length": REASON_LENGTH,
        }
        return TemplateResponse(request, "alerts/admin/dismiss.html", context)

    def _dismiss(self: Any, request: HttpRequest, incidents: Iterable[Incident], reason: str) -> None:
        done, left = 0, 0
        for incident in incidents:
            shown = request.POST.get(f"version_{incident.pk}", "")
            try:
                incident_review(
                    incident=incident,
                    decision=Review.Decision.DISMISSED,
                    reason=reason,
                    reviewer=Reviewer.signed_in(_user(request)),
                    version=int(shown) if shown.isdecimal() else 0,
                )
            except Problem:
                left += 1
                continue
            self.log_change(request, incident, f"dismissed: {reason}")
            done += 1
        told = f" Open, decided on or changed meanwhile, and left as they are: {left}." if left else ""
        self.message_user(request, f"Incidents dismissed: {done}.{told}", "WARNING" if left else "SUCCESS")
