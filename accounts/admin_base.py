"""What every admin page shares: rows of the user's own organisation only, and no query per row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.db.models import ForeignKey, Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display as unfold_display

from accounts.models import Organisation, User


def organisation_seen_by(request: HttpRequest) -> Organisation | None:
    """Return the organisation whose rows the signed-in person sees; None for a superuser, who sees all."""
    user = request.user
    assert isinstance(user, User)
    return None if user.is_superuser else user.organisation


class _OwnOrganisationForm(ModelForm):  # type: ignore[type-arg]
    """Knows the organisation although it does not show it, so that names are checked to be unique within it."""

    own_organisation: Organisation

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.organisation = self.own_organisation

    def _get_validation_exclusions(self) -> set[str]:
        return set(super()._get_validation_exclusions()) - {"organisation"}  # type: ignore[misc]


class OrganisationScopedAdmin(ModelAdmin):  # type: ignore[misc]
    """Shows, links and saves rows of the user's organisation; only superusers see and choose organisations.

    ``organisation_path`` is the lookup from the model to its organisation.
    """

    organisation_path = "organisation"
    explanation: Any = ""
    """What the pages are for, where their names do not say it all: a sentence or two above list and form."""
    list_before_template = "accounts/list_explained.html"
    change_form_before_template = "accounts/form_explained.html"
    list_per_page = 50
    show_full_result_count = False  # a COUNT over the whole table for one line of text
    list_filter_submit = True
    compressed_fields = True
    warn_unsaved_form = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request)
        organisation = organisation_seen_by(request)
        return queryset if organisation is None else queryset.filter(**{self.organisation_path: organisation.pk})

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> Any:
        excluded = tuple(super().get_exclude(request, obj) or ())
        hides = organisation_seen_by(request) is not None and self.organisation_path == "organisation"
        return (*excluded, "organisation") if hides else excluded

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        organisation = organisation_seen_by(request)
        if organisation is None or self.organisation_path != "organisation":
            return form
        return type(form.__name__, (_OwnOrganisationForm, form), {"own_organisation": organisation})

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
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ScopedAutocompleteFilter(AutocompleteSelectFilter):  # type: ignore[misc]
    """Filter by a related row that is typed, not chosen from a list of thousands; of the own organisation alone."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        organisation = organisation_seen_by(self.request)
        for choice in super().choices(changelist):
            field = choice["form"].fields[self.lookup_kwarg]
            if organisation is not None:
                field.queryset = field.queryset.filter(organisation=organisation)
            yield choice


Shown = TypeVar("Shown", bound=Callable[..., str])
_LINK = "text-primary-600 dark:text-primary-500"


def coloured(colours: Mapping[str, str], *, description: str, ordering: str | None = None) -> Callable[[Shown], Shown]:
    """Show a column's words as labels in colour: ``success``, ``info``, ``warning``, ``danger`` or ``primary``."""
    decorate: Callable[[Shown], Shown] = unfold_display(description=description, ordering=ordering, label=dict(colours))
    return decorate


def badge(word: str, colours: Mapping[str, str]) -> SafeString:
    """Return a word as the label in colour that ``coloured`` makes of it in lists, for a row's own page."""
    return render_to_string("unfold/helpers/label.html", {"type": colours.get(word, ""), "text": word})


def link_to_list(model: str, text: object, **filters: object) -> SafeString:
    """Return a link to the admin's list of ``model`` (``app_label.name``) under ``filters``."""
    url = reverse(f"admin:{model.replace('.', '_')}_changelist")
    return format_html('<a class="{}" href="{}?{}">{}</a>', _LINK, url, urlencode(filters), text)


def link_to(row: Model | None) -> SafeString | str:
    """Return a link to a row's page in the admin; a dash for None."""
    if row is None:
        return "-"
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a class="{}" href="{}">{}</a>', _LINK, url, row)


def as_json(value: object) -> SafeString:
    """Return a document as indented text; signed addresses in it are longer than any screen and wrap."""
    return format_html('<pre class="text-xs whitespace-pre-wrap">{}</pre>', json.dumps(value, indent=2))
