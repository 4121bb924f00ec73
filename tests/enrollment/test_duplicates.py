"""One face under two candidate ids: reported or refused, decided on by people, and gone with the candidate."""

from __future__ import annotations

import base64
import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.audit import SYSTEM
from accounts.models import AuditEntry, Organisation
from enrollment.duplicates import Found, Probe, duplicates_find, enrolled_protect, search_lock, search_prepare
from enrollment.galleries import gallery_current
from enrollment.gallery_keeping import galleries_keep
from enrollment.models import Candidate, DuplicateSearch, DuplicateSuspicion, FaceTemplate, Gallery, ProtectedTemplate
from sessions.consents import consent_withdraw
from sessions.joining import join_token_mint
from sessions.models import ExamSession
from tests.factories import (
    MODEL,
    make_candidate,
    make_consent,
    make_embedding,
    make_organisation,
    make_session,
    make_template,
    make_user,
)

Mode = DuplicateSearch.Mode
Decision = DuplicateSuspicion.Decision


def search(organisation: Organisation, mode: str = Mode.REPORT, **fields: Any) -> DuplicateSearch:
    values = {"mode": mode, "similarity_from": 0.75} | fields
    return DuplicateSearch.objects.update_or_create(organisation=organisation, defaults=values)[0]


def enrol(organisation: Organisation, candidate: Candidate, seed: int) -> Found:
    """Enrol as ``candidate_enroll`` does once the pictures are read."""
    probe = Probe(make_embedding(seed), MODEL, 1.0)
    search_prepare(organisation=organisation, probe=probe)
    with transaction.atomic():
        setting = search_lock(organisation)
        found = duplicates_find(setting=setting, candidate=candidate, probe=probe)
        if not found.refuses:
            make_template(candidate, probe.embedding)
            enrolled_protect(candidate=candidate, found=found, probe=probe)
    return found


def named(found: Found) -> list[str]:
    return [duplicate.candidate_id for duplicate in found.duplicates]


@pytest.mark.django_db
class TestSearch:
    def test_unless_switched_on_nothing_is_searched_or_kept(self, organisation: Organisation) -> None:
        ada, bob = make_candidate(organisation, "ada"), make_candidate(organisation, "bob")
        assert [named(enrol(organisation, each, 1)) for each in (ada, bob)] == [[], []]
        search(organisation, Mode.OFF)
        assert named(enrol(organisation, bob, 1)) == []
        assert not Gallery.objects.exists()
        assert not ProtectedTemplate.objects.exists()

    def test_the_same_face_under_another_id_is_found_and_no_other(self, organisation: Organisation) -> None:
        search(organisation)
        for number in range(5):
            assert named(enrol(organisation, make_candidate(organisation, f"c-{number}"), number)) == []
        found = enrol(organisation, make_candidate(organisation, "bob"), 3)
        assert named(found) == ["c-3"]
        assert found.duplicates[0].comparison_score == pytest.approx(1.0, abs=1e-5)
        (suspicion,) = DuplicateSuspicion.objects.all()
        assert (str(suspicion.candidate), str(suspicion.other), suspicion.decision) == ("bob", "c-3", Decision.OPEN)

    def test_enrolling_anew_under_ones_own_id_is_no_duplicate(self, organisation: Organisation) -> None:
        search(organisation)
        ada = make_candidate(organisation, "ada")
        assert [named(enrol(organisation, ada, 1)) for _ in range(2)] == [[], []]

    def test_another_organisations_candidate_is_none(self, organisation: Organisation) -> None:
        other = make_organisation()
        for each in (organisation, other):
            search(each)
        assert named(enrol(organisation, make_candidate(organisation), 1)) == []
        assert named(enrol(other, make_candidate(other), 1)) == []

    def test_below_the_organisations_similarity_nobody_is_suspected(self, organisation: Organisation) -> None:
        setting = search(organisation, similarity_from=1.0)
        enrol(organisation, make_candidate(organisation, "ada"), 1)
        assert named(enrol(organisation, make_candidate(organisation), 1)) == []
        setting.similarity_from = 0.99
        setting.save()
        assert "ada" in named(enrol(organisation, make_candidate(organisation), 1))

    def test_a_pair_is_on_record_once_however_often_it_is_noticed(self, organisation: Organisation) -> None:
        search(organisation)
        ada, bob = make_candidate(organisation, "ada"), make_candidate(organisation, "bob")
        for candidate in (ada, bob, ada, bob):
            enrol(organisation, candidate, 1)
        assert DuplicateSuspicion.objects.count() == 1

    def test_two_who_were_told_apart_are_not_suspected_again(self, organisation: Organisation) -> None:
        search(organisation, Mode.REFUSE)
        ada, bob = make_candidate(organisation, "ada"), make_candidate(organisation, "bob")
        enrol(organisation, ada, 1)
        assert enrol(organisation, bob, 1).refuses
        assert not FaceTemplate.objects.filter(candidate=bob).exists()
        DuplicateSuspicion.objects.update(decision=Decision.DIFFERENT)
        assert named(enrol(organisation, bob, 1)) == []
        assert FaceTemplate.objects.filter(candidate=bob).exists()

    def test_one_person_by_decision_stays_refused(self, organisation: Organisation) -> None:
        search(organisation, Mode.REFUSE)
        enrol(organisation, make_candidate(organisation, "ada"), 1)
        bob = make_candidate(organisation, "bob")
        enrol(organisation, bob, 1)
        DuplicateSuspicion.objects.update(decision=Decision.SAME)
        found = enrol(organisation, bob, 1)
        assert (found.refuses, found.duplicates[0].decision) == (True, Decision.SAME)


@pytest.mark.django_db
class TestMovedRows:
    """The protected table has no seal: what it says is believed only as far as the sealed template says the same."""

    def test_a_vector_put_into_another_row_accuses_nobody_and_is_mended(self, organisation: Organisation) -> None:
        search(organisation)
        ada, eve = make_candidate(organisation, "ada"), make_candidate(organisation, "eve")
        enrol(organisation, ada, 1)
        enrol(organisation, eve, 2)
        good = ProtectedTemplate.objects.get(candidate=eve).embedding
        moved = ProtectedTemplate.objects.get(candidate=ada).embedding
        ProtectedTemplate.objects.filter(candidate=eve).update(embedding=moved)
        assert named(enrol(organisation, make_candidate(organisation), 1)) == ["ada"]
        assert list(ProtectedTemplate.objects.get(candidate=eve).embedding) == pytest.approx(list(good), abs=1e-6)

    @pytest.mark.parametrize("change", ["truncated", "swapped"])
    def test_a_sealed_template_that_does_not_open_accuses_nobody(self, organisation: Organisation, change: str) -> None:
        search(organisation)
        ada, eve = make_candidate(organisation, "ada"), make_candidate(organisation, "eve")
        enrol(organisation, ada, 1)
        enrol(organisation, eve, 2)
        sealed = {row.candidate_id: bytes(row.ciphertext) for row in FaceTemplate.objects.all()}
        broken = sealed[ada.pk][:-1] if change == "truncated" else sealed[eve.pk]
        FaceTemplate.objects.filter(candidate=ada).update(ciphertext=broken)
        assert named(enrol(organisation, make_candidate(organisation), 1)) == []

    def test_a_row_of_another_gallery_is_no_row_of_this_one(self, organisation: Organisation) -> None:
        other = make_organisation()
        for each in (organisation, other):
            search(each)
            enrol(each, make_candidate(each), 1)
        theirs = gallery_current(organisation=other, model=MODEL)
        stolen = ProtectedTemplate.objects.get(gallery=theirs)
        own = ProtectedTemplate.objects.get(organisation=organisation)
        ProtectedTemplate.objects.filter(pk=own.pk).update(embedding=stolen.embedding)
        assert named(enrol(organisation, make_candidate(organisation), 1)) == []


@pytest.mark.django_db(transaction=True)
def test_of_two_enrolments_of_one_face_at_once_the_second_finds_the_first() -> None:
    organisation = make_organisation()
    search(organisation)
    barrier, found = threading.Barrier(4), list[Found]()

    def go() -> None:
        candidate = make_candidate(organisation)
        barrier.wait()
        found.append(enrol(organisation, candidate, 1))
        connection.close()

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(each.duplicates) for each in found) == [0, 1, 2, 3]


@pytest.mark.django_db
class TestErasure:
    def test_protected_templates_and_suspicions_go_with_the_candidate(
        self, client: APIClient, organisation: Organisation
    ) -> None:
        search(organisation)
        for name in ("ada", "bob"):
            enrol(organisation, make_candidate(organisation, name), 1)
        erased = client.delete("/api/v1/enroll/ada").json()["erased"]
        assert [erased[kind] for kind in ("data_keys", "protected_templates", "templates", "suspicions")] == [1] * 4
        assert [str(row.candidate) for row in ProtectedTemplate.objects.all()] == ["bob"]
        assert not DuplicateSuspicion.objects.exists()
        assert named(enrol(organisation, make_candidate(organisation), 1)) == ["bob"]

    def test_somebody_who_was_refused_can_be_erased_too(self, client: APIClient, organisation: Organisation) -> None:
        search(organisation, Mode.REFUSE)
        for name in ("ada", "bob"):
            enrol(organisation, make_candidate(organisation, name), 1)
        assert client.delete("/api/v1/enroll/bob").json()["erased"]["suspicions"] == 1


@pytest.mark.django_db
def test_who_has_withdrawn_consent_is_not_compared_with_until_they_consent_again(organisation: Organisation) -> None:
    search(organisation)
    ada = make_candidate(organisation, "ada")
    enrol(organisation, ada, 1)
    consent_withdraw(candidate=ada, actor=SYSTEM)
    assert named(enrol(organisation, make_candidate(organisation, "bob"), 1)) == []
    galleries_keep(organisation=organisation)
    assert not ProtectedTemplate.objects.filter(candidate=ada).exists()
    make_consent(ada)
    galleries_keep(organisation=organisation)
    assert sorted(named(enrol(organisation, make_candidate(organisation), 1))) == ["ada", "bob"]


@pytest.mark.django_db
@pytest.mark.usefixtures("embedding_worker")
class TestOverREST:
    """With real pictures and a real worker."""

    def enroll(self, client: APIClient, candidate_id: str, *images: bytes) -> Any:
        body = {
            "candidate_id": candidate_id,
            "images": [base64.b64encode(image).decode() for image in images],
            "consent": {"version": "2026-01", "given_at": timezone.now().isoformat(), "locale": "en"},
        }
        return client.post("/api/v1/enroll", body, format="json")

    def test_the_platform_is_told_whom_the_face_resembles(
        self, client: APIClient, organisation: Organisation, photographs: dict[str, bytes]
    ) -> None:
        search(organisation)
        assert self.enroll(client, "ada", photographs["a_1"]).json()["duplicates"] == []
        assert self.enroll(client, "carol", photographs["c_1"]).json()["duplicates"] == []
        response = self.enroll(client, "bob", photographs["a_2"])
        assert response.status_code == 201
        (duplicate,) = response.json()["duplicates"]
        assert (duplicate["candidate_id"], duplicate["decision"]) == ("ada", "open")
        assert 0.75 <= duplicate["similarity"] <= 1
        for name, other in (("ada", "bob"), ("bob", "ada")):
            assert [each["candidate_id"] for each in client.get(f"/api/v1/enroll/{name}").json()["duplicates"]] == [
                other
            ]

    def test_where_it_is_refused_nothing_is_enrolled_until_a_person_has_decided(
        self, client: APIClient, organisation: Organisation, photographs: dict[str, bytes]
    ) -> None:
        search(organisation, Mode.REFUSE)
        self.enroll(client, "ada", photographs["a_1"])
        refused = self.enroll(client, "bob", photographs["a_2"])
        assert (refused.status_code, refused.json()["code"]) == (409, "duplicate_suspected")
        assert [each["candidate_id"] for each in refused.json()["duplicates"]] == ["ada"]
        assert client.get("/api/v1/enroll/bob").json()["code"] == "not_enrolled"
        DuplicateSuspicion.objects.update(decision=Decision.DIFFERENT)
        assert self.enroll(client, "bob", photographs["a_2"]).status_code == 201

    @pytest.mark.parametrize("mode", [Mode.REPORT, Mode.REFUSE])
    def test_the_candidates_page_is_not_told_who_it_is(
        self, client: APIClient, organisation: Organisation, photographs: dict[str, bytes], mode: str
    ) -> None:
        search(organisation, mode)
        self.enroll(client, "ada", photographs["a_1"])
        session = ExamSession.objects.create(
            organisation=organisation,
            session_id="s-1",
            candidate=make_candidate(organisation, "bob"),
            policy=make_session(organisation).policy,
            planned_end_at=timezone.now() + timedelta(hours=1),
            enroll_on_join=True,
        )
        page = APIClient(HTTP_AUTHORIZATION=f"Bearer {join_token_mint(session)}")
        encoded = base64.b64encode(photographs["a_2"]).decode()
        consent = {"version": "1", "given_at": timezone.now().isoformat(), "locale": "en"}
        body = {"images": [encoded], "consent": consent}
        response = page.post(f"/api/v1/session/{session.id}/enroll", body, format="json")
        expected = {Mode.REPORT: (201, None), Mode.REFUSE: (409, "duplicate_suspected")}[Mode(mode)]
        assert (response.status_code, response.json().get("code")) == expected
        assert "ada" not in json.dumps(response.json())
        assert "duplicates" not in response.json()
        assert DuplicateSuspicion.objects.get().other.candidate_id == "ada"


@pytest.mark.django_db
class TestAdmin:
    def page(self, organisation: Organisation, *permissions: str) -> Client:
        client = Client()
        client.force_login(make_user(organisation, permissions=list(permissions)))
        return client

    def test_a_person_decides_and_that_is_written_down(self, organisation: Organisation) -> None:
        search(organisation)
        for name in ("ada", "bob"):
            enrol(organisation, make_candidate(organisation, name), 1)
        (suspicion,) = DuplicateSuspicion.objects.all()
        page = self.page(organisation, "view_duplicatesuspicion", "change_duplicatesuspicion")
        address = reverse("admin:enrollment_duplicatesuspicion_changelist")
        assert b"bob" in page.get(address).content
        page.post(address, {"action": "two_people", "_selected_action": [suspicion.pk]})
        suspicion.refresh_from_db()
        assert suspicion.decision == Decision.DIFFERENT
        assert suspicion.decided_by is not None
        entry = AuditEntry.objects.get(organisation=organisation, action="duplicate.decided")
        assert "bob" not in json.dumps([entry.subject, entry.details])

    def test_who_may_only_look_cannot_decide(self, organisation: Organisation) -> None:
        search(organisation)
        for name in ("ada", "bob"):
            enrol(organisation, make_candidate(organisation, name), 1)
        (suspicion,) = DuplicateSuspicion.objects.all()
        page = self.page(organisation, "view_duplicatesuspicion")
        address = reverse("admin:enrollment_duplicatesuspicion_changelist")
        page.post(address, {"action": "two_people", "_selected_action": [suspicion.pk]})
        suspicion.refresh_from_db()
        assert suspicion.decision == Decision.OPEN

    def test_it_is_switched_on_for_the_own_organisation_and_written_down(self, organisation: Organisation) -> None:
        page = self.page(organisation, "view_duplicatesearch", "add_duplicatesearch", "change_duplicatesearch")
        response = page.post(
            reverse("admin:enrollment_duplicatesearch_add"), {"mode": "report", "similarity_from": "0.98"}
        )
        assert response.status_code == 302
        assert DuplicateSearch.objects.get().organisation == organisation
        entry = AuditEntry.objects.get(organisation=organisation, action="duplicate_search.changed")
        assert entry.details == {"mode": "report", "similarity_from": 0.98}

    def test_there_is_one_setting_and_no_second_is_offered(self, organisation: Organisation) -> None:
        page = self.page(organisation, "view_duplicatesearch", "add_duplicatesearch")
        address = reverse("admin:enrollment_duplicatesearch_add")
        assert page.get(address).status_code == 200
        search(organisation)
        assert page.get(address).status_code == 403

    def test_a_similarity_that_half_the_strangers_would_reach_is_refused(self, organisation: Organisation) -> None:
        page = self.page(organisation, "view_duplicatesearch", "add_duplicatesearch")
        address = reverse("admin:enrollment_duplicatesearch_add")
        assert page.post(address, {"mode": "report", "similarity_from": "0.1"}).status_code == 200
        assert not DuplicateSearch.objects.exists()
