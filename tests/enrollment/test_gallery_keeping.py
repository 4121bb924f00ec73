"""New search keys and templates that lack protection: nothing is lost, whoever enrols, whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from io import StringIO
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction

from accounts.models import AuditEntry, Organisation, OrganisationKey
from enrollment.duplicates import Probe, duplicates_find, enrolled_protect, search_lock, search_prepare
from enrollment.galleries import SEARCH_KEY, gallery_transform, partition_name
from enrollment.gallery_keeping import galleries_keep, galleries_sweep, lacking, search_rotation_begin
from enrollment.models import Candidate, DuplicateSearch, FaceTemplate, Gallery, ProtectedTemplate
from enrollment.templates import template_load
from enrollment.transform import protect
from tests.factories import (
    MODEL,
    make_candidate,
    make_embedding,
    make_enrolled_candidate,
    make_organisation,
    make_template,
)

TEMPLATES = 1500
KILLS = 2


@pytest.fixture
def organisation(db: None) -> Organisation:
    """Return an organisation that searches for duplicates."""
    organisation = make_organisation()
    DuplicateSearch.objects.create(organisation=organisation, mode=DuplicateSearch.Mode.REPORT)
    return organisation


def enrol(organisation: Organisation, seed: int) -> Candidate:
    """Enrol as ``candidate_enroll`` does once the pictures are read."""
    probe = Probe(make_embedding(seed), MODEL, 1.0)
    search_prepare(organisation=organisation, probe=probe)
    with transaction.atomic():
        setting = search_lock(organisation)
        candidate = make_candidate(organisation)
        found = duplicates_find(setting=setting, candidate=candidate, probe=probe)
        make_template(candidate, probe.embedding)
        enrolled_protect(candidate=candidate, found=found, probe=probe)
    return candidate


def require_all_protected(organisation: Organisation) -> int:
    """Compare every sealed template with its protected one, of which there is one, under the only key; count them."""
    (key,) = OrganisationKey.objects.filter(organisation=organisation, purpose=SEARCH_KEY)
    (gallery,) = Gallery.objects.filter(organisation=organisation)
    assert gallery.key == key
    rows = dict(ProtectedTemplate.objects.filter(gallery=gallery).values_list("candidate_id", "embedding"))
    candidates = Candidate.objects.filter(organisation=organisation).select_related("data_key", "face_template")
    transform = gallery_transform(gallery)
    for candidate in candidates:
        template = template_load(candidate)
        assert template is not None
        assert np.abs(protect(template, transform) - np.asarray(rows.pop(candidate.pk))).max() < 1e-6
    assert not rows
    return len(candidates)


def told(*arguments: str) -> str:
    output = StringIO()
    call_command("keys", *arguments, stdout=output, stderr=output)
    return output.getvalue()


def test_templates_from_before_the_search_was_switched_on_are_protected(organisation: Organisation) -> None:
    for seed in range(5):
        make_enrolled_candidate(organisation, embedding=make_embedding(seed))
    assert galleries_keep(organisation=organisation).protected == 5
    assert require_all_protected(organisation) == 5
    assert galleries_keep(organisation=organisation).protected == 0


def test_a_call_that_may_do_only_some_leaves_the_others_to_the_next(organisation: Organisation) -> None:
    for seed in range(5):
        make_enrolled_candidate(organisation, embedding=make_embedding(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enrollment.gallery_keeping.BATCH", 2)
        assert [galleries_keep(organisation=organisation, most=2).protected for _ in range(4)] == [2, 2, 1, 0]


def test_templates_of_two_models_go_to_two_galleries(organisation: Organisation) -> None:
    short, long = (make_enrolled_candidate(organisation) for _ in range(2))
    vector = np.random.default_rng(1).normal(size=512).astype(np.float32)
    make_template(long, vector / np.linalg.norm(vector))
    FaceTemplate.objects.filter(candidate=long).update(model="long")
    assert galleries_keep(organisation=organisation).protected == 2
    found = ProtectedTemplate.objects.values_list("candidate_id", "gallery__model", "gallery__dimensions")
    assert sorted(found) == sorted([(short.pk, MODEL, 128), (long.pk, "long", 512)])


@pytest.mark.django_db(transaction=True)
class TestRotation:
    def test_afterwards_all_are_under_a_new_key_and_the_old_table_is_gone(self, organisation: Organisation) -> None:
        for seed in range(5):
            enrol(organisation, seed)
        (old,) = Gallery.objects.filter(organisation=organisation)
        before = {row.candidate_id: np.asarray(row.embedding) for row in ProtectedTemplate.objects.all()}
        assert "protected 5 templates under version 2" in told("rotate", "--search")
        assert require_all_protected(organisation) == 5
        assert partition_name(old) not in connection.introspection.table_names()
        cosines = [
            float(before[row.candidate_id] @ np.asarray(row.embedding)) for row in ProtectedTemplate.objects.all()
        ]
        assert max(map(abs, cosines)) < 0.5
        entry = AuditEntry.objects.get(organisation=organisation, action="search_key.rotated")
        assert entry.details == {"version": 2, "templates": 5}

    def test_between_the_two_everybody_is_found(self, organisation: Organisation) -> None:
        known = {seed: enrol(organisation, seed) for seed in range(4)}
        search_rotation_begin(organisation=organisation)
        newcomer = enrol(organisation, 9)
        again = enrol(organisation, 2), enrol(organisation, 9)
        assert {(found.candidate_id, found.other_id) for found in again_suspected(organisation)} == {
            (again[0].pk, known[2].pk),
            (again[1].pk, newcomer.pk),
        }

    def test_a_template_that_does_not_open_keeps_the_old_key_and_is_named(self, organisation: Organisation) -> None:
        good, bad = enrol(organisation, 1), enrol(organisation, 2)
        row = FaceTemplate.objects.get(candidate=bad)
        FaceTemplate.objects.filter(pk=row.pk).update(ciphertext=bytes(row.ciphertext)[:-1])
        with pytest.raises(CommandError, match="older keys stay"):
            told("rotate", "--search")
        assert list(lacking(organisation, newest(organisation))) == [bad]
        assert Gallery.objects.filter(organisation=organisation).count() == 2
        make_template(bad, make_embedding(3))
        told("rotate", "--search")
        assert require_all_protected(organisation) == 2
        assert newest(organisation).version == 2
        assert good.pk

    def test_the_sweep_finishes_what_was_broken_off(self, organisation: Organisation) -> None:
        enrol(organisation, 1)
        search_rotation_begin(organisation=organisation)
        galleries_sweep(most=100)
        assert require_all_protected(organisation) == 1

    def test_the_sweep_drops_the_galleries_of_who_searches_no_more(self, organisation: Organisation) -> None:
        enrol(organisation, 1)
        DuplicateSearch.objects.update(mode=DuplicateSearch.Mode.OFF)
        galleries_sweep(most=100)
        assert not ProtectedTemplate.objects.exists()
        assert not Gallery.objects.exists()
        assert not OrganisationKey.objects.filter(purpose=SEARCH_KEY).exists()

    def test_an_organisation_that_does_not_search_is_named(self) -> None:
        with pytest.raises(CommandError, match="'nobody'"):
            told("rotate", "--search", "--organisation", "nobody")

    def test_status_tells_what_is_protected_and_what_is_left(self, organisation: Organisation) -> None:
        enrol(organisation, 1)
        make_enrolled_candidate(organisation)
        lines = told("status")
        assert f"search key of {organisation.slug}, version 1: protects 1 of {MODEL}" in lines
        assert "1 templates are still to be protected" in lines


@pytest.mark.timeout(600)
@pytest.mark.django_db(transaction=True)
def test_killed_again_and_again_while_candidates_enrol_the_rotation_loses_none(organisation: Organisation) -> None:
    for seed in range(TEMPLATES):
        make_enrolled_candidate(organisation, embedding=make_embedding(seed))
    galleries_keep(organisation=organisation)
    stop, made, failed = threading.Event(), list[Candidate](), list[BaseException]()

    def go_on() -> None:
        try:
            while not stop.is_set():
                made.append(enrol(organisation, TEMPLATES + len(made)))
                time.sleep(0.02)
        except BaseException as error:  # noqa: BLE001  # told below
            failed.append(error)
        finally:
            connection.close()

    enrolling = threading.Thread(target=go_on)
    enrolling.start()
    killed, process = 0, None
    try:
        for _ in range(30):
            process = rotation()
            began = under_newest(organisation)
            while process.poll() is None and (killed >= KILLS or under_newest(organisation) < began + 200):
                time.sleep(0.02)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
            if process.wait() == 0:
                break
    finally:
        stop.set()
        enrolling.join()
    assert process is not None
    assert process.returncode == 0
    assert not failed
    assert killed == KILLS
    assert len(made) > 10
    assert newest(organisation).version == 2
    assert require_all_protected(organisation) == TEMPLATES + len(made)


def rotation() -> subprocess.Popen[bytes]:
    name = connection.settings_dict["NAME"]
    url = urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
    command = [sys.executable, "manage.py", "keys", "rotate", "--search"]
    return subprocess.Popen(command, env=os.environ | {"DATABASE_URL": url})


def newest(organisation: Organisation) -> OrganisationKey:
    return OrganisationKey.objects.filter(organisation=organisation, purpose=SEARCH_KEY).latest("version")


def under_newest(organisation: Organisation) -> int:
    """Count what the rotation has brought under its key, before and after it has begun."""
    key = newest(organisation)
    return ProtectedTemplate.objects.filter(gallery__key=key).count() if key.version > 1 else 0


def again_suspected(organisation: Organisation) -> Any:
    return organisation.duplicate_suspicions.all()
