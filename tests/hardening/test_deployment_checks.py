"""``manage.py check --deploy``: silent for a careful deployment, and each carelessness has its id."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from accounts import deployment_checks
from accounts.weak_keys import weak_keys

ROOT = Path(__file__).resolve().parents[2]
CAREFUL = {
    "DEBUG": "false",
    "PUBLIC_URL": "https://proctor.example.org",
    "GATEWAY_PUBLIC_URL": "https://media.example.org",
    "ALLOWED_HOSTS": "proctor.example.org",
    "CORS_ALLOWED_ORIGINS": "https://platform.example.org",
    "TRUST_FORWARDED_PROTO": "true",
    "SSL_REDIRECT": "true",
    "HSTS_SECONDS": "31536000",
    "HSTS_INCLUDE_SUBDOMAINS": "true",
    "HSTS_PRELOAD": "true",
    "DATABASE_URL": "postgres://proctor:pw@db.example.org/proctor?sslmode=verify-full&sslrootcert=/etc/ca.pem",
    "REDIS_URL": "rediss://:pw@redis.example.org/0",
    "REDIS_CA": "/etc/ca.pem",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.example.org:9093",
    "KAFKA_CONFIG": '{"security.protocol": "SSL"}',
    "GRPC_HOST": "0.0.0.0",
    "GRPC_TLS_CERTIFICATE": "/etc/grpc.pem",
    "GRPC_TLS_KEY": "/etc/grpc.key",
    "REQUIRE_SECOND_FACTOR": "all",
    "EVIDENCE_STORAGE": "s3",
    "EVIDENCE_S3_BUCKET": "evidence",
    "EVIDENCE_S3_ENDPOINT": "https://storage.example.org",
}
CARELESS = {
    "sdproctor.E002": {"PUBLIC_URL": "http://proctor.example.org"},
    "sdproctor.E003": {"GATEWAY_PUBLIC_URL": "http://media.example.org"},
    "sdproctor.E004": {"ALLOWED_HOSTS": "*"},
    "sdproctor.W001": {"TRUST_FORWARDED_PROTO": "false"},
    "sdproctor.W002": {"DATABASE_URL": "postgres://proctor:pw@db.example.org/proctor"},
    "sdproctor.W003": {"DATABASE_URL": "postgres://proctor@db.example.org/proctor?sslmode=require"},
    "sdproctor.W004": {"REDIS_URL": "rediss://:pw@redis.example.org/0?ssl_cert_reqs=none"},
    "sdproctor.W005": {"REDIS_URL": "rediss://redis.example.org/0"},
    "sdproctor.W006": {"KAFKA_CONFIG": ""},
    "sdproctor.W007": {"GRPC_TLS_CERTIFICATE": "", "GRPC_TLS_KEY": ""},
    "sdproctor.W008": {"METRICS_ALLOWED_NETWORKS": "0.0.0.0/0"},
    "sdproctor.W009": {"WEBHOOK_ALLOWED_NETWORKS": "::/0"},
    "sdproctor.W010": {"CORS_ALLOWED_ORIGINS": "http://platform.example.org"},
    "sdproctor.W011": {
        "REQUIRE_SECOND_FACTOR": "",
        "OIDC_ISSUER": "https://id.example.org",
        "OIDC_CLIENT_ID": "sd-proctor",
        "OIDC_CLIENT_SECRET": "secret",
    },
    "sdproctor.W012": {"EVIDENCE_S3_ENDPOINT": "http://storage.example.org"},
    "security.W018": {"DEBUG": "true"},
}
GUESSABLE = {
    "SECRET_KEY": ["short", "django-insecure-" + "abcdefghijklmnopqrstuvwxyz0123456789" * 2, "ab" * 40],
    "JOIN_TOKEN_KEY": ["k" * 32, "changeme-changeme-changeme-changeme"],
    "KEY_ENCRYPTION_KEYS": [
        f"first:{base64.b64encode(key).decode()}" for key in (bytes(32), b"1" * 32, bytes(range(32)))
    ],
}


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def check(**changes: str) -> tuple[int, list[str]]:
    """Return the status of ``check --deploy`` that fails on warnings, and the ids it names."""
    done = manage("check", "--deploy", "--fail-level", "WARNING", **{**CAREFUL, **changes})
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, re.findall(r"\((\w+\.[EW]\d+)\)", done.stderr)


def test_a_careful_deployment_has_nothing_to_hear() -> None:
    assert check() == (0, [])


def test_each_carelessness_is_told_by_its_id() -> None:
    changes = {name: value for careless in CARELESS.values() for name, value in careless.items()}
    apart = {name: changes.pop(name) for name in ("DATABASE_URL", "REDIS_URL", "DEBUG")}  # of several kinds
    status, found = check(**changes, DATABASE_URL="postgres://proctor@db.example.org/proctor",
                          REDIS_URL="redis://redis.example.org/0", REDIS_CA="", DEBUG="true")  # fmt: skip
    assert status == 1
    assert len(apart) == 3
    assert set(CARELESS) <= set(found)
    assert set(found) - set(CARELESS) == {"security.W012", "security.W016"}  # cookies by plain HTTP


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GUESSABLE.items() for value in values])
def test_a_key_that_can_be_guessed_is_told_of_but_not_told(settings: Any, name: str, value: str) -> None:
    assert list(weak_keys()) == []
    setattr(settings, name, value)
    ((known_as, fault),) = weak_keys()
    assert known_as == name
    assert value not in fault


def test_nothing_starts_with_such_a_key_but_for_debugging() -> None:
    done = manage("check", SECRET_KEY="ab" * 40)
    assert done.returncode != 0
    assert done.stderr.startswith("manage.py: SECRET_KEY repeats itself")
    status, found = check(JOIN_TOKEN_KEY="k" * 32, DEBUG="true")
    assert status == 1
    assert sorted(found) == ["sdproctor.E001", "security.W018"]


def test_the_same_key_for_two_things_is_refused() -> None:
    assert "is the same as SECRET_KEY" in manage("check", JOIN_TOKEN_KEY=os.environ["SECRET_KEY"]).stderr


def test_what_is_on_this_machine_needs_no_tls() -> None:
    local = [None, "", "/var/run/postgresql", "localhost", "127.0.0.1", "127.1.2.3", "::1"]
    assert all(deployment_checks.is_local(host) for host in local)
    assert not any(deployment_checks.is_local(host) for host in ("10.0.0.1", "db", "localhost.example.org"))


def test_every_id_is_documented() -> None:
    source = Path(deployment_checks.__file__).read_text()
    made = {f"sdproctor.{kind[0].upper()}{int(n):03}" for kind, n in re.findall(r"_(error|warning)\((\d+),", source)}
    paired = {("E", n) for n in (2, 3)} | {("W", n) for n in (8, 9)}
    made |= {f"sdproctor.{kind}{n:03}" for kind, n in paired}
    assert made - {"security.W018"} == set(CARELESS) - {"security.W018"} | {"sdproctor.E001"}
    documented = set(re.findall(r"`(sdproctor\.[EW]\d{3})`", (ROOT / "docs" / "hardening.md").read_text()))
    assert documented == made
