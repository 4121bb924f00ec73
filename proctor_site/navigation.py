"""How the admin looks: its name, and what lies where in the sidebar. Read by settings, so it imports no models."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse_lazy


def _item(title: str, icon: str, model: str) -> dict[str, Any]:
    """Return the entry of one model's list; it is shown to whoever may see the model's rows."""
    app, name = model.split(".")

    def permitted(request: HttpRequest) -> bool:
        return request.user.has_perm(f"{app}.view_{name}")

    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": permitted,
    }


def _group(title: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "separator": True, "collapsible": False, "items": list(items)}


UNFOLD: Final[dict[str, Any]] = {
    "SITE_TITLE": "SD Proctor",
    "SITE_HEADER": "SD Proctor",
    "SITE_SUBHEADER": "Exam proctoring people decide on",
    "SITE_SYMBOL": "visibility",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": [
            _group(
                "Watching",
                _item("Sessions", "videocam", "exam_sessions.examsession"),
                _item("Incidents", "report", "alerts.incident"),
            ),
            _group(
                "Exams",
                _item("Candidates", "person", "enrollment.candidate"),
                _item("Consents", "handshake", "enrollment.consent"),
                _item("Exams", "school", "exam_sessions.exam"),
                _item("Policies", "tune", "exam_sessions.policy"),
            ),
            _group(
                "Alerts",
                _item("Subscriptions", "rss_feed", "alerts.subscription"),
                _item("Deliveries", "outgoing_mail", "alerts.delivery"),
            ),
            _group(
                "Access",
                _item("Organisations", "apartment", "accounts.organisation"),
                _item("People", "group", "accounts.user"),
                _item("API keys", "key", "accounts.apikey"),
            ),
        ],
    },
}
