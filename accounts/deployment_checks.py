"""What ``manage.py check --deploy`` asks besides Django's own questions. docs/hardening.md lists the ids."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from accounts.weak_keys import weak_keys

_TLS_MODES: Final = frozenset({"require", "verify-ca", "verify-full"})
_KAFKA_TLS: Final = frozenset({"SSL", "SASL_SSL"})
Findings = Iterator[CheckMessage]


def _error(number: int, text: str, hint: str) -> CheckMessage:
    return checks.Error(text, hint=hint, id=f"sdproctor.E{number:03}")


def _warning(number: int, text: str, hint: str) -> CheckMessage:
    return checks.Warning(text, hint=hint, id=f"sdproctor.W{number:03}")


def is_local(host: str | None) -> bool:
    """Tell whether a host is this machine: a socket's directory, localhost, or a loopback address."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def keys() -> Findings:
    for name, fault in weak_keys():
        yield _error(1, f"{name} {fault}.", "`python -m accounts.generate_keys` makes good ones.")


def addresses() -> Findings:
    for number, name in ((2, "PUBLIC_URL"), (3, "GATEWAY_PUBLIC_URL")):
        if urlsplit(getattr(settings, name)).scheme != "https":
            hint = "Tokens and pictures would travel readable, and browsers give no camera to pages without HTTPS."
            yield _error(number, f"{name} is not https://.", hint)
    if any(host == "*" or host.startswith(".") for host in settings.ALLOWED_HOSTS):
        hint = "Links in e-mails and alerts could be made to lead elsewhere: name the hosts."
        yield _error(4, "ALLOWED_HOSTS lets in names that are not yours.", hint)
    if settings.SECURE_SSL_REDIRECT and settings.SECURE_PROXY_SSL_HEADER is None:
        hint = "Behind a proxy that ends TLS every request would be redirected for ever."
        yield _warning(1, "SSL_REDIRECT is on and TRUST_FORWARDED_PROTO is off.", hint)


def database() -> Findings:
    described: dict[str, Any] = settings.DATABASES["default"]
    if is_local(described.get("HOST")):
        return
    if described.get("OPTIONS", {}).get("sslmode") not in _TLS_MODES:
        hint = "Add ?sslmode=verify-full&sslrootcert=/path/ca.pem to DATABASE_URL."
        yield _warning(2, "PostgreSQL is on another machine and reached without TLS.", hint)
    if not described.get("PASSWORD") and "sslcert" not in described.get("OPTIONS", {}):
        yield _warning(3, "PostgreSQL is on another machine and needs no password.", "Give the role one.")


def redis() -> Findings:
    url = urlsplit(settings.REDIS_URL)
    if url.scheme == "unix" or is_local(url.hostname):
        return
    if url.scheme != "rediss" or "ssl_cert_reqs=required" not in url.query:
        hint = "Use rediss://, and REDIS_CA where an authority of your own signed its certificate."
        yield _warning(4, "Redis is on another machine and reached without TLS, or whoever answers is believed.", hint)
    if not url.password:
        hint = "Frames of faces lie there for seconds: set requirepass or an ACL, and say it in REDIS_URL."
        yield _warning(5, "Redis is on another machine and needs no password.", hint)


def transports() -> Findings:
    hosts = [server.rpartition(":")[0] for server in settings.KAFKA_BOOTSTRAP_SERVERS.split(",") if server]
    protocol = str(settings.KAFKA_CONFIG.get("security.protocol", "")).upper()
    if not all(map(is_local, hosts)) and protocol not in _KAFKA_TLS:
        yield _warning(6, "Kafka is on another machine and reached without TLS.", "See KAFKA_CONFIG.")
    if settings.GRPC_PORT and not is_local(settings.GRPC_HOST) and not settings.GRPC_TLS_CERTIFICATE:
        hint = "API keys of its clients travel readable: set GRPC_TLS_CERTIFICATE and GRPC_TLS_KEY."
        yield _warning(7, "The gRPC stream listens beyond this machine without TLS.", hint)


def openness() -> Findings:
    for number, name in ((8, "METRICS_ALLOWED_NETWORKS"), (9, "WEBHOOK_ALLOWED_NETWORKS")):
        if any(text.strip().endswith("/0") for text in getattr(settings, name)):
            yield _warning(number, f"{name} lets everybody in.", "Name the networks.")
    if any(not origin.startswith("https://") for origin in settings.CORS_ALLOWED_ORIGINS):
        hint = "Whoever sits in between could put scripts there: use https:// only."
        yield _warning(10, "CORS_ALLOWED_ORIGINS trusts pages that come by plain HTTP.", hint)


def sign_in() -> Findings:
    if not settings.REQUIRE_SECOND_FACTOR:  # with a provider too: who has a password signs in by that as well
        hint = "Set it to all, or to the roles that see pictures and change policies."
        yield _warning(11, "A password alone opens the admin: REQUIRE_SECOND_FACTOR is empty.", hint)


def storage() -> Findings:
    endpoint = urlsplit(settings.STORAGES["evidence"].get("OPTIONS", {}).get("endpoint_url") or "")
    if endpoint.scheme == "http" and not is_local(endpoint.hostname):
        hint = "The pictures are sealed; what is stored when, and of whom, would travel readable all the same."
        yield _warning(12, "EVIDENCE_S3_ENDPOINT is on another machine and reached without TLS.", hint)


_QUESTIONS: Final[tuple[Callable[[], Findings], ...]] = (
    keys, addresses, database, redis, transports, openness, sign_in, storage,
)  # fmt: skip


@checks.register(checks.Tags.security, deploy=True)
def deployment(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Ask every question."""
    return [message for question in _QUESTIONS for message in question()]
