"""An OpenID Connect issuer on this machine: it signs tokens, tells its keys, and can misbehave in many ways."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def jwk_of(key: Any, kid: str | None = "k1", **more: Any) -> dict[str, Any]:
    kinds = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    algorithm = next((one for kind, one in kinds.items() if isinstance(key, kind)), OKPAlgorithm)
    named = {} if kid is None else {"kid": kid}
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "use": "sig", **named, **more}


class LocalIssuer:
    """Serves its keys on 127.0.0.1.

    Attributes:
        keys: what its address of keys tells.
        fetched: how often the keys were fetched.
        behave: replaces an answer: (status, headers, body), by path; a number of seconds to be silent for.
    """

    def __init__(self) -> None:
        self.keys: list[Any] = [jwk_of(RSA_KEY)]
        self.fetched = 0
        self.behave: dict[str, Any] = {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetched += self.path == "/keys"
                document = {
                    "/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"},
                    "/keys": {"keys": issuer.keys},
                }.get(self.path)
                answer = issuer.behave.get(self.path, (200 if document else 404, {}, json.dumps(document).encode()))
                if isinstance(answer, int | float):
                    time.sleep(answer)
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(self, now: float, key: Any = RSA_KEY, alg: str = "RS256", head: Any = None, **claims: Any) -> str:
        """Sign a token that is valid unless the claims say otherwise; a claim that is None is left out."""
        given = {
            "iss": self.url,
            "aud": "streamb",
            "sub": "248289761001",
            "iat": now,
            "exp": now + 300,
            "email": "Ada@example.com",
            "email_verified": True,
            "groups": ["ml-team", "others"],
            **claims,
        }
        headers = {"kid": "k1", **(head or {})}
        headers = {name: value for name, value in headers.items() if value is not None}
        payload = json.dumps({name: value for name, value in given.items() if value is not None}).encode()
        return jwt.PyJWS().encode(payload, key, alg, headers={"typ": "JWT", **headers})
