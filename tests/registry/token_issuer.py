"""A token server as registries use them: gives signed tokens for a password or for an identity token."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

LEEWAY_S = 60
"""The registry accepts a token for so long after its end."""
IDENTITY_TOKEN = "an-identity-token"


class TokenIssuer:
    """Answer GET with Basic credentials, and POST with an identity token, with tokens for the scopes asked for."""

    def __init__(self, folder: Path, basic: str) -> None:
        self.root_certificates = folder / "issuer.pem"
        self.real_life_s = 300.0
        """After so long the registry refuses a token."""
        self.told_life_s = 300.0
        """What the answer says of it."""
        self.failures = 0
        """How many requests to answer with 503 before any other."""
        self.asked: list[dict[str, list[str]]] = []
        self.given: list[str] = []
        self._basic = basic
        authority = trustme.CA()
        leaf = authority.issue_cert("tokens.test")
        authority.cert_pem.write_to_path(self.root_certificates)
        self._key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        chain = [x509.load_pem_x509_certificate(blob.bytes()) for blob in leaf.cert_chain_pems]
        self._chain = [base64.b64encode(each.public_bytes(serialization.Encoding.DER)).decode() for each in chain]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.realm = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def answer(self, form: dict[str, list[str]], authorization: str) -> tuple[int, dict[str, object]]:
        self.asked.append(form)
        if self.failures > 0:
            self.failures -= 1
            return 503, {}
        if authorization != self._basic and form.get("refresh_token") != [IDENTITY_TOKEN]:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong user or password"}]}
        scopes = [scope for value in form.get("scope", []) for scope in value.split()]
        self.given.append(self._token(scopes))
        return 200, {"token": self.given[-1], "expires_in": self.told_life_s}

    def _token(self, scopes: list[str]) -> str:
        now = time.time()
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        claims = {
            "iss": "tests",
            "sub": "builder",
            "aud": "tests",
            "nbf": int(now - 600),
            "iat": int(now - 600),
            "exp": int(now + self.real_life_s - LEEWAY_S),
            "jti": str(len(self.asked)),
            "access": access,
        }
        signed = f"{_b64({'typ': 'JWT', 'alg': 'ES256', 'x5c': self._chain})}.{_b64(claims)}"
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _b64(document: object) -> str:
    return _encoded(json.dumps(document).encode())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _handler(issuer: TokenIssuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(parse_qs(urlsplit(self.path).query))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self._answer(parse_qs(body.decode()))

        def _answer(self, form: dict[str, list[str]]) -> None:
            status, document = issuer.answer(form, self.headers.get("authorization", ""))
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
