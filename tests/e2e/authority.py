"""A certificate authority made with the openssl command: client and server certificates, also expired ones, and revocation lists."""

import subprocess

CONFIG = """\
[ca]
default_ca = this
[this]
new_certs_dir = {0}
database = {0}/index.txt
serial = {0}/serial
crlnumber = {0}/crlnumber
certificate = {0}/ca.pem
private_key = {0}/ca.key
default_md = sha256
default_crl_days = 30
policy = any
unique_subject = no
copy_extensions = none
[any]
organizationName = optional
organizationalUnitName = optional
commonName = optional
[req]
distinguished_name = none
[none]
"""


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Authority:
    def __init__(self, folder, name):
        self.folder = folder
        folder.mkdir()
        self.config = folder / "openssl.cnf"
        self.config.write_text(CONFIG.format(folder))
        (folder / "index.txt").touch()
        (folder / "serial").write_text("01\n")
        (folder / "crlnumber").write_text("01\n")
        self.ca = folder / "ca.pem"
        openssl("req", "-x509", *self.new_key(folder / "ca.key"), "-subj", f"/O=Example/CN={name}", "-days", "2", "-config", self.config,
                "-addext", "basicConstraints=critical,CA:TRUE", "-out", self.ca)

    @staticmethod
    def new_key(path):
        return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path

    def issue(self, name, subject, names="", usage="clientAuth", first=None, last=None):
        """The certificate's file, key and certificate in one; dates as 20260101000000Z."""
        request, certificate, key = (self.folder / f"{name}.{ending}" for ending in ("csr", "crt", "key"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"extendedKeyUsage = {usage}\n" + (f"subjectAltName = {names}\n" if names else ""))
        openssl("req", "-new", *self.new_key(key), "-subj", subject, "-config", self.config, "-out", request)
        dates = ("-startdate", first, "-enddate", last) if first else ("-days", "1")
        openssl("ca", "-batch", "-notext", "-config", self.config, "-in", request, "-out", certificate, "-extfile", extensions, *dates)
        both = self.folder / f"{name}.pem"
        both.touch(mode=0o600)
        both.write_text(certificate.read_text() + key.read_text())
        return both

    def revoke(self, name):
        openssl("ca", "-config", self.config, "-revoke", self.folder / f"{name}.crt")

    def revocation_list(self):
        path = self.folder / "crl.pem"
        openssl("ca", "-config", self.config, "-gencrl", "-out", path)
        return path


def fingerprint(pem):
    return openssl("x509", "-in", pem, "-noout", "-fingerprint", "-sha256").strip().partition("=")[2].replace(":", "").lower()
