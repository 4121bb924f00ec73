"""What a transport is given, what it returns and how it fails. Transports know this file and nothing of one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from alerts.signing import Kind

EXCERPT_BYTES = 1024
"""How much of an answer is read and kept."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One alert for one address. ``body`` and ``event_id`` are the same for every try.

    ``session_id`` is the platform's own name of the session: key and unit of order. ``timestamp`` is the alert's, ISO
    8601. ``secrets`` are those valid now, the newest first; empty where the transport has none.
    """

    event_id: str
    session_id: str
    event_type: str
    schema_version: str
    timestamp: str
    body: bytes
    address: str
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a subscriber that took the alert said: HTTP status and the start of the answer.

    ``duration_s`` is how long it took, where the transport can tell this alert from the others of its batch.
    """

    status_code: int | None
    excerpt: str
    duration_s: float | None = None


class TransportError(Exception):
    """An alert that was not taken.

    ``permanent``: trying again cannot help. ``gone``: the subscriber wants no more alerts at all. ``held``: it was not
    sent at all, for an earlier one of its session failed or the time of the call was over; that costs no attempt.
    ``retry_after_s``: the subscriber asked to be left alone so long. ``status_code`` and ``excerpt`` are those of the
    answer, when there was one; ``duration_s`` as in ``Answer``.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        gone: bool = False,
        held: bool = False,
        retry_after_s: float | None = None,
        status_code: int | None = None,
        excerpt: str = "",
        duration_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.gone = gone
        self.held = held
        self.retry_after_s = retry_after_s
        self.status_code = status_code
        self.excerpt = excerpt
        self.duration_s = duration_s

    @property
    def is_outage(self) -> bool:
        """Tell whether the subscriber seems to be away or overloaded, rather than to dislike this one alert."""
        refused = self.permanent or self.held or self.gone
        return not refused and (self.status_code is None or self.status_code >= 500 or self.status_code == 429)


Result = Answer | TransportError
"""What came of one alert."""


def timed(result: Result, duration_s: float) -> Result:
    """Return the result with how long it took."""
    if isinstance(result, Answer):
        return replace(result, duration_s=duration_s)
    result.duration_s = duration_s
    return result


class Transport(Protocol):
    """A way to deliver. ``check`` raises ``AddressRefusedError`` for an address that can never be delivered to.

    ``SECRETS`` are the kinds of secret that it has a use for.
    ``send`` takes up to ``MAX_BATCH`` alerts for one address, those of one session in their order, and returns what
    came of each in the same order. It raises for nothing that the subscriber did. After a failed alert the later ones
    of its session are not sent but returned as ``held``. It is called from several threads at once and returns within
    the lease (``alerts.delivery.LEASE``).
    """

    MAX_BATCH: int
    SECRETS: frozenset[Kind]

    def check(self, address: str) -> None: ...

    def send(self, messages: Sequence[Outgoing]) -> list[Result]: ...


def in_order(messages: Sequence[Outgoing], send_one: SendOne) -> list[Result]:
    """Send one after the other with ``send_one``; hold the later ones of a session once one of it has failed."""
    failed: set[str] = set()
    results: list[Result] = []
    for message in messages:
        if message.session_id in failed:
            results.append(TransportError("An earlier alert of the session was not taken.", held=True))
            continue
        result = send_one(message)
        if isinstance(result, TransportError):
            failed.add(message.session_id)
        results.append(result)
    return results


class SendOne(Protocol):
    """Sends one alert; returns what came of it and raises for nothing that the subscriber did."""

    def __call__(self, message: Outgoing, /) -> Result: ...
