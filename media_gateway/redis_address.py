"""Where Redis is, in the one form that all its clients read: redis-py, kombu, Celery's results and Channels."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

SCHEMES = frozenset({"redis", "rediss", "unix"})


def redis_address(url: str, *, ca: str = "") -> str:
    """Return the URL with what TLS needs: the server must show a certificate, signed by ``ca`` (a PEM file) if given.

    What the URL says itself stays. Raises ``ValueError`` for another scheme, and for ``ca`` without TLS.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("it must start with redis://, rediss:// or unix://")
    if parts.scheme != "rediss":
        if ca:
            raise ValueError("REDIS_CA is set, but only rediss:// speaks TLS")
        return url
    said = dict(parse_qsl(parts.query))
    wanted = {"ssl_cert_reqs": "required"} | ({"ssl_ca_certs": ca} if ca else {})  # Celery insists that it is said
    return urlunsplit(parts._replace(query=urlencode(wanted | said)))
