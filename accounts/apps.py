"""The lowest app: who asks, with which key, and which keys seal what is stored."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import worker_init
from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules

from accounts.weak_keys import weak_keys

logger = logging.getLogger(__name__)


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        """Refuse to start with key-encryption keys that cannot be used."""
        # Models are there only now; schema and the checks register themselves.
        from accounts import deployment_checks, keys, limits, roles, schema  # noqa: F401
        from accounts.sign_in import second_factor, told

        keys.key_ring()
        _refuse_weak_keys()
        autodiscover_modules("sealed_columns")
        second_factor.required_parse(settings.REQUIRE_SECOND_FACTOR)
        told.connect()
        for name in settings.RATE_LIMITS:
            limits.rate_parse(name)
        post_migrate.connect(roles.roles_write, dispatch_uid="accounts.roles")
        worker_init.connect(_refuse_wrong_keys, dispatch_uid="accounts.keys", weak=False)


def _refuse_weak_keys() -> None:
    """Start with keys that could be guessed only where somebody is debugging, and then say so."""
    for name, fault in weak_keys():
        if not settings.DEBUG:
            raise ImproperlyConfigured(f"{name} {fault}. `python -m accounts.generate_keys` makes good ones.")
        logger.warning("%s %s: nowhere but on a developer's machine.", name, fault)


def _refuse_wrong_keys(**_: Any) -> None:
    """Stop a worker whose keys are not those of this database, as the web process does."""
    try:
        keys_verify_at_start()
    except ImproperlyConfigured as error:
        raise SystemExit(str(error)) from None  # Celery logs any other exception and starts nevertheless


def keys_verify_at_start() -> None:
    """Raise ``ImproperlyConfigured`` when the keys do not fit the database.

    If the database or the keys' service is away, they are checked later: before the first value is sealed, so that
    nothing is ever sealed under a wrong key.
    """
    from accounts.keys import KeyServiceError, keys_verify

    try:
        keys_verify()
    except (DatabaseError, KeyServiceError) as error:
        logger.warning("The key-encryption keys could not be checked against the database yet: %s", error)
