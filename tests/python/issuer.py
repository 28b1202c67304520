"""An OpenID provider of stock parts: it describes itself, publishes its keys, signs with PyJWT, rotates, and makes the tokens
that attackers make. Prints its URL and serves until it is killed."""

import base64
import hashlib
import hmac
import http.server
import json
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm


def b64(data) -> str:
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Provider:
    """Its keys: one of each kind, named after their generation."""

    def __init__(self):
        self.generation = 0
        self.url = ""
        self.rotate()

    def rotate(self):
        self.generation += 1
        self.keys = {
            "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "p256": ec.generate_private_key(ec.SECP256R1()),
            "p384": ec.generate_private_key(ec.SECP384R1()),
            "ed": ed25519.Ed25519PrivateKey.generate(),
        }

    def kind(self, alg: str) -> str:
        return {"ES256": "p256", "ES384": "p384", "EdDSA": "ed"}.get(alg, "rsa")

    def kid(self, kind: str) -> str:
        return f"{kind}-{self.generation}"

    def jwk(self, kind: str) -> dict:
        to_jwk = {"rsa": RSAAlgorithm, "p256": ECAlgorithm, "p384": ECAlgorithm, "ed": OKPAlgorithm}[kind].to_jwk
        return {**json.loads(to_jwk(self.keys[kind].public_key())), "use": "sig", "kid": self.kid(kind)}

    def claims(self, **changes) -> dict:
        now = int(time.time())
        claims = {"iss": self.url, "aud": "app", "sub": "ada", "iat": now - 1000}
        claims["exp"] = now + changes.pop("exp_in", 300)
        if "nbf_in" in changes:
            claims["nbf"] = now + changes.pop("nbf_in")
        return {**claims, **changes}

    def token(self, alg: str, claims: dict) -> str:
        kind = self.kind(alg)
        return jwt.encode(self.claims(**claims), self.keys[kind], algorithm=alg, headers={"kid": self.kid(kind)})

    def trick(self, name: str) -> str:
        """A token as an attacker would make it, who knows all that is public."""
        rsa_kid = self.kid("rsa")
        if name == "none":
            return jwt.encode(self.claims(), None, algorithm="none", headers={"kid": rsa_kid})
        if name == "unsigned":
            return self.token("RS256", {}).rsplit(".", 1)[0] + "."
        if name == "wrong-kid":
            return jwt.encode(self.claims(), self.keys["rsa"], algorithm="RS256", headers={"kid": self.kid("ed")})
        if name == "embedded-jwk":
            theirs = ed25519.Ed25519PrivateKey.generate()
            header = {"kid": self.kid("ed"), "jwk": json.loads(OKPAlgorithm.to_jwk(theirs.public_key()))}
            return jwt.encode(self.claims(), theirs, algorithm="EdDSA", headers=header)
        # PyJWT refuses to do these, so they are made by hand.
        if name == "hs256-jwk":
            secret = json.dumps(self.jwk("rsa")).encode()
        else:
            public = self.keys["rsa"].public_key()
            form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            secret = public.public_bytes(*form)
        signed = f"{b64({'alg': 'HS256', 'typ': 'JWT', 'kid': rsa_kid})}.{b64(self.claims())}"
        return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


class Handler(http.server.BaseHTTPRequestHandler):
    provider = Provider()

    def do_GET(self):
        provider = self.provider
        if self.path == "/.well-known/openid-configuration":
            self.answer({"issuer": provider.url, "jwks_uri": f"{provider.url}/keys"})
        elif self.path == "/keys":
            self.answer({"keys": [provider.jwk(kind) for kind in provider.keys]})
        else:
            self.send_error(404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/token":
            self.answer(self.provider.token(body["alg"], body.get("claims", {})))
        elif self.path == "/trick":
            self.answer(self.provider.trick(body["trick"]))
        elif self.path == "/rotate":
            self.provider.rotate()
            self.answer("")
        else:
            self.send_error(404)

    def answer(self, content):
        text = content if isinstance(content, str) else json.dumps(content)
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.provider.url = f"http://127.0.0.1:{server.server_port}"
    print(Handler.provider.url, flush=True)
    server.serve_forever()
