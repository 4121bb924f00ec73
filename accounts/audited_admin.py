"""Admin pages whose opening, or whose changes, go into the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

from accounts.audit import Actor, audit_opened, audit_write
from accounts.models import Organisation


class _Audited:
    """What entries about a model's rows say. Mix in before the admin's own class."""

    audited_as = ""
    """The kind of subject, such as ``session``; the name of the model if left empty."""
    audited_organisation = "organisation"
    """The attribute that holds a row's organisation."""

    def audit_subject(self, obj: Any) -> str:
        """Return how the log names a row; a candidate is never named."""
        return str(obj.pk)

    def _audit(self, request: HttpRequest, obj: Model, verb: str, details: dict[str, Any]) -> None:
        organisation: Organisation = getattr(obj, self.audited_organisation)
        audit_write(
            organisation=organisation,
            actor=Actor.of_user(request.user),
            action=f"{self._kind(obj)}.{verb}",
            subject_type=self._kind(obj),
            subject=self.audit_subject(obj),
            details=details,
        )

    def _kind(self, obj: Model) -> str:
        return self.audited_as or str(obj._meta.model_name)


class OpeningsAudited(_Audited):
    """Who looks at a row's own page is written down."""

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """Note the visit before the page is shown."""
        obj = kwargs.get("obj")
        if obj is not None:  # a form that was sent wrongly shows the row too
            audit_opened(
                organisation=getattr(obj, self.audited_organisation),
                actor=Actor.of_user(request.user),
                kind=self._kind(obj),
                subject=self.audit_subject(obj),
            )
        shown: HttpResponse = super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]
        return shown


class ChangesAudited(_Audited):
    """Who adds, changes or removes a row is written down, with the names of the fields, never their content."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._audit(request, obj, "added", {})
        return super().log_addition(request, obj, message)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._audit(request, obj, "changed", {"fields": sorted(_changed(message))})
        return super().log_change(request, obj, message)  # type: ignore[misc]

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for obj in queryset:
            self._audit(request, obj, "removed", {})
        return super().log_deletions(request, queryset)  # type: ignore[misc]


def _changed(message: Any) -> Iterable[str]:
    for part in message if isinstance(message, list) else []:
        yield from part.get("changed", {}).get("fields", [])
