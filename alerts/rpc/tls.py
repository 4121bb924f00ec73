"""The server's certificate, and whose certificates clients must show. Changed files count from the next handshake."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates

logger = logging.getLogger(__name__)


class TLSFilesError(Exception):
    """Certificate files that are missing or cannot be used; the message names the setting."""


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """PEM files. With ``client_ca`` only clients with a certificate of that authority may connect (mTLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a server listens with; raise ``TLSFilesError`` when the files cannot be used."""
        latest = _Latest(self)
        return grpc.dynamic_ssl_server_credentials(
            latest.read(),
            latest.changed,  # type: ignore[arg-type]  # None: nothing new, as gRPC documents
            require_client_authentication=self.client_ca is not None,
        )


class _Latest:
    """Follows the files: gRPC asks at each handshake."""

    def __init__(self, files: TLSFiles) -> None:
        self._files = files
        self._read: tuple[bytes, ...] = ()

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Read and check the files."""
        self._read = key, certificate, *authorities = self._contents()
        return grpc.ssl_server_certificate_configuration([(key, certificate)], *authorities)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new configuration, or None when nothing changed or what is there cannot be used."""
        try:
            return self.read() if self._contents() != self._read else None
        except TLSFilesError as error:
            logger.error("The alert stream keeps its certificate: %s", error)
            return None

    def _contents(self) -> tuple[bytes, ...]:
        key = _bytes("GRPC_TLS_KEY", self._files.key)
        certificate = _bytes("GRPC_TLS_CERTIFICATE", self._files.certificate)
        try:
            private = load_pem_private_key(key, password=None)
        except (ValueError, TypeError) as error:
            raise TLSFilesError(f"GRPC_TLS_KEY is no private key in PEM form without a password: {error}") from None
        ours, *_ = _certificates("GRPC_TLS_CERTIFICATE", certificate)
        if ours.public_key() != private.public_key():  # also while both are being renewed, one after the other
            raise TLSFilesError("GRPC_TLS_KEY is not the key of the first certificate in GRPC_TLS_CERTIFICATE.")
        if self._files.client_ca is None:
            return key, certificate
        authority = _bytes("GRPC_TLS_CLIENT_CA", self._files.client_ca)
        _certificates("GRPC_TLS_CLIENT_CA", authority)
        return key, certificate, authority


def _bytes(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TLSFilesError(f"{setting} cannot be read: {error}") from None


def _certificates(setting: str, pem: bytes) -> list[Certificate]:
    try:
        return load_pem_x509_certificates(pem)
    except ValueError as error:
        raise TLSFilesError(f"{setting} holds no certificate in PEM form: {error}") from None
