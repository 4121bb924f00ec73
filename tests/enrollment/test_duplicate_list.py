"""The list of suspected duplicates, for the platform."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Organisation, Scope
from enrollment.models import DuplicateSuspicion
from tests.factories import make_api_key, make_candidate, make_organisation, make_user

pytestmark = pytest.mark.django_db

ADDRESS = "/api/v1/duplicates"
NOW = timezone.now()


def suspect(organisation: Organisation, names: str, *, days: float = 0.0, decision: str = "open") -> DuplicateSuspicion:
    """A suspicion between two candidates that many days ago."""
    candidate, other = (make_candidate(organisation, name) for name in names.split())
    decided = None if decision == "open" else NOW
    return DuplicateSuspicion.objects.create(
        organisation=organisation, candidate=candidate, other=other, model="m", similarity=0.99, comparison_score=0.6,
        noticed_at=NOW - timedelta(days=days), decision=decision, decided_at=decided,
    )  # fmt: skip


def pairs(client: APIClient, **query: Any) -> list[str]:
    answer = client.get(ADDRESS, query)
    assert answer.status_code == 200, answer.json()
    return [f"{row['candidate_id']} {row['other_candidate_id']}" for row in answer.json()["results"]]


def test_it_lists_the_newest_first_with_what_people_decided(client: APIClient, organisation: Organisation) -> None:
    suspect(organisation, "ada bob", days=3, decision="different")
    newest = suspect(organisation, "cid dan")
    suspect(make_organisation(), "eve fay")

    answer = client.get(ADDRESS).json()

    assert (answer["count"], answer["next"]) == (2, None)
    first, second = answer["results"]
    noticed_at = first.pop("noticed_at")
    assert noticed_at.startswith(f"{NOW:%Y-%m-%dT%H:%M}")
    assert first == {
        "suspicion_id": newest.pk, "candidate_id": "cid", "other_candidate_id": "dan", "similarity": 0.99,
        "comparison_score": 0.6, "decision": "open", "decided_at": None,
    }  # fmt: skip
    assert (second["decision"], second["decided_at"] is not None) == ("different", True)


def test_it_is_filtered_and_comes_in_pages(client: APIClient, organisation: Organisation) -> None:
    suspect(organisation, "ada bob", days=3, decision="same")
    suspect(organisation, "cid dan", days=2)
    suspect(organisation, "eve fay", days=1)
    assert pairs(client, decision="open") == ["eve fay", "cid dan"]
    assert pairs(client, candidate_id="dan") == pairs(client, candidate_id="cid") == ["cid dan"]
    assert pairs(client, since=(NOW - timedelta(days=2)).isoformat()) == ["eve fay", "cid dan"]
    assert pairs(client, until=(NOW - timedelta(days=2)).isoformat()) == ["ada bob"]
    assert pairs(client, page_size=2, page=2) == ["ada bob"]


@pytest.mark.parametrize(
    ("query", "code"),
    [({"decision": "maybe"}, "request_invalid"), ({"candidate_id": "a/b"}, "request_invalid"),
     ({"since": "yesterday"}, "request_invalid"), ({"page": 7}, "not_found")],
)  # fmt: skip
def test_what_makes_no_sense_is_said(client: APIClient, query: dict[str, Any], code: str) -> None:
    assert client.get(ADDRESS, query).json()["code"] == code


def test_it_needs_the_scope_of_enrolling_or_the_permission_to_see_suspicions(organisation: Organisation) -> None:
    suspect(organisation, "ada bob")
    _, raw = make_api_key(organisation, scopes=[Scope.VERIFY])
    refused = APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}").get(ADDRESS)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    for permissions, status in (([], 403), (["view_duplicatesuspicion"], 200)):
        person = APIClient()
        person.force_login(make_user(organisation, permissions=permissions))
        assert person.get(ADDRESS).status_code == status
