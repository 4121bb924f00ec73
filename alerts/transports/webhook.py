"""Webhooks as Standard Webhooks 1.0 wants them: a signed POST of which only a 2xx answer is success."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from alerts import addresses, guarded
from alerts.outgoing import EXCERPT_BYTES, Answer, Outgoing, Result, TransportError, in_order

MAX_BATCH = 8
HAS_SECRET = True
SECRET_PREFIX = "whsec_"  # noqa: S105  # a name, not a secret
SECRET_BYTES = (24, 64)
"""Fewest and most random bytes of a secret."""
_UNWRITABLE = re.compile(r"[\x00-\x20\x7f<>\"\\^`{|}]")
"""What a URL never holds unescaped (RFC 3986)."""
USER_AGENT = "SD-Proctor-Webhook/1.0"
GONE = 410
_TOO_SLOW = "No complete answer in time."


class SecretInvalidError(ValueError):
    """A secret that is not ``whsec_`` followed by the base64 of 24 to 64 bytes."""


def secret_create() -> str:
    """Return a fresh secret of 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secret_bytes(secret: str) -> bytes:
    """Return the key inside a secret; raise ``SecretInvalidError`` when it has the wrong shape."""
    if not secret.startswith(SECRET_PREFIX):
        raise SecretInvalidError(f"A secret starts with {SECRET_PREFIX}.")
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise SecretInvalidError(f"What follows {SECRET_PREFIX} must be base64.") from None
    fewest, most = SECRET_BYTES
    if not fewest <= len(key) <= most:
        raise SecretInvalidError(f"A secret holds {fewest} to {most} bytes; this one holds {len(key)}.")
    return key


def sign(*, event_id: str, timestamp: int, body: bytes, key: bytes) -> str:
    """Return the ``webhook-signature`` of ``id.timestamp.body``: ``v1,`` and the base64 of its HMAC-SHA256."""
    signed = b".".join((event_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def check(address: str) -> None:
    """Raise ``AddressRefusedError`` unless the address is an http(s) URL of a host that alerts may go to.

    A name that does not resolve now passes: that may be over before the first alert.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise addresses.AddressRefusedError(f"The address cannot be read: {error}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or _UNWRITABLE.search(address):
        raise addresses.AddressRefusedError("The address must be http:// or https:// and name a host.")
    if parts.username is not None or parts.password is not None:
        raise addresses.AddressRefusedError("The address must not carry a user name or password.")
    try:
        addresses.resolve(parts.hostname, port or 443, timeout_s=guarded.CONNECT_TIMEOUT_S)
    except addresses.NameUnresolvedError:
        return


def send(messages: Sequence[Outgoing]) -> list[Result]:
    """POST the alerts one after the other; only a 2xx answer is success."""
    return in_order(messages, _send_one)


def _send_one(message: Outgoing) -> Result:
    """POST one alert.

    Takes at most ``guarded.TOTAL_TIMEOUT_S`` and the time to resolve the name, however slowly the other side trickles.
    """
    timestamp = int(time.time())
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": USER_AGENT,
        "webhook-id": message.event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            sign(event_id=message.event_id, timestamp=timestamp, body=message.body, key=secret_bytes(secret))
            for secret in message.secrets
        ),
    }
    with guarded.guarded_session() as (session, exchange):
        try:
            with _post(session, message, headers) as response:
                if exchange.is_over:  # it broke off within the headers, which the HTTP library takes for their end
                    return TransportError(_TOO_SLOW)
                return _judge(response)
        except addresses.AddressRefusedError as error:
            return TransportError(str(error))
        except (requests.RequestException, HTTPError, OSError) as error:
            return TransportError(_TOO_SLOW if exchange.is_over else _describe(error))


def _post(session: requests.Session, message: Outgoing, headers: dict[str, str]) -> requests.Response:
    return session.post(
        message.address,
        data=message.body,
        headers=headers,
        timeout=(guarded.CONNECT_TIMEOUT_S, guarded.READ_TIMEOUT_S),
        allow_redirects=False,
        stream=True,
    )


def _judge(response: requests.Response) -> Result:
    status = response.status_code
    excerpt = _excerpt(response)
    if 200 <= status < 300:
        return Answer(status, excerpt)
    return TransportError(
        f"The subscriber answered {status}.", permanent=status == GONE, gone=status == GONE,
        status_code=status, excerpt=excerpt,
    )  # fmt: skip


def _excerpt(response: requests.Response) -> str:
    """Read the start of the answer. The status has decided already: a body that breaks off changes nothing."""
    try:
        start = response.raw.read(EXCERPT_BYTES)
    except (requests.RequestException, HTTPError, OSError):
        return ""
    return bytes(start or b"").decode("utf-8", "replace").replace("\x00", "\ufffd")


def _describe(error: Exception) -> str:
    """Say in a line what went wrong, from the innermost cause that urllib3 and requests wrap."""
    cause: BaseException = error
    while (inner := getattr(cause, "reason", None) or (cause.args[0] if cause.args else None)) is not None:
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return f"{type(cause).__name__}: {cause}"[:500]
