"""Read settings from the environment, from ``.env``, and from the embedded services that run in this directory.

The first that names a variable wins. A missing or malformed one is named in the error.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from environ import Env

from media_gateway import metrics_directory
from media_gateway.redis_address import redis_address
from proctor_site.embedded.run_directory import ENVIRONMENT_FILE, read_assignments

BASE_DIR = Path(__file__).resolve().parent.parent
NEEDED = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "JOIN_TOKEN_KEY", "KEY_ENCRYPTION_KEYS")


class ProctorEnv(Env):  # type: ignore[misc]  # django-environ ships no types
    """django-environ, with secrets also readable from the file that ``NAME_FILE`` names."""

    def required(self, name: str) -> str:
        """Return the variable ``name``, or the content of the file ``NAME_FILE`` names; raise if neither is set."""
        value = self.optional(name)
        if not value:
            raise ImproperlyConfigured(
                f"{name} is not set. Set it in the environment or in .env; .env.example describes it."
            )
        return value

    def optional(self, name: str) -> str:
        """Return the variable ``name``, or the content of the file ``NAME_FILE`` names; empty if neither is set."""
        path = os.environ.get(f"{name}_FILE")
        try:
            return Path(path).read_text().strip() if path else str(self.str(name, default=""))
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE names a file that cannot be read: {error}") from error

    def optional_json(self, name: str) -> Any:
        """Return what the JSON in ``name``, or in the file of ``NAME_FILE``, says; None if neither is set."""
        text = self.optional(name)
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise ImproperlyConfigured(f"{name} is not JSON: {error}") from error

    def redis(self, name: str, *, ca: str) -> str:
        """Return the address of Redis in ``name`` or in the file of ``NAME_FILE``, with the TLS it asks for."""
        try:
            return redis_address(self.required(name), ca=ca)
        except ValueError as error:
            raise ImproperlyConfigured(f"{name} cannot be used: {error}.") from error

    def database(self, name: str) -> dict[str, Any]:
        """Return Django's description of the database whose address is in ``name`` or in the file of ``NAME_FILE``."""
        return dict(self.db_url_config(self.required(name)))


def read_files(base: Path) -> None:
    """Add to the environment what ``.env`` and a running ``make run`` say and it does not hold."""
    ProctorEnv.read_env(base / ".env")
    running = base / "var" / "run" / ENVIRONMENT_FILE
    if os.access(running, os.R_OK) and not all(os.environ.get(name) for name in NEEDED):
        os.environ.update({k: v for k, v in read_assignments(running).items() if not os.environ.get(k)})
    metrics_directory.prepare()


read_files(BASE_DIR)
env = ProctorEnv()
