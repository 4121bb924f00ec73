"""What a transport is given, what it returns and how it fails. Transports know this file and nothing of one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

EXCERPT_BYTES = 1024
"""How much of an answer is read and kept."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One alert for one address. ``body`` and ``event_id`` are the same for every try."""

    event_id: str
    body: bytes
    address: str
    secret: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a subscriber that took the alert said: HTTP status and the start of the answer."""

    status_code: int | None
    excerpt: str


class TransportError(Exception):
    """An alert that was not taken.

    ``permanent``: trying again cannot help. ``gone``: the subscriber wants no more alerts at all. ``status_code`` and
    ``excerpt`` are those of the answer, when there was one.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        gone: bool = False,
        status_code: int | None = None,
        excerpt: str = "",
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.gone = gone
        self.status_code = status_code
        self.excerpt = excerpt


class Transport(Protocol):
    """A way to deliver. ``check`` raises ``AddressRefusedError`` for an address that can never be delivered to."""

    def check(self, address: str) -> None: ...

    def send(self, message: Outgoing) -> Answer: ...
