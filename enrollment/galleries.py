"""Protected templates in the database: one gallery per organisation, version of its search key, and model.

Each gallery is a partition of its own with an HNSW index of its own, so that a search meets nobody else's templates,
needs no filter that would make it miss some, and a gallery goes by dropping its table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet
from numpy.typing import NDArray

from accounts.models import Organisation, OrganisationKey
from accounts.own_keys import own_key, own_key_bytes
from enrollment.models import Candidate, Gallery, ProtectedTemplate
from enrollment.transform import Matrix, protect, transform_cached

TABLE: Final = "enrollment_protectedtemplate"
SEARCH_KEY: Final = OrganisationKey.Purpose.SEARCH
NEAREST: Final = 20
"""How many templates a search looks at closely."""
_LINKS: Final = 32
_CONSTRUCTION_EFFORT: Final = 200
_SEARCH_EFFORT: Final = 360
"""HNSW's m, ef_construction and ef_search; ``benchmarks.duplicates`` measures what they find, and how fast."""
_SPARE: Final = 20
"""So many more are compared exactly: the index has them rounded, and may swap neighbours about as near."""
_LOCK_TIMEOUT_MS: Final = 5000
"""Attaching and dropping wait for running enrolments, and new ones wait behind it."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A protected template near a probe. ``score``: their cosine, which is that of the embeddings."""

    candidate_pk: int
    score: float


# --- Galleries --------------------------------------------------------------------------------------------------------
def gallery_current(*, organisation: Organisation, model: str) -> Gallery | None:
    """Return the gallery under the newest search key; None when there is none for the model."""
    return _of_model(organisation, model).order_by("-key__version").first()


def gallery_ensure(*, organisation: Organisation, model: str, dimensions: int) -> Gallery:
    """Return the current gallery, made at first need: in a transaction of its own, before any that enrols."""
    key = own_key(organisation=organisation, purpose=SEARCH_KEY)
    found = Gallery.objects.filter(key=key, model=model).first()
    return found or gallery_create(key=key, model=model, dimensions=dimensions)


def gallery_create(*, key: OrganisationKey, model: str, dimensions: int) -> Gallery:
    """Make the gallery of a key and a model with its table and index, unless another process has."""
    with transaction.atomic(), connection.cursor() as cursor:
        _lock_briefly(cursor)
        Organisation.objects.select_for_update(no_key=True).get(pk=key.organisation_id)
        gallery, made = Gallery.objects.get_or_create(
            key=key, model=model, defaults={"organisation_id": key.organisation_id, "dimensions": dimensions}
        )
        if made:
            _partition_create(cursor, gallery)
    return gallery


def gallery_drop(gallery: Gallery) -> None:
    """Remove a gallery with all its templates."""
    with transaction.atomic(), connection.cursor() as cursor:
        _lock_briefly(cursor)
        cursor.execute(f"DROP TABLE IF EXISTS {partition_name(gallery)}")
        gallery.delete()


def galleries_drop(organisation: Organisation) -> int:
    """Remove all galleries of an organisation and the keys they were under; return how many there were."""
    galleries = list(Gallery.objects.filter(organisation=organisation))
    for gallery in galleries:
        gallery_drop(gallery)
    OrganisationKey.objects.filter(organisation=organisation, purpose=SEARCH_KEY).delete()
    return len(galleries)


def partition_name(gallery: Gallery) -> str:
    """Name the table of a gallery."""
    return f"{TABLE}_g{gallery.pk:d}"


# S608, everywhere below: names of tables and numbers are made here; neither can be a parameter.
def _partition_create(cursor: CursorWrapper, gallery: Gallery) -> None:
    name = partition_name(gallery)
    cursor.execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    cursor.execute(f"ALTER TABLE {name} ADD CHECK (vector_dims(embedding) = {gallery.dimensions:d})")
    index_create(cursor, gallery)
    cursor.execute(f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES IN ({gallery.pk:d})")


def index_create(cursor: CursorWrapper, gallery: Gallery) -> None:
    """Build the gallery's HNSW index over what its table holds."""
    cursor.execute(
        f"CREATE INDEX {partition_name(gallery)}_hnsw ON {partition_name(gallery)} "
        f"USING hnsw (({_halved(gallery)}) halfvec_ip_ops) "
        f"WITH (m = {_LINKS}, ef_construction = {_CONSTRUCTION_EFFORT})"
    )


def _halved(gallery: Gallery) -> str:
    """Return what the index holds: 16 bits a number make it smaller than the table, and searching it quicker."""
    return f"embedding::halfvec({gallery.dimensions:d})"


def _lock_briefly(cursor: CursorWrapper) -> None:
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [str(_LOCK_TIMEOUT_MS)])


def _of_model(organisation: Organisation, model: str) -> QuerySet[Gallery]:
    return Gallery.objects.filter(organisation=organisation, model=model).select_related("key")


# --- Templates --------------------------------------------------------------------------------------------------------
def gallery_transform(gallery: Gallery) -> Matrix:
    """Return the secret rotation of a gallery; raise ``accounts.keys.SealError`` when its key does not open."""
    return transform_cached(own_key_bytes(gallery.key), model=gallery.model, dimensions=gallery.dimensions)


def templates_protect(gallery: Gallery, embeddings: dict[int, NDArray[np.float32]]) -> None:
    """Put the candidates' embeddings, by primary key, into the gallery in the place of what is there of them."""
    if not embeddings:
        return
    protected = protect(np.stack(list(embeddings.values())), gallery_transform(gallery))
    ProtectedTemplate.objects.bulk_create(
        (
            ProtectedTemplate(
                organisation_id=gallery.organisation_id, gallery=gallery, candidate_id=candidate, embedding=vector
            )
            for candidate, vector in zip(embeddings, protected, strict=True)
        ),
        update_conflicts=True,
        unique_fields=["gallery", "candidate"],
        update_fields=["embedding"],
    )


def candidate_protect(candidate: Candidate, *, gallery: Gallery, embedding: NDArray[np.float32]) -> None:
    """Put the candidate's template into ``gallery``, and out of every other one."""
    ProtectedTemplate.objects.filter(candidate=candidate).exclude(gallery=gallery).delete()
    templates_protect(gallery, {candidate.pk: embedding})


def candidate_unprotect(candidate: Candidate) -> int:
    """Remove the candidate's protected templates; return how many there were."""
    removed, _ = ProtectedTemplate.objects.filter(candidate=candidate).delete()
    return removed


# --- Search -----------------------------------------------------------------------------------------------------------
def neighbours(
    *, organisation: Organisation, model: str, probe: NDArray[np.float32], count: int = NEAREST
) -> list[Neighbour]:
    """Return the organisation's ``count`` templates of this model that are nearest to ``probe``, nearest first.

    While a rotation is under way a candidate may lie in the old gallery, the new one, or both. Runs in the caller's
    transaction, whose settings for HNSW it sets.
    """
    nearest: dict[int, float] = {}
    for gallery in _of_model(organisation, model):
        for found in gallery_search(gallery, protect(probe, gallery_transform(gallery)), count):
            nearest[found.candidate_pk] = max(found.score, nearest.get(found.candidate_pk, -1.0))
    ranked = sorted(nearest.items(), key=lambda item: -item[1])
    return [Neighbour(candidate_pk, score) for candidate_pk, score in ranked[:count]]


def gallery_search(gallery: Gallery, protected_probe: NDArray[np.float32], count: int) -> list[Neighbour]:
    """Return the gallery's ``count`` templates nearest to a probe that is under its transform, nearest first."""
    with connection.cursor() as cursor:
        cursor.execute(  # both statements at once: they are one transaction, also where the caller has begun none
            f"""
            SELECT set_config('hnsw.ef_search', %(effort)s, true),
                   set_config('hnsw.iterative_scan', 'strict_order', true);
            WITH near AS MATERIALIZED (
                SELECT candidate_id, embedding FROM {TABLE} WHERE gallery_id = {gallery.pk:d}
                ORDER BY {_halved(gallery)} <#> %(probe)s::halfvec LIMIT %(near)s
            )
            SELECT candidate_id, embedding <#> %(probe)s::vector AS negative FROM near
            ORDER BY negative LIMIT %(count)s
            """,  # noqa: S608
            {
                "effort": str(_SEARCH_EFFORT),
                "probe": str(protected_probe.tolist()),
                "near": count + _SPARE,
                "count": count,
            },
        )
        return [Neighbour(candidate_pk, -negative) for candidate_pk, negative in cursor.fetchall()]
