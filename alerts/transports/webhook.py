"""Webhooks as Standard Webhooks 1.0 wants them: a signed POST of which only a 2xx answer is success."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from alerts import addresses, guarded, signing
from alerts.outgoing import EXCERPT_BYTES, Answer, Outgoing, Result, TransportError, in_order, timed

MAX_BATCH = 8
SECRETS = frozenset(signing.Kind)
_UNWRITABLE = re.compile(r"[\x00-\x20\x7f<>\"\\^`{|}]")
"""What a URL never holds unescaped (RFC 3986)."""
USER_AGENT = "SD-Proctor-Webhook/1.0"
GONE = 410
SLOW_DOWN = (429, 502, 503, 504)
"""Answers whose ``Retry-After`` is heeded."""
BODY_BYTES = 20_000
"""Standard Webhooks wants bodies to be small; pictures travel as links."""
CALL_BUDGET_S = 15.0
"""No further alert of a call is begun after this time; with the last one it stays within the lease."""
_TOO_SLOW = "No complete answer in time."


def check(address: str) -> None:
    """Raise ``AddressRefusedError`` unless the address is an http(s) URL of a host that alerts may go to.

    A name that does not resolve now passes: that may be over before the first alert.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise addresses.AddressRefusedError(f"The address cannot be read: {error}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise addresses.AddressRefusedError("The address must be http:// or https:// and name a host.")
    if _UNWRITABLE.search(address) or not address.isprintable():
        raise addresses.AddressRefusedError("The address holds a character that a URL must escape, such as a space.")
    if port == 0:
        raise addresses.AddressRefusedError("The address names port 0, on which nobody listens.")
    if parts.username is not None or parts.password is not None:
        raise addresses.AddressRefusedError("The address must not carry a user name or password.")
    try:
        addresses.resolve(addresses.host_in_ascii(parts.hostname), port or 443, timeout_s=guarded.CONNECT_TIMEOUT_S)
    except addresses.NameUnresolvedError:
        return


def send(messages: Sequence[Outgoing]) -> list[Result]:
    """POST the alerts one after the other; only a 2xx answer is success.

    What the time of the call does not suffice for is held, and so is everything once the subscriber seems to be away.
    """
    until = time.monotonic() + CALL_BUDGET_S
    stopped = ""

    def send_one(message: Outgoing) -> Result:
        nonlocal stopped
        if not stopped and time.monotonic() > until:
            stopped = "There was no time left."
        if stopped:
            return TransportError(stopped, held=True)
        result = _post(message)
        if isinstance(result, TransportError) and (result.is_outage or result.gone):
            stopped = "The subscriber seems to be away."
        return result

    return in_order(messages, send_one)


def _post(message: Outgoing) -> Result:
    """POST one alert; once more where a connection that was kept alive turned out to be closed.

    Takes at most twice ``guarded.TOTAL_TIMEOUT_S``, and the time to resolve the name, however slowly the other side
    trickles.
    """
    if len(message.body) > BODY_BYTES:
        return TransportError(f"The alert is larger than {BODY_BYTES} bytes.", permanent=True)
    started = time.monotonic()
    result = _exchange(message) or _exchange(message) or TransportError("The connection was closed.")
    return timed(result, time.monotonic() - started)


def _exchange(message: Outgoing) -> Result | None:
    """Send once; None when a kept connection was closed before a word came back, which tells nothing of the alert."""
    timestamp = int(time.time())
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": USER_AGENT,
        "webhook-id": message.event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.signatures(
            message.secrets, event_id=message.event_id, timestamp=timestamp, body=message.body
        ),
    }
    with guarded.exchange() as (session, exchange):
        try:
            with session.post(
                message.address,
                data=message.body,
                headers=headers,
                timeout=(guarded.CONNECT_TIMEOUT_S, guarded.READ_TIMEOUT_S),
                allow_redirects=False,
                stream=True,
            ) as response:
                if exchange.is_over:  # it broke off within the headers, which the HTTP library takes for their end
                    return TransportError(_TOO_SLOW)
                return _judge(response)
        except addresses.AddressRefusedError as error:
            return TransportError(str(error))
        except (requests.RequestException, HTTPError, OSError) as error:
            if exchange.is_over:
                return TransportError(_TOO_SLOW)
            if exchange.is_reused and isinstance(_cause(error), ConnectionError):
                return None
            return TransportError(_describe(error))


def _judge(response: requests.Response) -> Result:
    status = response.status_code
    excerpt = _excerpt(response)
    if 200 <= status < 300:
        return Answer(status, excerpt)
    return TransportError(
        f"The subscriber answered {status}.", permanent=status == GONE, gone=status == GONE,
        retry_after_s=_retry_after_s(response) if status in SLOW_DOWN else None, status_code=status, excerpt=excerpt,
    )  # fmt: skip


def _retry_after_s(response: requests.Response) -> float | None:
    """Read how long the subscriber wants to be left alone: seconds, or a date; None when it says nothing of use."""
    given = response.headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit():
        return float(given[:9])
    try:
        moment = parsedate_to_datetime(given)
    except ValueError:
        return None
    return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time())


def _excerpt(response: requests.Response) -> str:
    """Read the start of the answer. The status has decided already: a body that breaks off changes nothing.

    An answer that ends there leaves the connection to the next alert; of a longer one nothing more is read.
    """
    try:
        start = response.raw.read(EXCERPT_BYTES + 1)
    except (requests.RequestException, HTTPError, OSError):
        start = b""
    return bytes(start or b"")[:EXCERPT_BYTES].decode("utf-8", "replace").replace("\x00", "\ufffd")


def _cause(error: BaseException) -> BaseException:
    """Return the innermost cause that urllib3 and requests wrap."""
    inner = getattr(error, "reason", None) or next((arg for arg in error.args if isinstance(arg, BaseException)), None)
    return _cause(inner) if isinstance(inner, BaseException) else error


def _describe(error: Exception) -> str:
    """Say in a line what went wrong."""
    cause = _cause(error)
    return f"{type(cause).__name__}: {cause}"[:500]
