"""The list of sessions for proctors' screens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Organisation, Scope
from tests.factories import make_api_key, make_enrolled_candidate, make_session, make_user
from tests.sessions.test_session import make_incident

pytestmark = pytest.mark.django_db

URL = "/api/v1/admin/sessions"


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.json()
    return [row["session_id"] for row in response.json()["results"]]


def test_newest_first_with_counts_of_incidents(client: APIClient, organisation: Organisation) -> None:
    first = make_session(organisation, session_id="s-1", exam_id="e-1")
    make_session(organisation, session_id="s-2")
    make_incident(first, state="open")
    make_incident(first, state="closed")
    response = client.get(URL)
    assert ids(response) == ["s-2", "s-1"]
    assert response.json()["count"] == 2
    rows = response.json()["results"]
    assert [(row["incident_count"], row["open_incident_count"]) for row in rows] == [(0, 0), (2, 1)]
    assert rows[1]["exam_id"] == "e-1"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=live", ["s-2"]),
        ("state=ended", []),
        ("exam_id=algebra", ["s-2"]),
        ("candidate_id=ada", ["s-1"]),
        ("candidate_id=ad", []),
        ("search=AD", ["s-1"]),
        ("search=lgeb", ["s-2"]),
        ("search=s-", ["s-3", "s-2", "s-1"]),
        ("search=%25", []),
        ("since=2026-01-02T00:00:00Z", ["s-3", "s-2"]),
        ("until=2026-01-02T00:00:00Z", ["s-1"]),
        ("since=2026-01-02T00:00:00Z&until=2026-01-03T00:00:00Z", ["s-2"]),
        ("ordering=created_at", ["s-1", "s-2", "s-3"]),
        ("ordering=-live_at", ["s-2", "s-1", "s-3"]),
        ("page_size=2", ["s-3", "s-2"]),
        ("page_size=2&page=2", ["s-1"]),
    ],
)
def test_filters_pages_and_orders(
    client: APIClient, organisation: Organisation, query: str, expected: list[str]
) -> None:
    start = timezone.datetime.fromisoformat("2026-01-01T12:00:00+00:00")  # type: ignore[attr-defined]
    days = [start + timedelta(days=day) for day in range(3)]
    make_session(
        candidate=make_enrolled_candidate(organisation, "ada"), session_id="s-1", created_at=days[0], live_at=days[0]
    )
    make_session(organisation, session_id="s-2", exam_id="algebra", state="live", created_at=days[1], live_at=days[1])
    make_session(organisation, session_id="s-3", created_at=days[2])
    make_session(session_id="s-4", exam_id="algebra", state="live")
    found = ids(client.get(f"{URL}?{query}"))
    assert sorted(found) == sorted(expected)
    if "live_at" not in query:
        assert found == expected


@pytest.mark.parametrize(
    "query",
    ["state=asleep", "ordering=policy", "since=yesterday", "search=%00", "candidate_id=%00", "search=" + "x" * 200],
)
def test_a_wrong_filter_is_named(client: APIClient, query: str) -> None:
    response = client.get(f"{URL}?{query}")
    assert (response.status_code, response.json()["code"]) == (400, "request_invalid")
    assert list(response.json()["errors"]) == [query.partition("=")[0]]


@pytest.mark.parametrize("query", ["page=2", "page=0", "page=x"])
def test_a_page_that_is_none_is_said(client: APIClient, query: str) -> None:
    response = client.get(f"{URL}?{query}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_page_has_at_most_200_rows(client: APIClient, organisation: Organisation) -> None:
    session = make_session(organisation)
    rows = [dict(vars(session), id=None, session_id=f"x-{n}") for n in range(210)]
    model = type(session)
    names = [field.attname for field in model._meta.concrete_fields if field.attname != "id"]
    model.objects.bulk_create(model(**{name: row[name] for name in names}) for row in rows)
    assert len(ids(client.get(f"{URL}?page_size=1000"))) == 200


@pytest.mark.parametrize("count", [5, 50])
def test_queries_do_not_grow_with_rows(
    client: APIClient, organisation: Organisation, django_assert_num_queries: Any, count: int
) -> None:
    for number in range(count):
        make_incident(make_session(organisation, exam_id=f"e-{number}"))
    with django_assert_num_queries(4):  # key, its last use, count, rows
        assert len(ids(client.get(URL))) == count


def test_another_organisations_sessions_are_not_there(organisation: Organisation) -> None:
    make_session(organisation, session_id="s-1")
    _, raw = make_api_key()
    assert ids(APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}").get(URL)) == []


class TestStaff:
    def test_a_person_of_the_staff_reads_by_login(self, organisation: Organisation) -> None:
        make_session(organisation, session_id="s-1")
        make_session(session_id="s-2")
        client = APIClient(enforce_csrf_checks=True)
        client.force_login(make_user(organisation, permissions=["view_examsession"]))
        assert ids(client.get(URL)) == ["s-1"]

    def test_who_may_not_view_sessions_does_not(self, organisation: Organisation) -> None:
        client = APIClient()
        client.force_login(make_user(organisation, permissions=["view_exam"]))
        assert client.get(URL).status_code == 403

    def test_who_is_not_of_the_staff_does_not(self, organisation: Organisation) -> None:
        client = APIClient()
        client.force_login(make_user(organisation, staff=False, permissions=["view_examsession"]))
        assert client.get(URL).status_code == 403

    def test_a_login_writes_nothing(self, organisation: Organisation) -> None:
        session = make_session(organisation)
        client = APIClient()
        client.force_login(make_user(organisation, superuser=True))
        response = client.post(f"/api/v1/session/{session.id}/end")
        assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


def test_a_key_without_the_scope_lists_nothing(organisation: Organisation) -> None:
    _, raw = make_api_key(organisation, scopes=[Scope.SESSIONS])
    response = APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}").get(URL)
    assert (response.status_code, response.json()["code"]) == (403, "scope_missing")
