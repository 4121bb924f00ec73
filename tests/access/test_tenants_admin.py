"""Every page of the admin, opened by another tenant's person with every permission: nothing of the first is seen.

Pages, actions, fields and lookups come from the admin's own registry, so a new page is opened too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db.models import ForeignKey, Model, OneToOneField
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, reverse

from accounts.models import Organisation
from alerts.models import Evidence
from tests.access.world import Intruder, Tenant, make_intruder, make_tenant, rows_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]

NOBODYS = {"auth.Group"}
"""Models whose rows are no tenant's."""
FORBIDDEN = {302, 403, 404, 405}


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant()


@pytest.fixture
def intruder() -> Intruder:
    return make_intruder()


@pytest.fixture
def client(intruder: Intruder) -> Client:
    client = Client()
    client.force_login(intruder.user)
    return client


def pages() -> list[tuple[type[Model], Any]]:
    found = [(model, page) for model, page in admin.site._registry.items() if model._meta.label not in NOBODYS]
    assert len(found) >= 12
    return found


def theirs(tenant: Tenant, model: type[Model]) -> Model:
    rows = (
        model._default_manager.filter(pk=tenant.organisation.pk)
        if model is Organisation
        else model._default_manager.filter(organisation=tenant.organisation)  # type: ignore[misc]
    )
    found = rows.first()
    assert found is not None, f"Make a {model._meta.label} of the tenant's in tests/access/world.py"
    return found


def name_of(model: type[Model], page: str) -> str:
    return f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"


def text_of(answer: Any) -> str:
    content: bytes = b"".join(answer) if answer.streaming else answer.content
    return content.decode(errors="replace")


def test_lists_show_only_ones_own(client: Client, tenant: Tenant) -> None:
    for model, _ in pages():
        answer = client.get(reverse(name_of(model, "changelist")))
        assert answer.status_code == 200, model
        assert not tenant.leaks(text_of(answer)), model
        assert theirs(tenant, model).pk not in [row.pk for row in answer.context["cl"].result_list]


def lookups_of(model: type[Model], page: Any) -> Iterator[str]:
    """Name the lookups that a list may be asked by: its own filters and every relation of the model."""
    yield "pk"
    yield "id__exact"
    for field in model._meta.get_fields():
        if isinstance(field, ForeignKey | OneToOneField):
            yield f"{field.name}__{field.related_model._meta.pk.name}__exact"
            yield f"{field.name}__pk"


def test_no_filter_of_a_list_finds_anothers_rows(client: Client, tenant: Tenant) -> None:
    tried = 0
    for model, page in pages():
        row = theirs(tenant, model)
        for lookup in lookups_of(model, page):
            value: Any = row
            for name in lookup.removesuffix("__exact").split("__"):
                value = getattr(value, name, None)
            if value is None:
                continue
            answer = client.get(reverse(name_of(model, "changelist")), {lookup: str(value)})
            assert answer.status_code in {200, 302, 400}, (model, lookup)
            if answer.status_code == 200:
                assert list(answer.context["cl"].result_list) == [], (model, lookup)
                assert not tenant.leaks(text_of(answer), value), (model, lookup)
            tried += 1
    assert tried >= 20


def test_pages_of_anothers_rows_do_not_open_and_change_nothing(client: Client, tenant: Tenant) -> None:
    before = rows_of(tenant)
    for model, _ in pages():
        row = theirs(tenant, model)
        for page in ("change", "delete", "history"):
            url = reverse(name_of(model, page), args=[row.pk])
            for answer in (client.get(url), client.post(url, {"post": "yes", "name": "mine", "enabled": ""})):
                assert answer.status_code in FORBIDDEN, (model, page, answer.status_code)
                assert not tenant.leaks(text_of(answer), row.pk, url), (model, page)
    assert rows_of(tenant) == before


def own_urls(page: Any) -> Iterator[URLPattern]:
    for pattern in page.get_urls():
        if isinstance(pattern, URLResolver):
            yield from (one for one in pattern.url_patterns if isinstance(one, URLPattern))
        else:
            yield pattern


def test_every_address_of_every_page_refuses_anothers_rows(client: Client, tenant: Tenant) -> None:
    before = rows_of(tenant)
    evidence = Evidence.objects.get(organisation=tenant.organisation)
    tried = set()
    for model, page in pages():
        row = theirs(tenant, model)
        base = reverse(name_of(model, "changelist"))
        for pattern in own_urls(page):
            parameters = set(pattern.pattern.converters) or set(pattern.pattern.regex.groupindex)
            if not parameters:
                continue
            own = evidence.pk if "evidence_id" in parameters else row.pk
            url = base + re.sub(r"<[^>]+>", str(own), str(pattern.pattern))
            for answer in (client.get(url), client.post(url, {"decision": "dismissed", "reason": "x", "version": 2})):
                assert answer.status_code in FORBIDDEN, (url, answer.status_code)
                assert not tenant.leaks(text_of(answer), own, url), url
            tried.add(url)
    assert len(tried) >= 40
    assert rows_of(tenant) == before


def test_no_action_touches_anothers_rows(tenant: Tenant) -> None:
    """Alone and with "select all", which means all of one's own: hence somebody new for every action."""
    before = rows_of(tenant)
    request = RequestFactory().get("/")
    request.user = make_intruder().user
    tried = set()
    for model, page in pages():
        row = theirs(tenant, model)
        for action in page.get_actions(request):
            client = Client()
            client.force_login(make_intruder().user)
            chosen = {"action": action, "_selected_action": [str(row.pk)], "post": "yes", "reason": "none", "index": 0}
            answer = client.post(reverse(name_of(model, "changelist")), chosen | {"select_across": "1"}, follow=True)
            assert answer.status_code in {200, 403}, (model, action)
            assert not tenant.leaks(text_of(answer), row.pk), (model, action)
            tried.add(action)
    assert tried >= {"end", "revoke", "resend", "dismiss", "delete_selected"}
    assert rows_of(tenant) == before


def test_no_form_offers_or_takes_anothers_rows(client: Client, tenant: Tenant, intruder: Intruder) -> None:
    request = RequestFactory().get("/")
    request.user = intruder.user
    offered = 0
    for model, page in pages():
        fields = page.get_form(request).base_fields if page.has_add_permission(request) else {}
        for name, field in fields.items():
            if not isinstance(field, forms.ModelChoiceField) or field.queryset.model._meta.label in {
                *NOBODYS, "auth.Permission",
            }:  # fmt: skip
                continue
            foreign = theirs(tenant, field.queryset.model)
            assert not field.queryset.filter(pk=foreign.pk).exists(), (model, name)
            with pytest.raises(forms.ValidationError):
                field.clean(str(foreign.pk) if not isinstance(field, forms.ModelMultipleChoiceField) else [foreign.pk])
            offered += 1
    assert offered >= 1


def test_no_autocompletion_finds_anothers_rows(client: Client, tenant: Tenant) -> None:
    url, tried = reverse("admin:autocomplete"), 0
    for model, _ in pages():
        for field in model._meta.get_fields():
            if not isinstance(field, ForeignKey | OneToOneField):
                continue
            asked = {"app_label": model._meta.app_label, "model_name": model._meta.model_name, "field_name": field.name}
            answer = client.get(url, asked | {"term": ""})
            assert answer.status_code in {200, 403, 404}, asked
            if answer.status_code == 200:
                assert not tenant.leaks(text_of(answer)), asked
                tried += 1
    assert tried >= 3


def test_the_live_page_and_pictures_are_ones_own(client: Client, tenant: Tenant) -> None:
    assert not tenant.leaks(text_of(client.get(reverse("admin-live"))))
    assert client.get(reverse("admin-live"), {"organisation": tenant.organisation.slug}).status_code == 404
    assert not tenant.leaks(
        text_of(client.get(reverse("admin-live"), {"exam": tenant.given["exam_id"][0]})), tenant.given["exam_id"][0]
    )
    picture = reverse("admin:alerts_evidence_picture", args=tenant.given["evidence_id"])
    assert client.get(picture).status_code == 404


def test_every_address_of_the_admin_itself_is_free_of_anothers_rows(client: Client, tenant: Tenant) -> None:
    tried = set()
    for pattern in admin.site.get_urls():
        if not isinstance(pattern, URLPattern) or pattern.name in {None, "logout"}:
            continue
        for row in (theirs(tenant, model) for model, _ in pages()):
            parameters = set(pattern.pattern.converters) or set(pattern.pattern.regex.groupindex)
            known = {
                "content_type_id": ContentType.objects.get_for_model(row).pk,
                "object_id": row.pk,
                "app_label": row._meta.app_label,
            }
            url = reverse(f"admin:{pattern.name}", kwargs={name: known[name] for name in parameters})
            answer = client.get(url, {"s": str(row), "term": str(row)})
            assert answer.status_code < 500, url
            assert not tenant.leaks(text_of(answer), str(row), row.pk, url), url
            tried.add(pattern.name)
    assert tried >= {"index", "password_change", "jsi18n", "search", "view_on_site", "app_list", "autocomplete"}, tried


def test_a_superuser_of_the_deployment_sees_all(tenant: Tenant) -> None:
    """It is meant so, and docs/access.md says so."""
    from tests.factories import make_organisation, make_user

    root = Client()
    root.force_login(make_user(make_organisation("default"), superuser=True))
    for model, _ in pages():
        row = theirs(tenant, model)
        assert row in root.get(reverse(name_of(model, "changelist"))).context["cl"].queryset, model
