"""Read settings from the environment and from ``.env``; a missing or malformed one is named in the error."""

from __future__ import annotations

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from environ import Env

_ENV_FILE = Path(__file__).resolve().parent.parent / ".env"


class ProctorEnv(Env):  # type: ignore[misc]  # django-environ ships no types
    """django-environ, with secrets also readable from the file that ``NAME_FILE`` names."""

    def required(self, name: str) -> str:
        """Return the variable ``name``, or the content of the file ``NAME_FILE`` names; raise if neither is set."""
        path = os.environ.get(f"{name}_FILE")
        value = Path(path).read_text().strip() if path else str(self.str(name, default=""))
        if not value:
            raise ImproperlyConfigured(
                f"{name} is not set. Set it in the environment or in .env; .env.example describes it."
            )
        return value


ProctorEnv.read_env(_ENV_FILE)
env = ProctorEnv()
