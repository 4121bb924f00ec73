"""A key-encryption key that HashiCorp Vault or OpenBao holds: the transit engine, over its HTTP API.

Vault is asked to wrap 32 bytes and never sees what they seal: each value is sealed here, under a fresh key, and that
key travels. A wrapped value is::

    length of Vault's ciphertext (2 bytes) | Vault's ciphertext (``vault:v1:…``) | nonce | ciphertext and tag

Both the fresh key and the value are bound to the associated data.
"""

from __future__ import annotations

import base64
import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import requests
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from accounts.kek import KEY_BYTES, KeyServiceError, LocalKey, SealError

TIMEOUT_S: Final = 5.0
_LENGTH_BYTES: Final = 2
_TOO_MANY_REQUESTS: Final = 429


@dataclass(frozen=True, slots=True, repr=False)
class VaultKey:
    """The transit key named ``key_id`` at ``address`` (``https://host:port``) under ``mount``.

    ``token`` may be empty where an agent adds it. ``token_file`` is read for every request: whoever keeps the token
    alive writes it there. ``ca_file``: whom to trust instead of the well-known authorities.
    """

    key_id: str
    address: str
    mount: str
    token: str = ""
    token_file: str = ""
    namespace: str = ""
    ca_file: str = ""

    def wrap(self, plaintext: bytes, associated_data: bytes) -> bytes:
        fresh = secrets.token_bytes(KEY_BYTES)
        answer = self._ask("encrypt", {"plaintext": _encode(fresh), "associated_data": _encode(associated_data)})
        wrapped = self._member(answer, "ciphertext").encode()
        return len(wrapped).to_bytes(_LENGTH_BYTES, "big") + wrapped + LocalKey(fresh).wrap(plaintext, associated_data)

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        end = _LENGTH_BYTES + int.from_bytes(wrapped[:_LENGTH_BYTES], "big")
        ciphertext = wrapped[_LENGTH_BYTES:end]
        if len(wrapped) < end or not ciphertext.isascii():
            raise SealError("The sealed value is truncated.")
        asked = {"ciphertext": ciphertext.decode(), "associated_data": _encode(associated_data)}
        fresh = base64.b64decode(self._member(self._ask("decrypt", asked), "plaintext"))
        if len(fresh) != KEY_BYTES:
            raise SealError(f"Vault opened the value under '{self.key_id}' to something that is no key.")
        return LocalKey(fresh).unwrap(wrapped[end:], associated_data)

    def _ask(self, operation: str, body: dict[str, str]) -> Any:
        url = f"{self.address.rstrip('/')}/v1/{self.mount.strip('/')}/{operation}/{quote(self.key_id, safe='')}"
        try:
            # Redirects would carry the token elsewhere. No session: its sockets would be shared by forked workers.
            response = requests.post(
                url,
                json=body,
                headers=self._headers(),
                timeout=TIMEOUT_S,
                verify=self.ca_file or True,
                allow_redirects=False,
            )
        except (OSError, requests.RequestException) as error:
            raise KeyServiceError(
                f"Vault cannot be asked for the key '{self.key_id}': {type(error).__name__}.", temporary=True
            ) from error
        if not response.ok or response.is_redirect:
            raise self._refusal(operation, response)
        return _json(response)

    def _headers(self) -> dict[str, str]:
        token = Path(self.token_file).read_text().strip() if self.token_file else self.token
        given = {"X-Vault-Token": token, "X-Vault-Namespace": self.namespace}
        return {"X-Vault-Request": "true"} | {name: value for name, value in given.items() if value}

    def _refusal(self, operation: str, response: requests.Response) -> Exception:
        status, body = response.status_code, _json(response)
        errors = body.get("errors") if isinstance(body, dict) else None
        reason = "; ".join(map(str, errors)) if errors else response.reason
        if operation == "decrypt" and status == requests.codes.bad_request:
            return SealError(f"Vault does not open the value under the key '{self.key_id}': {reason}.")
        temporary = status >= requests.codes.internal_server_error or status == _TOO_MANY_REQUESTS
        return KeyServiceError(f"Vault refuses the key '{self.key_id}': {status} {reason}.", temporary=temporary)

    def _member(self, answer: Any, name: str) -> str:
        data = answer.get("data") if isinstance(answer, dict) else None
        member = data.get(name) if isinstance(data, dict) else None
        if not isinstance(member, str):
            raise KeyServiceError(
                f"What answers at VAULT_ADDR for the key '{self.key_id}' is not Vault.", temporary=False
            )
        return member


def vault_key(key_id: str) -> VaultKey:
    """Return the transit key of that name, as the settings say; raise ``ImproperlyConfigured`` naming what is wrong."""
    address = urlsplit(settings.VAULT_ADDR)
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise ImproperlyConfigured(f"KEY_ENCRYPTION_KEYS: the key '{key_id}' is Vault's; VAULT_ADDR must be its URL.")
    if address.scheme == "http" and not _is_loopback(address.hostname):
        raise ImproperlyConfigured("VAULT_ADDR must begin with https:// unless an agent on this machine answers.")
    return VaultKey(
        key_id=key_id,
        address=settings.VAULT_ADDR,
        mount=settings.VAULT_TRANSIT_MOUNT,
        token=settings.VAULT_TOKEN,
        token_file=settings.VAULT_TOKEN_FILE,
        namespace=settings.VAULT_NAMESPACE,
        ca_file=settings.VAULT_CACERT,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
