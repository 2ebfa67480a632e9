"""Where the table's models lead, beyond the stack's own two providers: behind a breaker, to a name nobody knows, to a certificate that has
expired; to a model with a larger one behind it. All but the unknown name end at the stand-in providers."""

import datetime
import socket
import ssl
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from machine import free_ports

NAME = "provider.test"


def certificate(folder, name, first, last):
    """A key and a certificate of its own for NAME, valid from so many days from now until so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=first))
        .not_valid_after(now + datetime.timedelta(days=last))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.crt").write_bytes(pem)
    (folder / f"{name}.pem").touch(mode=0o600)
    (folder / f"{name}.pem").write_bytes(private + pem)


def pump(source, sink):
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(connection, context, target):
    """One connection of a TLS front: what comes through is the target's."""
    try:
        with context.wrap_socket(connection, server_side=True) as outer, socket.create_connection(target) as inner:
            back = threading.Thread(target=pump, args=(inner, outer), daemon=True)
            back.start()
            pump(outer, inner)
            back.join()
    except OSError:  # a handshake that the other side broke off
        pass


def front(pem, port, target):
    """Listens until the program ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", port))

    def accept():
        while True:
            connection = listener.accept()[0]
            threading.Thread(target=serve, args=(connection, context, target), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def prepare(stack):
    """Before tollgate starts: two TLS fronts of alpha, trusted alike, one of them expired."""
    stack.fronts = dict(zip(("fresh", "expired"), free_ports(2)))
    certificate(stack.folder, "fresh", -2, 2)
    certificate(stack.folder, "expired", -30, -1)
    for name, port in stack.fronts.items():
        front(stack.folder / f"{name}.pem", port, ("127.0.0.1", stack.ports["alpha"]))


def extend(stack):
    """More providers and models for the stack's configuration."""
    plain = f'url: "http://127.0.0.1:{stack.ports["alpha"]}/v1"'
    tls = 'url: "https://127.0.0.1:{port}/v1", server_name: {host}, ca_file: {folder}/{name}.crt'
    urls = {
        "watched": f"{plain}, breaker: {{failures: 3, open: 60s, open_max: 60s, retry_after: 2s}}",
        "flapping": f"{plain}, breaker: {{failures: 3, open: 500ms, open_max: 1s, probes: 2}}",
        "unknown-name": 'url: "http://provider.invalid/v1"',
        **{
            name: tls.format(port=port, host=NAME, folder=stack.folder, name=name) for name, port in stack.fronts.items()
        },
    }
    providers = [
        f"name: {name}, price_as: openai, {url}, credential: {{file: {stack.folder}/alpha.key}}" for name, url in urls.items()
    ]
    models = [
        f"name: {name}, primary: {{provider: {name}, model: gpt-4o-mini}}, fallback: {{provider: beta, model: gpt-4o}}, max_output: 1024"
        for name in urls
    ]
    models.append(
        "name: roomy, primary: {provider: alpha, model: gpt-4o-mini, context_window: 64000}, fallback: {provider: beta, model: gpt-4o}, "
        "max_output: 1024"
    )
    return providers, models
