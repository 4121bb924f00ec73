"""Sign receipts so that whoever holds one can prove it: JWS with an ed25519 key of the organisation's own.

The same claims always give the same receipt: ed25519 draws nothing at random. The public key of each is served as a
JWK (RFC 8037) under the key's id, which the receipt's header names.
"""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from accounts.models import Organisation, OrganisationKey
from accounts.own_keys import own_key, own_key_bytes
from accounts.problems import Problem

ALGORITHM: Final = "EdDSA"
TYPE: Final = "erasure-receipt+jws"


def receipt_sign(*, organisation: Organisation, claims: dict[str, Any]) -> str:
    """Return ``claims`` as a compact JWS; raise ``accounts.keys.SealError`` when the key does not open."""
    key = own_key(organisation=organisation, purpose=OrganisationKey.Purpose.RECEIPTS)
    payload = json.dumps(claims, separators=(",", ":"), sort_keys=True).encode()
    headers = {"kid": str(key.id), "typ": TYPE}
    return jwt.api_jws.encode(payload, _private(key), algorithm=ALGORITHM, headers=headers)


def receipt_read(receipt: str, *, unverified: bool = False) -> dict[str, Any]:
    """Return what a receipt claims.

    Raises ``jwt.InvalidTokenError`` when it is none or was not signed with the key that it names, and ``Problem``
    (``receipt_key_unknown``) when that key is not here; then ``unverified`` believes it all the same.
    """
    name = jwt.get_unverified_header(receipt).get("kid", "")
    try:
        jwk = receipt_key(uuid.UUID(name))
    except (ValueError, AttributeError, TypeError):
        raise jwt.InvalidTokenError("The receipt names no key.") from None
    except Problem:
        if not unverified:
            raise
        return jwt.decode(receipt, options={"verify_signature": False})
    return jwt.decode(receipt, jwt.PyJWK(jwk), algorithms=[ALGORITHM], options={"verify_aud": False})


def receipt_key(key_id: uuid.UUID) -> dict[str, str]:
    """Return the public key that receipts name by ``key_id``, as a JWK.

    Raises ``Problem`` (``receipt_key_unknown``); keys for other purposes are none of these.
    """
    key = OrganisationKey.objects.filter(id=key_id, purpose=OrganisationKey.Purpose.RECEIPTS).first()
    if key is None:
        raise Problem("receipt_key_unknown", f"No receipt was signed with a key {key_id}.")
    public = _private(key).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = base64.urlsafe_b64encode(public).decode().rstrip("=")
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": ALGORITHM, "kid": str(key.id), "x": x}


def _private(key: OrganisationKey) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(own_key_bytes(key))
