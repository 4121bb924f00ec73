"""PostgreSQL with pgvector, and Valkey, out of Python wheels: for development, tests and small installations.

``python -m proctor_site.embedded -- COMMAND…`` starts what ``DATABASE_URL`` and ``REDIS_URL`` leave open, runs the
command with the addresses in its environment, and stops everything with it. ``--kafka`` adds a broker in memory.
"""

from proctor_site.embedded.errors import EmbeddedError
from proctor_site.embedded.services import Services

__all__ = ["EmbeddedError", "Services"]
