"""Stand-ins for the token endpoints of Microsoft and Google: they check what they are sent as the real ones do, and answer in their shapes.

An assertion (RFC 7523) is verified against the public key the test registered: signature, algorithm, audience, issuer, subject, life, key id or
thumbprint, and that its identifier was never seen. Everything that is refused is told in `refusals`, with the reason."""

import base64
import collections
import hashlib
import http.server
import json
import secrets
import threading
import time
import urllib.parse
from datetime import datetime, timedelta, timezone

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def rsa_key():
    """(private key as PEM text, public key, the key itself)"""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return pem, key.public_key(), key


def certificate(key, name="tollgate-tests"):
    """A self-signed certificate as PEM text, and as the object."""
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return cert.public_bytes(serialization.Encoding.PEM).decode(), cert


class Refused(Exception):
    def __init__(self, status, error, description):
        super().__init__(description)
        self.status, self.error = status, error


class TokenEndpoints:
    """`azure(tenant, client_id, ...)` and `google(email, ...)` register callers; `issued` lists (caller, token, expiry).

    While `open` is not set, what arrives waits for its answer. `begun` counts each caller's fetches, `most_at_once` the most that were under way
    together."""

    def __init__(self):
        self.apps, self.accounts, self.issued, self.refusals, self.seen = {}, {}, [], [], set()
        self.lifetime, self.outage = 3600, False
        self.begun, self.at_once, self.most_at_once = (collections.Counter() for _ in range(3))
        self.open = threading.Event()
        self.open.set()
        self.lock = threading.Lock()
        endpoints = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                endpoints.serve(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.open.set()
        self.server.shutdown()
        self.server.server_close()

    def azure(self, tenant, client_id, scope, secret=None, cert=None):
        self.apps[tenant, client_id] = {"scope": scope, "secret": secret, "cert": cert}

    def google(self, email, key_id, public_key, scope):
        self.accounts[email] = {"kid": key_id, "key": public_key, "scope": scope}

    def tokens(self, caller):
        return [token for who, token, _ in self.issued if who == caller]

    def expiry(self, token):
        return next(expiry for _, known, expiry in self.issued if known == token)

    def serve(self, handler):
        body = handler.rfile.read(int(handler.headers["content-length"]))
        form = urllib.parse.parse_qs(body.decode(), strict_parsing=True)
        caller = form.get("client_id", [handler.path])[0]
        with self.lock:
            self.begun[caller] += 1
            self.at_once[caller] += 1
            self.most_at_once[caller] = max(self.most_at_once[caller], self.at_once[caller])
        try:
            self.open.wait()
            if self.outage:
                raise Refused(503, "temporarily_unavailable", "out of order")
            status, answer = 200, self.answer(handler, form)
        except Refused as no:
            self.refusals.append(str(no))
            status, answer = no.status, {"error": no.error, "error_description": str(no)}
        finally:
            with self.lock:
                self.at_once[caller] -= 1
        data = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json; charset=utf-8")
        handler.send_header("Cache-Control", "no-store, no-cache")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def answer(self, handler, form):
        if handler.headers["content-type"] != "application/x-www-form-urlencoded":
            raise Refused(400, "invalid_request", "content type")
        if any(len(values) != 1 for values in form.values()):
            raise Refused(400, "invalid_request", "a parameter is repeated")
        form = {name: values[0] for name, values in form.items()}
        parts = handler.path.strip("/").split("/")
        if parts == ["google", "token"]:
            return self.for_google(form)
        if parts[1:] == ["oauth2", "v2.0", "token"]:
            return self.for_azure(parts[0], form)
        raise Refused(404, "invalid_request", handler.path)

    def issue(self, caller, prefix):
        token = prefix + secrets.token_urlsafe(48)
        self.issued.append((caller, token, time.time() + self.lifetime))
        return token

    def for_azure(self, tenant, form):
        app = self.apps.get((tenant, form.get("client_id")))
        if app is None:
            raise Refused(400, "unauthorized_client", "AADSTS700016: Application was not found in the directory.")
        if form.get("grant_type") != "client_credentials" or form.get("scope") != app["scope"]:
            raise Refused(400, "invalid_scope", "AADSTS70011: The provided value for scope is not valid.")
        if app["cert"] is not None:
            if form.get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
                raise Refused(401, "invalid_client", "AADSTS700027: client assertion type")
            cert = app["cert"]
            der = cert.public_bytes(serialization.Encoding.DER)
            head, claims = self.assertion(
                form["client_assertion"], cert.public_key(), f"{self.url}/{tenant}/oauth2/v2.0/token", 600
            )
            if head.get("x5t") != b64url(hashlib.sha1(der).digest()) or head.get("x5t#S256") != b64url(
                hashlib.sha256(der).digest()
            ):
                raise Refused(401, "invalid_client", "AADSTS700027: The certificate with this thumbprint is not known.")
            if not claims["iss"] == claims["sub"] == form["client_id"]:
                raise Refused(401, "invalid_client", "AADSTS700021: issuer and subject")
        elif form.get("client_secret") != app["secret"]:
            # The real one does not echo the secret; a careless one would, and then it must not reach the log.
            raise Refused(401, "invalid_client", f"AADSTS7000215: wrong secret {form.get('client_secret')}")
        return {
            "token_type": "Bearer",
            "expires_in": self.lifetime,
            "ext_expires_in": self.lifetime,
            "access_token": self.issue(form["client_id"], "eyJ0eXAi."),
        }

    def for_google(self, form):
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            raise Refused(400, "unsupported_grant_type", "Invalid grant_type")
        email = jwt.decode(form["assertion"], options={"verify_signature": False}).get("iss")
        account = self.accounts.get(email)
        if account is None:
            raise Refused(400, "invalid_grant", "Invalid grant: account not found")
        head, claims = self.assertion(form["assertion"], account["key"], f"{self.url}/google/token", 3600)
        if head.get("kid") != account["kid"] or claims.get("scope") != account["scope"]:
            raise Refused(400, "invalid_grant", "Invalid JWT: key id or scope")
        return {"access_token": self.issue(email, "ya29."), "expires_in": self.lifetime, "token_type": "Bearer"}

    def assertion(self, text, key, audience, longest):
        try:
            head = jwt.get_unverified_header(text)
            claims = jwt.decode(
                text, key, ["RS256"], audience=audience, options={"require": ["exp", "iat", "iss", "jti", "aud"]}
            )
        except jwt.PyJWTError as error:
            raise Refused(401, "invalid_grant", f"assertion: {error}") from None
        if claims["exp"] - claims["iat"] > longest:
            raise Refused(401, "invalid_grant", "assertion: lives too long")
        if claims["jti"] in self.seen:
            raise Refused(401, "invalid_grant", "assertion: used before")
        self.seen.add(claims["jti"])
        return head, claims
