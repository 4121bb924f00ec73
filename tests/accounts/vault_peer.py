"""A peer that speaks the part of Vault's transit API that is used, over real HTTP: encrypt and decrypt, and refusals.

It keeps to what the API documents: base64 in and out, ``associated_data`` authenticated, 400 for what does not open,
403 for a wrong token, ``errors`` in every refusal.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.test"


class RefusalError(Exception):
    def __init__(self, status: int, *errors: str) -> None:
        self.status, self.errors = status, errors


class Vault:
    """The state of the peer: transit keys by name, what it was asked, and how it behaves next."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.token = TOKEN
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.refuse: RefusalError | None = None
        self.address = ""

    def key_create(self, name: str) -> None:
        self.keys[name] = secrets.token_bytes(32)

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((path, headers, body))
        if self.refuse is not None:
            raise self.refuse
        if headers.get("x-vault-token") != self.token:
            raise RefusalError(403, "permission denied")
        _, version, mount, operation, name = path.split("/")
        if (version, mount) != ("v1", "transit"):
            raise RefusalError(404, "no handler for route")
        if name not in self.keys:
            raise RefusalError(400, "encryption key not found")
        associated = base64.b64decode(body.get("associated_data", ""))
        if operation == "encrypt":
            nonce = secrets.token_bytes(12)
            sealed = AESGCM(self.keys[name]).encrypt(nonce, base64.b64decode(body["plaintext"]), associated)
            return {"ciphertext": "vault:v1:" + base64.b64encode(nonce + sealed).decode(), "key_version": 1}
        try:
            raw = base64.b64decode(body["ciphertext"].removeprefix("vault:v1:"), validate=True)
            plain = AESGCM(self.keys[name]).decrypt(raw[:12], raw[12:], associated)
        except (InvalidTag, ValueError):
            raise RefusalError(400, "invalid ciphertext: unable to decrypt") from None
        return {"plaintext": base64.b64encode(plain).decode()}


@contextmanager
def vault() -> Iterator[Vault]:
    """Serve a Vault on a free port of the loopback interface."""
    state = Vault()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                status, answer = 200, {"data": state.answer(self.path, headers, body)}
            except RefusalError as refusal:
                status, answer = refusal.status, {"errors": list(refusal.errors)}
            encoded = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            if 300 <= status < 400:
                self.send_header("Location", "https://elsewhere.example/")
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
