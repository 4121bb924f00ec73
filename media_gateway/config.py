"""The gateway's settings, all from the environment and ``.env``. What is missing or malformed is named."""

from __future__ import annotations

import ipaddress
import json
import math
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiortc.rtcicetransport import parse_stun_turn_uri
from honcho.environ import parse as parse_env_file

from media_gateway import metrics_access, metrics_directory
from media_gateway.redis_address import redis_address

_ENV_FILE = Path(__file__).resolve().parent.parent / ".env"
_MIN_KEY_BYTES = 32  # RFC 7518, 3.2: an HS256 key is at least as long as the hash


class ConfigError(Exception):
    """A setting that is missing or cannot be used; the message names the variable."""


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server, as ``RTCIceServer`` has it."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """What the gateway needs to know. ``.env.example`` describes the variables."""

    redis_url: str
    join_token_key: str
    host: str = "0.0.0.0"  # noqa: S104  # the publishers are elsewhere
    port: int = 8001
    gateway_id: str = ""
    ice_servers: tuple[IceServer, ...] = ()
    ice_addresses: tuple[str, ...] = ()
    """Local addresses to receive media on; empty: all but loopback, or loopback where there is no other."""
    allowed_origins: tuple[str, ...] = ()
    max_peers: int = 100
    connect_timeout_s: float = 20.0
    """A peer that has not connected after this long is let go."""
    grace_s: float = 60.0
    """How long a lost peer may come back as if nothing had happened."""
    media_timeout_s: float = 3.0
    """Media of a connected peer counts as stopped when nothing has come for this long."""
    queue_limit: int = 500
    """Samples are skipped while a queue in Redis is longer: its workers do not keep up."""
    threads: int = 2
    """Threads that decode and encode."""
    metrics_networks: tuple[metrics_access.Network, ...] = metrics_access.networks(metrics_access.PRIVATE)
    """Who may read ``/metrics``."""
    log_level: str = "INFO"


def read_env_file(path: Path = _ENV_FILE) -> None:
    """Put what ``.env`` sets into the environment, unless it is set there already."""
    if path.is_file():
        for name, value in parse_env_file(path.read_text()).items():
            os.environ.setdefault(name, value)


def load(environ: Mapping[str, str]) -> Config:
    """Build the configuration; raise ``ConfigError`` naming the first variable that is missing or malformed."""
    options = {
        field: _convert(name, text, convert)
        for name, (field, convert) in _OPTIONS.items()
        if (text := _optional(environ, name))
    }
    options.setdefault("gateway_id", f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}")
    options.setdefault("threads", max(2, os.cpu_count() or 1))
    options.setdefault("allowed_origins", _origins_of(environ.get("PUBLIC_URL", "").strip() or "http://localhost:8000"))
    return Config(redis_url=_redis_url(environ), join_token_key=_key(environ), **options)


def _convert(name: str, text: str, convert: Callable[[str], Any]) -> Any:
    try:
        return convert(text)
    except ValueError as error:
        raise ConfigError(f"{name} cannot be used: {error}") from error


def _optional(environ: Mapping[str, str], name: str) -> str:
    """Return the variable ``name``, or the content of the file that ``NAME_FILE`` names; empty if neither is set."""
    path = environ.get(f"{name}_FILE", "")
    try:
        return Path(path).read_text().strip() if path else environ.get(name, "").strip()
    except OSError as error:
        raise ConfigError(f"{name}_FILE names a file that cannot be read: {error}") from error


def _required(environ: Mapping[str, str], name: str) -> str:
    """Return what ``_optional`` does; raise ``ConfigError`` where that is empty."""
    value = _optional(environ, name)
    if not value:
        raise ConfigError(f"{name} is not set. Set it in the environment or in .env; .env.example describes it.")
    return value


def _redis_url(environ: Mapping[str, str]) -> str:
    try:
        return redis_address(_required(environ, "REDIS_URL"), ca=environ.get("REDIS_CA", "").strip())
    except ValueError as error:
        raise ConfigError(f"REDIS_URL cannot be used: {error}.") from error


def _key(environ: Mapping[str, str]) -> str:
    key = _required(environ, "JOIN_TOKEN_KEY")
    if len(key.encode()) < _MIN_KEY_BYTES:
        raise ConfigError(f"JOIN_TOKEN_KEY is too short: it needs at least {_MIN_KEY_BYTES} bytes.")
    return key


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(f"{port} is not a port")
    return port


def _positive(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{text} is not a number above zero")
    return number


def _positive_int(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise ValueError(f"{text} is not a whole number above zero")
    return number


def _log_level(text: str) -> str:
    level = text.upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
        raise ValueError(f"{text} is not DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return level


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_address(item.strip())) for item in text.split(",") if item.strip())


def _networks(text: str) -> tuple[metrics_access.Network, ...]:
    return metrics_access.networks(text.split(","))


def _ice_servers(text: str) -> tuple[IceServer, ...]:
    try:
        entries = json.loads(text)
        if not isinstance(entries, list):
            raise TypeError("not a list")
        return tuple(_ice_server(entry) for entry in entries)
    except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f'not a JSON list like [{{"urls": "stun:host:3478"}}] ({error})') from error


def _ice_server(entry: dict[str, Any]) -> IceServer:
    urls = entry["urls"]
    urls = (urls,) if isinstance(urls, str) else tuple(urls)
    for url in urls:
        try:
            parse_stun_turn_uri(url)
        except ValueError as error:
            raise ValueError(
                f"{url!r} is not an address like stun:host:3478 or turn:host:3478?transport=udp"
            ) from error
    return IceServer(urls, entry.get("username"), entry.get("credential"))


def _origins(text: str) -> tuple[str, ...]:
    return tuple(origin.strip().rstrip("/") for origin in text.split(",") if origin.strip())


def _origins_of(public_url: str) -> tuple[str, ...]:
    """Return the origin of the web side, whose candidate page publishes from the browser."""
    public = urlsplit(public_url)
    origin = f"{public.scheme}://{public.netloc}"
    # On one's own machine the same page has two names, and a browser takes them for two origins.
    twin = {"localhost": "127.0.0.1", "127.0.0.1": "localhost"}.get(public.hostname or "")
    return (origin, origin.replace(public.hostname or "", twin, 1)) if twin else (origin,)


_OPTIONS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "GATEWAY_HOST": ("host", str),
    "GATEWAY_PORT": ("port", _port),
    "GATEWAY_ID": ("gateway_id", str),
    "ICE_SERVERS": ("ice_servers", _ice_servers),
    "GATEWAY_ICE_ADDRESSES": ("ice_addresses", _addresses),
    "GATEWAY_ALLOWED_ORIGINS": ("allowed_origins", _origins),
    "GATEWAY_MAX_PEERS": ("max_peers", _positive_int),
    "GATEWAY_CONNECT_TIMEOUT_S": ("connect_timeout_s", _positive),
    "GATEWAY_GRACE_S": ("grace_s", _positive),
    "GATEWAY_MEDIA_TIMEOUT_S": ("media_timeout_s", _positive),
    "GATEWAY_QUEUE_LIMIT": ("queue_limit", _positive_int),
    "GATEWAY_THREADS": ("threads", _positive_int),
    "METRICS_ALLOWED_NETWORKS": ("metrics_networks", _networks),
    "LOG_LEVEL": ("log_level", _log_level),
}


# As the settings of the web side do, at import: prometheus_client looks at the environment when it is imported.
read_env_file()
metrics_directory.prepare()
