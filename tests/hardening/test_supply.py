"""The list of what is installed, and the question what of it is known to be vulnerable."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proctor_site import dependency_audit
from proctor_site.embedded.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


def test_the_sbom_names_what_is_installed_without_asking_anybody(tmp_path: Path) -> None:
    made = tmp_path / "sbom.json"
    command = [
        str(ROOT / "var" / "sbom" / "bin" / "cyclonedx-py"),  # `make test` puts it there
        "environment",
        "--output-reproducible",
        "--no-validate",
        "-o",
        str(made),
    ]
    subprocess.run([*command, sys.executable], check=True, capture_output=True, env={"PATH": "", "https_proxy": "x:1"})
    document = json.loads(made.read_text())
    assert document["bomFormat"] == "CycloneDX"
    versions = {part["name"].lower(): part["version"] for part in document["components"]}
    assert versions["django"] == "5.2.19"
    assert {"aiortc", "celery", "cryptography"} <= set(versions)


@contextmanager
def service(*, vulnerable: str) -> Iterator[str]:
    """An OSV service that knows of one package."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            known = {
                "id": "TEST-1", "summary": "a test", "details": "a test", "modified": "2026-01-01T00:00:00Z",
                "affected": [{"package": {"name": vulnerable, "ecosystem": "PyPI"}, "ranges": []}],
            }  # fmt: skip
            body = json.dumps({"vulns": [known]} if asked["package"]["name"].lower() == vulnerable else {}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        server.shutdown()


@pytest.mark.parametrize(
    ("vulnerable", "status"), [("django", dependency_audit.VULNERABLE), ("no-such-package", dependency_audit.CLEAN)]
)
def test_the_audit_fails_on_what_is_known(vulnerable: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    with service(vulnerable=vulnerable) as url:
        assert dependency_audit.main(["--service", url]) == status
    assert ("TEST-1" in capsys.readouterr().out) == (status == dependency_audit.VULNERABLE)


def test_that_nobody_could_be_asked_is_said_and_is_no_all_clear(capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/v1/query"
    assert dependency_audit.main(["--service", nowhere]) == dependency_audit.UNASKED
    assert dependency_audit.main(["--service", nowhere, "--warn-if-unasked"]) == 0
    assert capsys.readouterr().err.count("NOT audited") == 2
