"""How the admin looks: its name, and what lies where in the sidebar. Read by settings, so it imports no models."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import reverse

_SIDEBAR: Final = {
    "Watching": [("Sessions", "videocam", "exam_sessions.ExamSession"), ("Incidents", "report", "alerts.Incident")],
    "Exams": [
        ("Candidates", "person", "enrollment.Candidate"),
        ("Consents", "handshake", "enrollment.Consent"),
        ("Consent texts", "article", "enrollment.ConsentText"),
        ("Suspected duplicates", "content_copy", "enrollment.DuplicateSuspicion"),
        ("Exams", "school", "exam_sessions.Exam"),
        ("Policies", "tune", "exam_sessions.Policy"),
    ],
    "Alerts": [
        ("Alerts", "notifications", "alerts.Alert"),
        ("Subscriptions", "rss_feed", "alerts.Subscription"),
        ("Deliveries", "outgoing_mail", "alerts.Delivery"),
    ],
    "Privacy": [
        ("Audit log", "history", "accounts.AuditEntry"),
        ("Retention", "auto_delete", "exam_sessions.RetentionPolicy"),
        ("Legal holds", "lock", "exam_sessions.LegalHold"),
        ("Erasures", "delete_forever", "enrollment.Erasure"),
    ],
    "Access": [
        ("Organisations", "apartment", "accounts.Organisation"),
        ("People", "group", "accounts.User"),
        ("Groups", "groups", "auth.Group"),
        ("API keys", "key", "accounts.APIKey"),
        ("Duplicate search", "person_search", "enrollment.DuplicateSearch"),
    ],
}
"""What lies where: title, icon and model of each list."""


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups with the lists that this person may see; a group with none is left out."""
    groups = {
        title: [_item(*entry) for entry in entries if _visible(request, entry[2])]
        for title, entries in _SIDEBAR.items()
    }
    if may_watch(request.user):
        groups["Watching"].insert(1, {"title": "Live", "icon": "sensors", "link": reverse("admin-live")})
    return [{"title": title, "separator": True, "items": items} for title, items in groups.items() if items]


def may_watch(user: Any) -> bool:
    """Tell whether somebody may see the live page."""
    return bool(user.has_perms(("exam_sessions.view_examsession", "alerts.view_incident")))


def _visible(request: HttpRequest, model: str) -> bool:
    page = admin.site._registry.get(apps.get_model(model))  # asked late: django-unfold puts its own site there
    return page is not None and page.has_view_permission(request)


def _item(title: str, icon: str, model: str) -> dict[str, Any]:
    name = model.lower().replace(".", "_")
    return {"title": title, "icon": icon, "link": reverse(f"admin:{name}_changelist")}


def landing(request: HttpRequest) -> HttpResponse:
    """Open the first list of the sidebar that this person may see: the sessions, for a proctor."""
    if not admin.site.has_permission(request):
        return redirect(f"{reverse('admin:login')}?{urlencode({'next': request.get_full_path()})}")
    groups = sidebar(request)
    if not groups:
        told = f"{request.user} may see nothing here yet. Ask an administrator for permissions."
        return HttpResponseForbidden(told, content_type="text/plain; charset=utf-8")
    return redirect(groups[0]["items"][0]["link"])


UNFOLD: Final[dict[str, Any]] = {
    "SITE_TITLE": "SD Proctor",
    "SITE_HEADER": "SD Proctor",
    "SITE_SUBHEADER": "A person decides",
    "SITE_SYMBOL": "visibility",
    "SITE_URL": None,  # there is no other site to return to
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [lambda request: static("accounts/admin.css")],
    "BORDER_RADIUS": "6px",
    "ACCOUNT": {"navigation": [{"title": "Second factor", "link": lambda request: reverse("mfa_index")}]},
    "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": sidebar},
}
