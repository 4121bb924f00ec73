"""Print fresh secrets for ``.env``: ``python -m accounts.generate_keys >> .env``.

It is no ``manage.py`` command, because without these secrets the settings do not load.
"""

from __future__ import annotations

import base64
import secrets
import sys
from datetime import UTC, datetime


def lines() -> list[str]:
    """Return the lines; the key-encryption key is named after the month, so that a later one has another name."""
    key_id = datetime.now(UTC).strftime("k%Y%m")
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    return [
        f"SECRET_KEY={secrets.token_urlsafe(50)}",
        f"JOIN_TOKEN_KEY={secrets.token_urlsafe(32)}",
        f"KEY_ENCRYPTION_KEYS={key_id}:{key}",
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
