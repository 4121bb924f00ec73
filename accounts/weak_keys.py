"""Keys that somebody could guess: those of examples, short ones, and patterns."""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Iterator
from typing import Final

from django.conf import settings

MIN_SECRET_CHARACTERS: Final = 50
"""What Django's own check asks of a SECRET_KEY (security.W009)."""
MIN_TOKEN_KEY_BYTES: Final = 32  # RFC 7518, 3.2
_MIN_DIFFERENT: Final = 10
"""Of 32 random bytes or characters of base64, more are different all but certainly; of what people write, rarely."""
_EXAMPLES: Final = ("django-insecure", "changeme", "change-me", "change_me", "replace-me", "replaceme")


def weak_keys() -> Iterator[tuple[str, str]]:
    """Yield the name of each setting that holds a weak key, and what is wrong with it. Never the key."""
    yield from _weak("SECRET_KEY", settings.SECRET_KEY, at_least=MIN_SECRET_CHARACTERS)
    yield from _weak("JOIN_TOKEN_KEY", settings.JOIN_TOKEN_KEY, at_least=MIN_TOKEN_KEY_BYTES)
    if settings.SECRET_KEY == settings.JOIN_TOKEN_KEY:
        yield "JOIN_TOKEN_KEY", "is the same as SECRET_KEY, which the gateway has no business to know"
    for entry in filter(None, (part.strip() for part in settings.KEY_ENCRYPTION_KEYS.split(","))):
        key_id, _, encoded = entry.partition(":")
        if _is_pattern(encoded):
            yield "KEY_ENCRYPTION_KEYS", f"has a key '{key_id}' that is a pattern, not random"


def _weak(name: str, value: str, *, at_least: int) -> Iterator[tuple[str, str]]:
    if len(value.encode()) < at_least:
        yield name, f"has {len(value.encode())} bytes; it needs at least {at_least}"
    elif any(word in value.lower() for word in _EXAMPLES):
        yield name, "looks like the placeholder of an example"
    elif len(set(value)) < _MIN_DIFFERENT:
        yield name, "repeats itself: it is not random"


def _is_pattern(encoded: str) -> bool:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False  # KeyRing says what is wrong with it
    steps = {(after - before) % 256 for before, after in itertools.pairwise(key)}
    return len(set(key)) < _MIN_DIFFERENT or len(steps) == 1
