"""Every secret can come from a file, and .env.example says so with a star."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

from media_gateway.config import load

ROOT = Path(__file__).resolve().parents[2]
LOOKS_SECRET = re.compile(r"SECRET|PASSWORD|CREDENTIAL|(^|_)(KEY|KEYS|TOKEN)$|_URL$")
NO_SECRET = {
    "PUBLIC_URL", "GATEWAY_PUBLIC_URL",  # addresses that are told to everybody
    "GRPC_TLS_KEY", "GRPC_PUSH_KEY",  # are paths of files themselves
    "POSTGRES_PASSWORD",  # Compose alone reads it
}  # fmt: skip
READERS = {"required", "optional", "optional_json", "redis", "database"}
"""Methods of ``env`` that read ``NAME_FILE`` too."""


def variables() -> dict[str, str]:
    """Return the variables of .env.example with the comment above each."""
    found: dict[str, str] = {}
    comment: list[str] = []
    after_value = False
    for line in (ROOT / ".env.example").read_text().splitlines():
        if match := re.fullmatch(r"#?([A-Z][A-Z0-9_]+)=.*", line):
            found[match[1]] = " ".join(comment)
            after_value = True
        elif line.startswith("# "):
            comment = [line] if after_value else [*comment, line]
            after_value = False
        else:
            comment = []
    return found


def readers() -> dict[str, str]:
    """Return by which method of ``env`` each variable is read."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "proctor_site").glob("*.py")]
    return {
        str(node.args[0].value): node.func.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "env"
        if node.args and isinstance(node.args[0], ast.Constant)
    }


def test_every_secret_is_read_from_a_file_too_and_marked() -> None:
    comments, read_by = variables(), readers()
    starred = {name for name, comment in comments.items() if comment.rstrip().endswith("*")}
    assert starred >= {
        "DATABASE_URL",
        "REDIS_URL",
        "SECRET_KEY",
        "JOIN_TOKEN_KEY",
        "KEY_ENCRYPTION_KEYS",
        "ICE_SERVERS",
    }
    assert {name for name in comments if LOOKS_SECRET.search(name)} - NO_SECRET - starred == set()
    assert {name for name in starred if read_by.get(name) not in READERS} == set()
    assert {name for name, reader in read_by.items() if reader in READERS} & comments.keys() <= starred


def test_a_start_with_files_only(tmp_path: Path) -> None:
    names = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "JOIN_TOKEN_KEY", "KEY_ENCRYPTION_KEYS")
    values = {name: os.environ[name] for name in names} | {
        "ICE_SERVERS": '[{"urls": "turn:a:1", "username": "u", "credential": "from a file"}]',
        "KAFKA_CONFIG": '{"sasl.password": "from a file"}',
    }
    environment = {name: value for name, value in os.environ.items() if name not in values}
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
        environment[f"{name}_FILE"] = str(tmp_path / name)
    code = (
        "import json, django; django.setup(); from django.conf import settings as s\n"
        "secrets = [s.SECRET_KEY, s.JOIN_TOKEN_KEY, s.ICE_SERVERS[0]['credential'], s.KAFKA_CONFIG['sasl.password']]\n"
        "print(json.dumps(secrets))"
    )
    environment["DJANGO_SETTINGS_MODULE"] = "proctor_site.settings"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.count("from a file") == 2, done.stderr
    assert values["SECRET_KEY"] in done.stdout
    gateway = load({name: value for name, value in environment.items() if name.endswith("_FILE")})
    assert gateway.join_token_key == values["JOIN_TOKEN_KEY"]
    assert gateway.ice_servers[0].credential == "from a file"


def test_a_file_that_is_not_there_is_named() -> None:
    environment = {**os.environ, "SECRET_KEY_FILE": "/nowhere/key"}
    done = subprocess.run(
        [sys.executable, "-c", "import proctor_site.settings"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "SECRET_KEY_FILE names a file that cannot be read" in done.stderr
