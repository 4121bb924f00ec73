"""Keep galleries as they should be: every sealed template protected under the newest search key, older keys gone.

What is left to do is what the tables lack; nothing else is remembered. So this goes on where a killed process was, and
several may work at once while candidates enrol.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from numpy.typing import NDArray

from accounts.keys import SealError
from accounts.models import Organisation, OrganisationKey
from accounts.own_keys import own_key, own_key_renew
from enrollment.duplicates import search_lock
from enrollment.galleries import SEARCH_KEY, galleries_drop, gallery_create, gallery_drop, templates_protect
from enrollment.models import Candidate, Consent, DuplicateSearch, Gallery, ProtectedTemplate
from enrollment.templates import template_load

logger = logging.getLogger(__name__)

BATCH: Final = 200
"""Candidates per transaction: as long as that, one of them who enrols may wait."""
_LOCKED_PAUSE_S: Final = 0.05


@dataclass(slots=True)
class Kept:
    """What was done. ``unreadable``: primary keys of candidates whose sealed template does not open."""

    protected: int = 0
    unreadable: list[int] = field(default_factory=list)
    retired: int = 0


def galleries_keep(*, organisation: Organisation, most: int | None = None) -> Kept:
    """Protect what lacks under the newest search key; when nothing does, drop the galleries of older ones.

    ``most``: about how many templates to protect in this call at most. While one does not open, the older galleries
    stay. Raises ``KeyServiceError`` when a key cannot be asked.
    """
    done = Kept()
    key = own_key(organisation=organisation, purpose=SEARCH_KEY)
    while _fill(organisation, key, done, most):
        if done.unreadable:
            return done
        if (retired := _retire_older(organisation, key)) is not None:
            done.retired = retired
            return done
    return done


def search_rotation_begin(*, organisation: Organisation) -> OrganisationKey:
    """Return the key to bring all templates under: a new one, or the newest while an earlier rotation is unfinished.

    Key and galleries appear together, so that whoever enrols finds a gallery under the newest key.
    """
    with transaction.atomic():
        Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
        key = own_key(organisation=organisation, purpose=SEARCH_KEY)
        current = list(Gallery.objects.filter(key=key))
        if Gallery.objects.filter(organisation=organisation).exclude(key=key).exists():
            return key
        new = own_key_renew(organisation=organisation, purpose=SEARCH_KEY, after=key)
        for gallery in current:
            gallery_create(key=new, model=gallery.model, dimensions=gallery.dimensions)
    return new


def galleries_sweep(*, most: int) -> None:
    """Keep the galleries of all organisations that search, and drop those of the others; ``most`` as above."""
    active = DuplicateSearch.objects.active().values("organisation")
    for organisation in Organisation.objects.filter(pk__in=active):
        done = galleries_keep(organisation=organisation, most=most)
        if done.unreadable:
            logger.error("Sealed templates of organisation %s do not open, in rows %s.", organisation, done.unreadable)
    for organisation in Organisation.objects.filter(galleries__isnull=False).exclude(pk__in=active).distinct():
        with transaction.atomic():
            if search_lock(organisation) is None:  # nobody has switched it on again meanwhile
                logger.info("Dropped %s galleries of %s.", galleries_drop(organisation), organisation)


def lacking(organisation: Organisation, key: OrganisationKey) -> QuerySet[Candidate]:
    """Return the candidates who consent, and whose sealed template is not protected under ``key``."""
    there = ProtectedTemplate.objects.filter(
        candidate=OuterRef("pk"), gallery__key=key, gallery__model=OuterRef("face_template__model")
    )
    consents = Consent.objects.filter(candidate=OuterRef("pk"), withdrawn_at=None)
    enrolled = Candidate.objects.filter(Exists(consents), organisation=organisation, face_template__isnull=False)
    return enrolled.filter(~Exists(there)).order_by("pk")


def _fill(organisation: Organisation, key: OrganisationKey, done: Kept, most: int | None) -> bool:
    """Protect until nothing readable lacks; False when ``most`` came first."""
    while (waiting := lacking(organisation, key).exclude(pk__in=done.unreadable)).exists():
        _galleries_for(waiting, key, done)
        after = 0
        while (last := _fill_batch(organisation, key, after, done)) is not None:
            after = last
            if most is not None and done.protected >= most:
                return False
        if not after:
            time.sleep(_LOCKED_PAUSE_S)  # all that is left are candidates who are enrolling at this moment
    return True


def _galleries_for(waiting: QuerySet[Candidate], key: OrganisationKey, done: Kept) -> None:
    """Make the galleries that the waiting templates need; the first that opens tells how many numbers a model gives."""
    there = Gallery.objects.filter(key=key).values("model")
    without = waiting.exclude(face_template__model__in=there)
    while (candidate := _with_templates(without.exclude(pk__in=done.unreadable)).first()) is not None:
        template = _readable(candidate, done)
        if template is not None:
            gallery_create(key=key, model=candidate.face_template.model, dimensions=template.size)


def _fill_batch(organisation: Organisation, key: OrganisationKey, after: int, done: Kept) -> int | None:
    """Protect the next templates; return the last candidate's primary key, None when there is none that is free."""
    with transaction.atomic():
        waiting = lacking(organisation, key).filter(pk__gt=after).exclude(pk__in=done.unreadable)
        locked = waiting.select_for_update(of=("self",), no_key=True, skip_locked=True)
        chosen = list(locked.values_list("pk", flat=True)[:BATCH])
        # Asked again now that they are locked: somebody may have enrolled anew in between.
        still = _with_templates(lacking(organisation, key).filter(pk__in=chosen))
        _protect_all(key, still, done)
    return chosen[-1] if chosen else None


def _protect_all(key: OrganisationKey, candidates: Collection[Candidate] | QuerySet[Candidate], done: Kept) -> None:
    galleries = {gallery.model: gallery for gallery in Gallery.objects.filter(key=key).select_related("key")}
    by_model: defaultdict[str, dict[int, NDArray[np.float32]]] = defaultdict(dict)
    for candidate in candidates:
        gallery = galleries.get(candidate.face_template.model)
        template = _readable(candidate, done) if gallery is not None else None
        if gallery is not None and template is not None:
            by_model[gallery.model][candidate.pk] = template
    for model, embeddings in by_model.items():
        templates_protect(galleries[model], embeddings)
        done.protected += len(embeddings)


def _readable(candidate: Candidate, done: Kept) -> NDArray[np.float32] | None:
    try:
        template = template_load(candidate)
    except SealError:
        template = None
    if template is None:
        done.unreadable.append(candidate.pk)
    return template


def _with_templates(candidates: QuerySet[Candidate]) -> QuerySet[Candidate]:
    return candidates.select_related("data_key", "face_template")


def _retire_older(organisation: Organisation, key: OrganisationKey) -> int | None:
    """Drop galleries and keys older than ``key``; return how many galleries, None when something lacks after all."""
    with transaction.atomic():
        search_lock(organisation)  # waits for whoever enrols under an older key at this moment
        if lacking(organisation, key).exists():
            return None
        older = OrganisationKey.objects.filter(organisation=organisation, purpose=SEARCH_KEY, version__lt=key.version)
        galleries = list(Gallery.objects.filter(key__in=older))
        for gallery in galleries:
            gallery_drop(gallery)
        older.delete()
    return len(galleries)
