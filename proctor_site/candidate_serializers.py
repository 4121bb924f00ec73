"""The shapes of what is said about a whole candidate."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from enrollment.models import Erasure


class ErasedSerializer(serializers.Serializer[Any]):
    """What an erasure removed, and the signed receipt of it."""

    receipt_id = serializers.UUIDField()
    candidate_id = serializers.CharField()
    kind = serializers.ChoiceField(choices=Erasure.Kind.choices)
    erased_at = serializers.DateTimeField()
    erased = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="How much of each kind is gone, such as `templates` or `detections`.",
    )
    receipt = serializers.CharField(
        help_text="The same as a JWS, signed with ed25519. Its header's `kid` names the key at `/api/v1/receipt-keys/`."
    )


class ReceiptKeySerializer(serializers.Serializer[Any]):
    """A public key as a JWK (RFC 8037)."""

    kty = serializers.CharField()
    crv = serializers.CharField()
    use = serializers.CharField()
    alg = serializers.CharField()
    kid = serializers.CharField()
    x = serializers.CharField()
