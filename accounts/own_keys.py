"""Secrets of an organisation's own, one per purpose and version, made at first need."""

from __future__ import annotations

import secrets
import uuid
from typing import Final

from django.db import transaction

from accounts.keys import KEY_BYTES, key_id_of, open_secret, seal_secret
from accounts.models import Organisation, OrganisationKey

PURPOSE_OWN_KEY: Final = "accounts.OrganisationKey.wrapped_key"


def own_key(*, organisation: Organisation, purpose: OrganisationKey.Purpose) -> OrganisationKey:
    """Return the key in use for ``purpose``: the highest version, made at first need."""
    found = _latest(organisation, purpose)
    return found if found is not None else own_key_renew(organisation=organisation, purpose=purpose, after=None)


def own_key_renew(
    *, organisation: Organisation, purpose: OrganisationKey.Purpose, after: OrganisationKey | None
) -> OrganisationKey:
    """Make the version that follows ``after``; where another process was faster, return the one it made."""
    with transaction.atomic():
        Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
        latest = _latest(organisation, purpose)
        if latest != after and latest is not None:
            return latest
        key_id = uuid.uuid4()
        wrapped = seal_secret(secrets.token_bytes(KEY_BYTES), purpose=PURPOSE_OWN_KEY, row=str(key_id))
        return OrganisationKey.objects.create(
            id=key_id,
            organisation=organisation,
            purpose=purpose,
            version=latest.version + 1 if latest else 1,
            wrapped_key=wrapped,
            kek_id=key_id_of(wrapped),
        )


def own_key_bytes(key: OrganisationKey) -> bytes:
    """Unwrap the 32 bytes of a key; raise ``accounts.keys.SealError`` when they do not open."""
    return open_secret(key.wrapped_key, purpose=PURPOSE_OWN_KEY, row=str(key.id))


def _latest(organisation: Organisation, purpose: OrganisationKey.Purpose) -> OrganisationKey | None:
    return OrganisationKey.objects.filter(organisation=organisation, purpose=purpose).order_by("-version").first()
