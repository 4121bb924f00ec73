"""Protected templates: found as the plain ones would be, and in no other organisation's gallery."""

from __future__ import annotations

import numpy as np
import pytest
from django.db import DataError, IntegrityError, connection, transaction
from numpy.typing import NDArray

from accounts.models import Organisation, OrganisationKey
from enrollment import galleries
from enrollment.galleries import (
    SEARCH_KEY,
    candidate_protect,
    gallery_ensure,
    gallery_transform,
    neighbours,
    partition_name,
    templates_protect,
)
from enrollment.models import Candidate, Gallery, ProtectedTemplate
from enrollment.transform import protect, transform_derive
from tests.factories import MODEL, make_candidate, make_organisation

DIMENSIONS = 128
PINNED = [0.27498353405720577, -0.14634205814663725, 0.8531592403678769, 0.41843442567470773]


def faces(count: int, *, seed: int = 1) -> NDArray[np.float32]:
    """Return unit vectors, float32 ``(count, 128)``."""
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSIONS))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def gallery_of(organisation: Organisation, model: str = MODEL) -> Gallery:
    return gallery_ensure(organisation=organisation, model=model, dimensions=DIMENSIONS)


def filled(organisation: Organisation, embeddings: NDArray[np.float32]) -> dict[int, NDArray[np.float32]]:
    """Protect embeddings of as many new candidates; return them by the candidates' primary keys."""
    rows = Candidate.objects.bulk_create(
        Candidate(organisation=organisation, candidate_id=f"c-{number}") for number in range(len(embeddings))
    )
    known = {row.pk: embedding for row, embedding in zip(rows, embeddings, strict=True)}
    templates_protect(gallery_of(organisation), known)
    return known


class TestTransform:
    def test_no_cosine_changes_by_more_than_a_hundred_thousandth(self) -> None:
        plain = faces(400)
        protected = protect(plain, transform_derive(b"k" * 32, model=MODEL, dimensions=DIMENSIONS))
        assert np.abs(plain.astype(float) @ plain.T - protected.astype(float) @ protected.T).max() < 1e-6

    def test_it_is_the_same_for_the_same_key_and_no_other(self) -> None:
        one = transform_derive(b"k" * 32, model=MODEL, dimensions=DIMENSIONS)
        assert np.array_equal(one, transform_derive(b"k" * 32, model=MODEL, dimensions=DIMENSIONS))
        for other in (
            transform_derive(b"l" * 32, model=MODEL, dimensions=DIMENSIONS),
            transform_derive(b"k" * 32, model="another", dimensions=DIMENSIONS),
        ):
            assert np.abs(one - other).max() > 0.1

    def test_it_stays_what_it_was_when_the_galleries_were_made(self) -> None:
        """A change here would make every gallery useless: it needs another label, and new versions of the keys."""
        made = transform_derive(bytes(range(32)), model=MODEL, dimensions=4)
        assert np.abs(made @ made.T - np.eye(4)).max() < 1e-12
        assert made[0].tolist() == pytest.approx(PINNED, abs=1e-12)

    def test_templates_of_one_person_in_two_organisations_are_strangers(self) -> None:
        """Cosines of 2,000 people: spread like those of unrelated vectors, 1/√128, about a mean that two rotations
        have in common by chance, 0 with a deviation of 1/128."""
        people = faces(2000)
        ours, theirs = (
            protect(people, transform_derive(key * 32, model=MODEL, dimensions=DIMENSIONS)) for key in (b"a", b"b")
        )
        cosines = (ours * theirs).sum(axis=1)
        sigma = DIMENSIONS**-0.5
        assert abs(cosines.mean()) < 5 / DIMENSIONS
        assert cosines.std() == pytest.approx(sigma, rel=0.1)
        assert np.abs(cosines).max() < 5.5 * sigma


class TestKnownAttack:
    """Whoever reads the table and knows about as many faces as the embedding has numbers turns all of it back."""

    def recovered(self, known: int, noise: float) -> float:
        """Return the mean cosine of 200 other faces, turned back by orthogonal Procrustes from ``known`` pairs."""
        people, secret = faces(known + 200), transform_derive(b"s" * 32, model=MODEL, dimensions=DIMENSIONS)
        table = protect(people, secret).astype(float)
        rng = np.random.default_rng(3)
        guessed = people[:known] + noise * rng.normal(size=(known, DIMENSIONS)) / DIMENSIONS**0.5
        left, _, right = np.linalg.svd(table[:known].T @ guessed)
        turned_back = table[known:] @ (left @ right)
        return float((turned_back * people[known:]).sum(axis=1).mean())

    def test_with_128_exact_embeddings_it_is_complete(self) -> None:
        assert self.recovered(128, 0.0) > 0.9999

    def test_with_half_as_many_about_half_is_out_already(self) -> None:
        assert 0.3 < self.recovered(64, 0.0) < 0.7

    def test_with_other_photographs_of_those_people_it_takes_some_more(self) -> None:
        """At a noise of 1 another photograph has a cosine of 0.71 with the enrolled one."""
        assert self.recovered(128, 1.0) < 0.9 < self.recovered(512, 1.0)

    def test_without_known_faces_nothing_is_out(self) -> None:
        assert abs(self.recovered(0, 0.0)) < 0.1


@pytest.mark.django_db
class TestSearch:
    def test_it_finds_what_the_plain_templates_would_in_the_same_order(self) -> None:
        organisation = make_organisation()
        known = filled(organisation, faces(500))
        rows, plain = list(known), np.stack(list(known.values())).astype(float)
        for probe in faces(20, seed=2):
            scores = plain @ probe.astype(float)
            expected = [rows[at] for at in np.argsort(-scores)[:20]]
            found = neighbours(organisation=organisation, model=MODEL, probe=probe)
            assert [neighbour.candidate_pk for neighbour in found] == expected
            assert [neighbour.score for neighbour in found] == pytest.approx(sorted(scores)[:-21:-1], abs=1e-5)

    def test_the_index_finds_them_too(self) -> None:
        organisation = make_organisation()
        known = filled(organisation, faces(1500))
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
            cursor.execute(f"ANALYZE {partition_name(gallery_of(organisation))}")
            for pk, embedding in list(known.items())[:50]:
                (nearest,) = neighbours(organisation=organisation, model=MODEL, probe=embedding, count=1)
                assert (nearest.candidate_pk, nearest.score) == (pk, pytest.approx(1.0, abs=1e-5))
            gallery = gallery_of(organisation)
            cursor.execute(
                f"EXPLAIN SELECT 1 FROM {galleries.TABLE} WHERE gallery_id = {gallery.pk} "
                f"ORDER BY embedding::halfvec(128) <#> '{np.zeros(128).tolist()}'::halfvec LIMIT 1"
            )
            assert f"{partition_name(gallery)}_hnsw" in "".join(row[0] for row in cursor.fetchall())

    def test_another_organisations_templates_are_not_met(self) -> None:
        ours, theirs = make_organisation(), make_organisation()
        filled(ours, faces(5))
        filled(theirs, faces(5))
        found = neighbours(organisation=ours, model=MODEL, probe=faces(5)[0])
        own = set(Candidate.objects.filter(organisation=ours).values_list("pk", flat=True))
        assert {neighbour.candidate_pk for neighbour in found} == own

    def test_the_same_person_is_another_vector_elsewhere_and_under_another_version(self) -> None:
        stored = []
        for organisation in (make_organisation(), make_organisation()):
            filled(organisation, faces(1))
            stored.append(np.asarray(ProtectedTemplate.objects.get(organisation=organisation).embedding))
        assert abs(float(stored[0] @ stored[1])) < 0.5
        assert abs(float(stored[0] @ faces(1)[0])) < 0.5

    def test_templates_of_another_model_are_not_compared(self) -> None:
        organisation = make_organisation()
        candidate = make_candidate(organisation)
        candidate_protect(candidate, gallery=gallery_of(organisation, "another"), embedding=faces(1)[0])
        assert neighbours(organisation=organisation, model=MODEL, probe=faces(1)[0]) == []

    def test_a_model_with_more_numbers_has_a_gallery_of_its_own(self) -> None:
        organisation = make_organisation()
        long = np.random.default_rng(1).normal(size=512).astype(np.float32)
        long /= np.linalg.norm(long)
        candidate = make_candidate(organisation)
        gallery = gallery_ensure(organisation=organisation, model="long", dimensions=512)
        candidate_protect(candidate, gallery=gallery, embedding=long)
        (found,) = neighbours(organisation=organisation, model="long", probe=long)
        assert (found.candidate_pk, found.score) == (candidate.pk, pytest.approx(1.0, abs=1e-5))

    def test_a_new_template_takes_the_place_of_the_candidates_others(self) -> None:
        organisation = make_organisation()
        candidate = make_candidate(organisation)
        for model in ("another", MODEL, MODEL):
            candidate_protect(candidate, gallery=gallery_of(organisation, model), embedding=faces(1)[0])
        assert [row.gallery.model for row in ProtectedTemplate.objects.filter(candidate=candidate)] == [MODEL]


@pytest.mark.django_db
class TestGallery:
    def test_it_is_made_once(self) -> None:
        organisation = make_organisation()
        assert gallery_of(organisation) == gallery_of(organisation)
        assert OrganisationKey.objects.filter(organisation=organisation, purpose=SEARCH_KEY).count() == 1

    def test_it_takes_no_vector_of_another_length(self) -> None:
        gallery = gallery_of(make_organisation())
        candidate = make_candidate(gallery.organisation)
        with pytest.raises((DataError, IntegrityError)), transaction.atomic():
            ProtectedTemplate.objects.create(
                organisation=gallery.organisation, gallery=gallery, candidate=candidate, embedding=[1.0, 0.0]
            )

    def test_dropping_all_leaves_neither_table_nor_key(self) -> None:
        organisation = make_organisation()
        filled(organisation, faces(3))
        names = [partition_name(gallery) for gallery in Gallery.objects.filter(organisation=organisation)]
        connection.check_constraints()  # a table with foreign keys still to be checked cannot be dropped
        assert galleries.galleries_drop(organisation) == len(names) == 1
        assert not Gallery.objects.filter(organisation=organisation).exists()
        assert not OrganisationKey.objects.filter(organisation=organisation, purpose=SEARCH_KEY).exists()
        assert not set(names) & set(connection.introspection.table_names())

    def test_the_transform_belongs_to_its_key(self) -> None:
        one, other = gallery_of(make_organisation()), gallery_of(make_organisation())
        assert np.abs(gallery_transform(one) - gallery_transform(other)).max() > 0.1
