"""Serve the alert stream over gRPC until SIGTERM: the process ``stream`` of the Procfile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from accounts.apps import keys_verify_at_start
from alerts.rpc.server import Config, ListenError, serve
from alerts.rpc.tls import TLSFiles, TLSFilesError


class Command(BaseCommand):
    help = "Serve the alert stream over gRPC on GRPC_HOST:GRPC_PORT until a signal asks to stop."

    def handle(self, **options: Any) -> None:
        try:
            keys_verify_at_start()
            asyncio.run(serve(configured()))
        except (ListenError, TLSFilesError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from None


def configured() -> Config:
    """Return what the settings say; raise ``ImproperlyConfigured`` naming the one that is wrong."""
    if not 0 < settings.GRPC_PORT < 65536:
        raise ImproperlyConfigured(f"GRPC_PORT is {settings.GRPC_PORT}: the stream is switched off, or no such port.")
    if settings.GRPC_KEEPALIVE_S < 1 or settings.GRPC_MAX_STREAMS < 1:
        raise ImproperlyConfigured("GRPC_KEEPALIVE_S and GRPC_MAX_STREAMS must be 1 or more.")
    return Config(
        host=settings.GRPC_HOST,
        port=settings.GRPC_PORT,
        tls=_tls(settings.GRPC_TLS_CERTIFICATE, settings.GRPC_TLS_KEY, settings.GRPC_TLS_CLIENT_CA),
        keepalive_s=settings.GRPC_KEEPALIVE_S,
        max_streams=settings.GRPC_MAX_STREAMS,
    )


def _tls(certificate: str, key: str, client_ca: str) -> TLSFiles | None:
    if not any((certificate, key, client_ca)):
        return None
    if not (certificate and key):
        raise ImproperlyConfigured("For TLS set both GRPC_TLS_CERTIFICATE and GRPC_TLS_KEY.")
    return TLSFiles(Path(certificate), Path(key), Path(client_ca) if client_ca else None)
