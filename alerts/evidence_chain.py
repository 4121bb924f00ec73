"""Chain the pictures of a session, so that it shows when one was removed, changed, or slipped in between.

Each row's MAC covers what it says and the MAC before it, under the organisation's ``evidence`` key; the chain's end is
sealed. What retention or an erasure removed leaves its row with the hash behind, and the chain holds.
"""

from __future__ import annotations

import hashlib
import hmac
import json

from accounts.models import Organisation, OrganisationKey
from accounts.own_keys import own_key, own_key_bytes
from alerts.models import Evidence, EvidenceChain

_PURPOSE = OrganisationKey.Purpose.EVIDENCE


def chain_append(row: Evidence, *, organisation: Organisation) -> None:
    """Store a new row as the last of its session's chain, which stays locked until the caller's transaction ends.

    A seal that did not hold stays as it is: going on must not make it good.
    """
    key = own_key(organisation=organisation, purpose=_PURPOSE)
    _, is_new = EvidenceChain.objects.get_or_create(
        session_id=row.session_id, defaults={"organisation": organisation, "key_version": key.version}
    )
    chain = EvidenceChain.objects.select_for_update().get(session_id=row.session_id)
    secret = own_key_bytes(key if key.version == chain.key_version else chain_key(chain))
    holds = is_new or hmac.compare_digest(chain_seal(chain, key=secret), bytes(chain.seal))
    row.chain_index = chain.length + 1
    row.chain_mac = row_mac(row, before=bytes(chain.mac), key=secret)
    row.save(force_insert=True)
    chain.length, chain.mac = row.chain_index, row.chain_mac
    if holds:
        chain.seal = chain_seal(chain, key=secret)
    chain.save(update_fields=["length", "mac", "seal"])


def chain_key(chain: EvidenceChain) -> OrganisationKey:
    """Return the key that a chain was made with; raise ``DoesNotExist`` when it is gone."""
    return OrganisationKey.objects.get(
        organisation_id=chain.organisation_id, purpose=_PURPOSE, version=chain.key_version
    )


def row_mac(row: Evidence, *, before: bytes, key: bytes) -> bytes:
    """Return the MAC of a row that follows the one whose MAC is ``before``."""
    told = [
        str(row.id),
        str(row.session_id),
        str(row.incident_id),
        row.chain_index,
        row.frame_id,
        row.captured_at.timestamp(),
        row.content_type,
        row.sha256,
    ]
    return hmac.digest(key, before + json.dumps(told).encode(), hashlib.sha256)


def chain_seal(chain: EvidenceChain, *, key: bytes) -> bytes:
    """Return the seal over the end of a chain."""
    told = f"end\0{chain.session_id}\0{chain.length}\0".encode()
    return hmac.digest(key, told + bytes(chain.mac), hashlib.sha256)
