"""A small OpenID provider as a process of its own: discovery, authorization code with PKCE, JWKS, RS256.

Run as a program it listens and prints its address. ``POST /next`` says, as JSON, whom the next sign-in is of: its
claims, and how the token is to be spoilt (``spoil``).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

CLIENT_ID, CLIENT_SECRET = "sd-proctor", "the-secret"


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Provider(BaseHTTPRequestHandler):
    """Answers as an OpenID provider does, and refuses what one must refuse."""

    key, stranger = _key(), _key()
    next_claims: dict[str, Any] = {}
    codes: dict[str, dict[str, Any]] = {}
    spoil_keys = False

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path == "/.well-known/openid-configuration":
            self._json(
                {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/jwks",
                    "token_endpoint_auth_methods_supported": ["client_secret_post"],
                }
            )
        elif address.path == "/jwks":
            if self.spoil_keys:
                self._json([])
                return
            own = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
            self._json({"keys": [own | {"kid": "one", "alg": "RS256", "use": "sig"}]})
        elif address.path == "/authorize":
            self._authorize(query)
        elif address.path == "/odd/.well-known/openid-configuration":
            self._json([])
        else:
            self.send_error(404)

    def _authorize(self, query: dict[str, str]) -> None:
        asked = (query.get("client_id"), query.get("response_type"), query.get("code_challenge_method"))
        if asked != (CLIENT_ID, "code", "S256") or "openid" not in query.get("scope", "").split():
            self.send_error(400, "not what this client is registered for")
            return
        code = secrets.token_urlsafe(16)
        self.codes[code] = {**query, "claims": dict(self.next_claims)}
        self.send_response(302)
        back = {"state": query["state"], "code": code}
        self.send_header("Location", f"{query['redirect_uri']}?{urlencode(back)}")
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/next":
            type(self).next_claims = json.loads(body)
            self._json({})
            return
        given = {name: values[0] for name, values in parse_qs(body).items()}
        begun = self.codes.pop(given.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(given.get("code_verifier", "").encode()).digest())
        if (
            begun is None
            or begun["code_challenge"] != challenge.rstrip(b"=").decode()
            or begun["redirect_uri"] != given.get("redirect_uri")
            or (given.get("client_id"), given.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET)
        ):
            self._json({"error": "invalid_grant"}, 400)
            return
        claims = begun["claims"]
        spoil = claims.pop("spoil", "")
        type(self).spoil_keys = spoil == "keys"
        self._json({"access_token": "opaque", "token_type": "Bearer", "id_token": self._token(begun, claims, spoil)})

    def _token(self, begun: dict[str, Any], claims: dict[str, Any], spoil: str) -> str:
        now = int(time.time())
        told = {
            "iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": begun.get("nonce"), **claims,
        }  # fmt: skip
        spoilt = {
            "expired": {"iat": now - 900, "exp": now - 300},
            "audience": {"aud": "another-client"},
            "azp": {"aud": [CLIENT_ID, "x"], "azp": "another-client"},
            "issuer": {"iss": "https://evil.example"},
            "nonce": {"nonce": "of another sign-in"},
            "no-subject": {"sub": ""},
        }
        told |= spoilt.get(spoil, {})
        header = {"kid": "unknown" if spoil == "kid" else "one"}
        if spoil == "none":
            return jwt.encode(told, None, algorithm="none", headers=header)
        if spoil == "hs256":  # signed with what everybody can read
            return _hs256(told, json.dumps(json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))).encode(), header)
        token = jwt.encode(told, self.stranger if spoil == "forged" else self.key, algorithm="RS256", headers=header)
        if spoil == "changed":
            head, body, signature = token.split(".")
            told["roles"] = ["administrator"]
            body = base64.urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=").decode()
            return f"{head}.{body}.{signature}"
        return "not.a.token" if spoil == "garbage" else "" if spoil == "absent" else token

    def _json(self, answer: Any, status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _hs256(told: dict[str, Any], key: bytes, header: dict[str, str]) -> str:
    import hmac

    def encoded(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    text = f"{encoded(json.dumps(header | {'alg': 'HS256'}).encode())}.{encoded(json.dumps(told).encode())}"
    return f"{text}.{encoded(hmac.digest(key, text.encode(), 'sha256'))}"


@contextmanager
def running() -> Iterator[str]:
    """Run a provider while the block runs; yield its issuer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.access.provider"],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)


def say_next(issuer: str, **claims: Any) -> None:
    """Say whom the next sign-in is of."""
    requests.post(f"{issuer}/next", json=claims, timeout=5).raise_for_status()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
