"""Keep oversized bodies out of Daphne, which takes in a whole body before it calls the application.

What is too large is read and thrown away, so that the client hears the answer (``BodyLimit`` gives it), unless it goes
on for very long: then the connection is closed.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from daphne import http_protocol

from proctor_site.body_limit import BodyBounds, is_bearer

_DRAINED_TIMES: Final = 2
"""A client may send this many times the largest body before it is cut off."""


def bounded_requests_install(bounds: BodyBounds) -> None:
    """Have Daphne, if this process is one, bound the bodies of all requests from now on."""
    BoundedRequest.bounds = bounds
    http_protocol.WebRequest = BoundedRequest  # Daphne's factory looks it up for every connection


class BoundedRequest(http_protocol.WebRequest):  # type: ignore[misc]  # Daphne has no types
    """A request that keeps no more of its body than its path and its credentials allow."""

    bounds: BodyBounds

    def gotLength(self, length: int | None) -> None:  # noqa: N802  # Twisted's name
        """Decide at the end of the headers; ``length`` is None for a chunked body."""
        path = unquote(self.channel._path.partition(b"?")[0].decode("latin-1"))
        headers = self.requestHeaders.getRawHeaders(b"Authorization") or []
        self._max_bytes = self.bounds.of(path=path, has_bearer=any(map(is_bearer, headers)))
        self._received_bytes = 0
        self._parsePOSTFormSubmission = False  # Django does it; Twisted would copy the body three times
        refused = length is not None and length > self._max_bytes
        super().gotLength(0 if refused else length)
        if refused:
            self._max_bytes = 0

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Keep what is allowed and one chunk more, by which the application knows; then only count."""
        if self._received_bytes <= self._max_bytes and self._max_bytes:
            super().handleContentChunk(data)
        self._received_bytes += len(data)
        if self._received_bytes > _DRAINED_TIMES * self.bounds.picture_bytes:
            self.channel.forceAbortClient()
