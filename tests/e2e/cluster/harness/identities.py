"""Certificates and kubeconfigs: who may talk to the API server, and as whom."""

import base64
import json
from pathlib import Path

from harness.layout import API, API_SERVICE, NODE, NODE_NAME
from harness.shell import run

# Each gets a kubeconfig. An OpenSSL name: CN is the user, O the group.
USERS = {
    "admin": "/O=system:masters/CN=admin",
    # Authenticated, and allowed nothing: for tests of "forbidden".
    "guest": "/CN=guest",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-proxy": "/CN=system:kube-proxy",
    "kube-scheduler": "/CN=system:kube-scheduler",
    "kubelet": f"/O=system:nodes/CN=system:node:{NODE_NAME}",
}
# Those that are servers too, or only servers.
HOSTS = {
    "apiserver": [
        "DNS:kubernetes",
        "DNS:kubernetes.default",
        "DNS:kubernetes.default.svc",
        "DNS:kubernetes.default.svc.cluster.local",
        f"IP:{NODE}",
        f"IP:{API_SERVICE}",
    ],
    "kubelet": [f"DNS:{NODE_NAME}", f"IP:{NODE}"],
}


def make_identities(pki: Path) -> None:
    pki.mkdir(mode=0o700)
    authority = ["basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign,cRLSign"]
    make_certificate(pki, "ca", "/CN=mlfn-cluster", authority, signer=[])
    sign(pki, "apiserver", "/CN=kube-apiserver")
    sign(pki, "apiserver-to-kubelet", "/O=system:masters/CN=kube-apiserver")
    for name, subject in USERS.items():
        sign(pki, name, subject)
        write_kubeconfig(pki, name)
    run("openssl", "genrsa", "-out", pki / "serviceaccounts.key", "2048")


def sign(pki: Path, name: str, subject: str) -> None:
    """Make a certificate that the cluster's own authority vouches for."""
    extensions = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=digitalSignature",
        "extendedKeyUsage=clientAuth,serverAuth",
    ]
    if name in HOSTS:
        extensions.append(f"subjectAltName={','.join(HOSTS[name])}")
    signer: list[str | Path] = ["-CA", pki / "ca.crt", "-CAkey", pki / "ca.key"]
    make_certificate(pki, name, subject, extensions, signer)


def make_certificate(pki: Path, name: str, subject: str, extensions: list[str], signer: list[str | Path]) -> None:
    # The default configuration would add extensions of its own.
    minimal = "[req]\ndistinguished_name = subject\n[subject]\n"
    key: list[str | Path] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files: list[str | Path] = ["-keyout", pki / f"{name}.key", "-out", pki / f"{name}.crt"]
    added = [word for extension in extensions for word in ("-addext", extension)]
    run("openssl", "req", "-x509", "-config", "/dev/stdin", "-days", "3650", "-subj", subject,
        *key, *files, *signer, *added, stdin=minimal)  # fmt: skip


def write_kubeconfig(pki: Path, name: str) -> None:
    """Write a self-contained kubeconfig (JSON is YAML) for the user of the named certificate."""

    def inline(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    user = {
        "client-certificate-data": inline(f"{name}.crt"),
        "client-key-data": inline(f"{name}.key"),
    }
    cluster = {"server": API, "certificate-authority-data": inline("ca.crt")}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "mlfn-cluster", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": "mlfn-cluster", "user": name}}],
        "current-context": name,
    }
    path = pki / f"{name}.kubeconfig"
    path.write_text(json.dumps(document, indent=1))
    path.chmod(0o600)
