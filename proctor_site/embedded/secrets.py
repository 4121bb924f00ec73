"""Generate the secrets of an embedded installation once, and keep them in a file of this user alone."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from pathlib import Path

from proctor_site.embedded.run_directory import read_assignments, write_private


def _key_encryption_keys() -> str:
    """Return one key-encryption key in the form ``id:base64 of 32 bytes``."""
    return f"local1:{base64.b64encode(secrets.token_bytes(32)).decode()}"


GENERATORS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(50),
    "JOIN_TOKEN_KEY": lambda: secrets.token_urlsafe(48),
    "KEY_ENCRYPTION_KEYS": _key_encryption_keys,
    "EMBEDDED_POSTGRES_PASSWORD": lambda: secrets.token_urlsafe(24),
    "EMBEDDED_VALKEY_PASSWORD": lambda: secrets.token_urlsafe(24),
}


def load_secrets(path: Path) -> dict[str, str]:
    """Return the secrets kept in ``path``; those not there yet are generated and added."""
    kept = read_assignments(path)
    missing = {name: generate() for name, generate in GENERATORS.items() if name not in kept}
    if missing:
        kept |= missing
        write_private(path, "".join(f"{name}={value}\n" for name, value in kept.items()))
    return kept
