"""What every admin page shares: rows of the user's own organisation only, and no query per row."""

from __future__ import annotations

from typing import Any

from django.db.models import ForeignKey, Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from accounts.models import Organisation, User


def organisation_seen_by(request: HttpRequest) -> Organisation | None:
    """Return the organisation whose rows the signed-in person sees; None for a superuser, who sees all."""
    user = request.user
    assert isinstance(user, User)
    return None if user.is_superuser else user.organisation


class OrganisationScopedAdmin(ModelAdmin):  # type: ignore[misc]
    """Shows, links and saves rows of the user's organisation; only superusers see and choose organisations.

    ``organisation_path`` is the lookup from the model to its organisation.
    """

    organisation_path = "organisation"
    list_per_page = 50
    show_full_result_count = False  # a COUNT over the whole table for one line of text
    list_filter_submit = True
    compressed_fields = True
    warn_unsaved_form = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request)
        organisation = organisation_seen_by(request)
        return queryset if organisation is None else queryset.filter(**{self.organisation_path: organisation})

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> Any:
        excluded = tuple(super().get_exclude(request, obj) or ())
        hides = organisation_seen_by(request) is not None and self.organisation_path == "organisation"
        return (*excluded, "organisation") if hides else excluded

    def get_list_filter(self, request: HttpRequest) -> Any:
        filters = super().get_list_filter(request)
        return (*filters, "organisation") if self._offers_organisations(request) else filters

    def _offers_organisations(self, request: HttpRequest) -> bool:
        return self.organisation_path == "organisation" and organisation_seen_by(request) is None

    def formfield_for_foreignkey(self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        organisation = organisation_seen_by(request)
        related: type[Model] = db_field.remote_field.model
        if organisation is not None and any(field.name == "organisation" for field in related._meta.get_fields()):
            kwargs.setdefault("queryset", related._default_manager.filter(organisation=organisation))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        organisation = organisation_seen_by(request)
        if organisation is not None and self.organisation_path == "organisation":
            obj.organisation = organisation
        super().save_model(request, obj, form, change)


class ReadOnlyAdmin(OrganisationScopedAdmin):
    """Rows that the service writes and people only read."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyInline(TabularInline):  # type: ignore[misc]
    """Rows below another, only read."""

    extra = 0
    can_delete = False
    show_change_link = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
