"""``.env.example`` against the code that reads the environment, and how settings are found."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from media_gateway import config as gateway_config
from proctor_site.embedded.supervisor import SERVERS
from proctor_site.env import env, read_files

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("proctor_site", "accounts", "enrollment", "sessions", "detection", "alerts", "media_gateway")
NAME = re.compile(r"[A-Z][A-Z0-9_]+")


def documented() -> dict[str, str]:
    """Return the variables of .env.example with their values; a "#" before the name means "unset by default"."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return {match[1]: match[2] for line in lines if (match := re.fullmatch(r"#?([A-Z][A-Z0-9_]+)=(.*)", line))}


def environment_reads(path: Path) -> Iterator[tuple[str, ast.Call | None]]:
    """Yield each variable that a module asks ``env`` or ``environ`` for, with the call that does."""
    tree = ast.parse(path.read_text())
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            asks = ast.unparse(node.func).startswith(("env.", "environ.get", "os.environ.get", "environment.get"))
            arguments = node.args if ast.unparse(node.func) == "_required" else node.args[:1] if asks else []
            for argument in arguments:
                value = constants.get(argument.id) if isinstance(argument, ast.Name) else None
                value = argument.value if isinstance(argument, ast.Constant) else value
                if isinstance(value, str) and NAME.fullmatch(value):
                    yield value, node


def all_reads() -> dict[str, ast.Call | None]:
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(modules) > 20
    found = {name: call for path in modules for name, call in environment_reads(path)}
    in_procfile = re.findall(r"\$\{([A-Z_]+)", (ROOT / "Procfile").read_text())
    in_compose = re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text())
    servers = [f"{server}_{what}" for server in SERVERS for what in ("HOST", "PORT")]
    others = [*gateway_config._OPTIONS, *in_procfile, *in_compose, *servers]
    return dict.fromkeys(others) | found


def test_every_variable_that_is_read_is_in_env_example() -> None:
    reads = all_reads()
    assert len(reads) > 30
    assert sorted(reads.keys() - documented().keys()) == []


def test_every_variable_in_env_example_is_read() -> None:
    assert sorted(documented().keys() - all_reads().keys()) == []


def test_the_defaults_in_env_example_are_those_of_the_code() -> None:
    compared = 0
    values = documented()
    for name, call in all_reads().items():
        defaults = [k.value for k in call.keywords if k.arg == "default"] if call else []
        try:
            default = ast.literal_eval(defaults[0]) if defaults else None
        except ValueError:  # computed from other settings, and described in a comment
            continue
        if default is None or name not in values:
            continue
        text = ",".join(default) if isinstance(default, list) else str(default)
        expected = text.lower() if isinstance(default, bool) else "[]" if name == "ICE_SERVERS" else text
        assert values[name] == expected, name
        compared += 1
    assert compared >= 15


def test_every_variable_has_a_comment() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"#?[A-Z][A-Z0-9_]+=", line):
            above = next(text for text in reversed(lines[:number]) if not re.match(r"#?[A-Z][A-Z0-9_]+=", text))
            assert above.startswith("# "), line


@pytest.mark.parametrize("name", ["SECRET_KEY", "JOIN_TOKEN_KEY", "KEY_ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL"])
def test_a_missing_setting_is_named_and_nothing_starts(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, name: ""}
    code = (
        f"from proctor_site import env; env.os.environ[{name!r}] = ''\n"
        "import proctor_site.settings"  # whatever .env of this checkout says
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert f"{name} is not set" in done.stderr


BEHIND_HTTPS = {
    "PUBLIC_URL": "https://proctor.example.org",
    "ALLOWED_HOSTS": "proctor.example.org",
    "TRUST_FORWARDED_PROTO": "true",
    "HSTS_SECONDS": "60",
}
ASK = """
import django; django.setup()
from django.test import Client
answer = Client().get("/admin/login/", HTTP_HOST="proctor.example.org", HTTP_X_FORWARDED_PROTO="https")
if answer.status_code != 200:
    raise SystemExit(f"refused with {answer.status_code}")
from django.conf import settings
cookie = answer.cookies["__Host-csrftoken" if settings.PUBLIC_URL.startswith("https:") else "csrftoken"]
print(bool(cookie["secure"]), answer.headers.get("Strict-Transport-Security"))
print(settings.SESSION_COOKIE_SECURE, answer.wsgi_request.is_secure())
"""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ["True max-age=60", "True True"]),
        ({"TRUST_FORWARDED_PROTO": "false"}, ["True None", "True False"]),
        ({"HSTS_SECONDS": "0"}, ["True None", "True True"]),
        ({"PUBLIC_URL": "http://localhost:8000"}, ["False max-age=60", "False True"]),
        ({"ALLOWED_HOSTS": "localhost"}, None),
    ],
)
def test_behind_https_cookies_are_secure_and_the_proxy_is_believed_only_when_told(
    changes: dict[str, str], said: list[str] | None
) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "proctor_site.settings", **BEHIND_HTTPS, **changes}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if said is None:
        assert "refused with 400" in done.stderr
    else:
        assert done.stdout.splitlines() == said, done.stderr


def test_a_secret_is_read_from_the_file_that_name_file_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv("SOME_SECRET_FILE", str(tmp_path / "secret"))
    assert env.required("SOME_SECRET") == "from a file"
    monkeypatch.setenv("SOME_SECRET_FILE", "")
    with pytest.raises(ImproperlyConfigured, match="SOME_SECRET is not set"):
        env.required("SOME_SECRET")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with a .env and a running set of embedded services; the environment is put back after."""
    (tmp_path / "var" / "run").mkdir(parents=True)
    (tmp_path / ".env").write_text("FROM_ENVIRONMENT=dotenv\nFROM_DOTENV=dotenv\nLEFT_OPEN=\n")
    (tmp_path / "var" / "run" / "environment").write_text(
        "FROM_ENVIRONMENT=run\nFROM_DOTENV=run\nLEFT_OPEN=run\nFROM_RUN=a=b\n"
    )
    monkeypatch.setattr(os, "environ", {**os.environ, "FROM_ENVIRONMENT": "environment", "REDIS_URL": ""})
    return tmp_path


def test_the_environment_wins_over_env_and_that_over_running_services(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("environ.Env.ENVIRON", os.environ)
    read_files(base)
    names = ("FROM_ENVIRONMENT", "FROM_DOTENV", "LEFT_OPEN", "FROM_RUN")
    assert [os.environ[name] for name in names] == ["environment", "dotenv", "run", "a=b"]


def test_an_operator_who_configured_everything_gets_nothing_of_running_services(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("environ.Env.ENVIRON", os.environ)
    monkeypatch.setitem(os.environ, "REDIS_URL", "redis://elsewhere/0")
    read_files(base)
    assert "FROM_RUN" not in os.environ


def test_an_empty_metrics_directory_counts_as_none(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("environ.Env.ENVIRON", os.environ)
    monkeypatch.setitem(os.environ, "PROMETHEUS_MULTIPROC_DIR", "")
    read_files(base)
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
