"""The running cluster: its processes, started in order, watched, and ended."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from string import Template

from harness import machine
from harness.identities import make_identities
from harness.layout import (
    BRIDGE,
    DNS_SERVICE,
    ETCD,
    ETCD_PEER,
    HERE,
    IMAGES,
    INGRESS,
    INGRESS_PRIVATE,
    NODE,
    NODE_NAME,
    PODS,
    SERVICES,
)
from harness.shell import ClusterError, run, succeeds, wait_for


class Cluster:
    """A cluster as its state folder records it; the folder exists as long as the cluster."""

    def __init__(self, state: Path, cache: Path, registry_port: int) -> None:
        self.state = state
        self.pki = state / "pki"
        self.config = state / "config"
        self.bin = cache / "bin"
        self.cache = cache
        self.registry_port = registry_port
        self.containerd_socket = state / "run/containerd.sock"

    def up(self) -> None:
        recorded, alive = self.processes(), self.alive()
        if recorded and recorded.keys() == alive.keys():
            return
        if alive:
            ended = ", ".join(sorted(recorded.keys() - alive.keys()))
            raise ClusterError(f"a cluster is half up (ended: {ended}); run `cluster down` first")
        self.down()  # what a machine leaves that was switched off; nothing of it runs
        if any(machine.pod_cgroups()):
            raise ClusterError("another kubelet's pods are on this machine (cgroup kubepods)")
        for folder in ("logs", "run", "config"):
            (self.state / folder).mkdir(parents=True)
        machine.prepare(self.state)
        self.write_configuration()
        make_identities(self.pki)
        self.start_registry()
        self.start_control_plane()
        self.start_node()
        self.start_ingress()
        self.wait_until_useful()

    def down(self) -> None:
        if not self.state.exists():
            return
        self.remove_pods()
        self.stop(*(name for name in self.processes() if name != "containerd"))
        # What is left in the pods' cgroups, and containerd's shims, outlive their parents.
        machine.end_processes(machine.pod_processes(), within_s=2)
        machine.end_processes(machine.processes_naming(self.containerd_socket), within_s=5)
        self.stop("containerd")
        machine.unmount_below(self.state)
        machine.restore(self.state, self.bin / "kube-proxy")
        shutil.rmtree(self.state, ignore_errors=True)
        if self.state.exists():
            raise ClusterError(f"{self.state} could not be removed whole")

    def remove_pods(self) -> None:
        """Let the kubelet end the pods while it can; nothing may start new ones meanwhile."""
        self.stop("kube-controller-manager", "kube-scheduler", "kwok")
        if {"kube-apiserver", "kubelet", "containerd"} <= self.alive().keys():
            self.kubectl_succeeds("delete", "pods", "--all", "--all-namespaces",
                                  "--grace-period=1", "--timeout=30s")  # fmt: skip

    def status(self) -> str:
        if not self.processes():
            return "no cluster"
        alive = self.alive()
        lines = [f"{name:26}{alive.get(name, 'ended')}" for name in self.processes()]
        if self.kubectl_succeeds("get", "--raw=/readyz"):
            lines += ["", self.kubectl("get", "nodes,pods", "--all-namespaces", "-o", "wide")]
        return "\n".join(lines)

    def exports(self) -> str:
        values = {
            "KUBECONFIG": self.pki / "admin.kubeconfig",
            "MLFN_GUEST_KUBECONFIG": self.pki / "guest.kubeconfig",
            "MLFN_INGRESS": f"http://{INGRESS.removesuffix(':80')}",
            "MLFN_REGISTRY": f"{NODE}:{self.registry_port}",
        }
        lines = [f"export {name}={shlex.quote(str(value))}" for name, value in values.items()]
        return "\n".join([*lines, f'export PATH="{self.bin}:$PATH"'])

    # Processes. The record holds pid and start time: a pid that was given away anew is not ours.

    def processes(self) -> dict[str, tuple[int, int]]:
        try:
            record = json.loads((self.state / "processes.json").read_text())
        except FileNotFoundError:
            return {}
        return {name: (pid, started) for name, (pid, started) in record.items()}

    def alive(self) -> dict[str, int]:
        return {name: pid for name, (pid, started) in self.processes().items() if machine.start_time(pid) == started}

    def start(self, name: str, *command: str | Path, env: dict[str, str] | None = None) -> None:
        with (self.state / "logs" / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [str(word) for word in command],
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        record = {**self.processes(), name: (child.pid, machine.start_time(child.pid))}
        (self.state / "processes.json").write_text(json.dumps(record, indent=1))

    def stop(self, *names: str) -> None:
        """End processes, the stubborn ones by force: nothing that they hold is kept."""
        pids = [pid for name, pid in self.alive().items() if name in names]
        machine.end_processes(pids, within_s=2)

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        return run(*self.kubectl_as_admin(), *words, stdin=stdin)

    def kubectl_succeeds(self, *words: str) -> bool:
        return succeeds(*self.kubectl_as_admin(), *words)

    def kubectl_as_admin(self) -> tuple[Path, str]:
        return self.bin / "kubectl", f"--kubeconfig={self.pki}/admin.kubeconfig"

    # The steps of `up`.

    def write_configuration(self) -> None:
        """Fill in the files of config/ and manifests/ and put them where they are read."""
        values = {
            "bridge": BRIDGE,
            "containerd_socket": self.containerd_socket,
            "coredns_image": IMAGES["coredns"],
            "dns": DNS_SERVICE,
            "ingress_port": INGRESS.split(":")[1],
            "ingress_private_port": INGRESS_PRIVATE.split(":")[1],
            "no_apparmor": str(not Path("/sys/kernel/security/apparmor").exists()).lower(),
            "node": NODE,
            "node_name": NODE_NAME,
            "pause_image": IMAGES["pause"],
            "pods": PODS,
            "registry_url": f"http://{NODE}:{self.registry_port}",
            "state": self.state,
        }
        names = [f"{host}:{self.registry_port}" for host in (NODE, "127.0.0.1", "localhost")]
        places = {
            "cni.conflist": ["cni/10-mlfn.conflist"],
            "hosts.toml": [f"registries/{name}/hosts.toml" for name in names],
        }
        for source in (*(HERE / "config").iterdir(), *(HERE / "manifests").iterdir()):
            text = Template(source.read_text()).substitute(values)
            for place in places.get(source.name, [source.name]):
                (self.config / place).parent.mkdir(parents=True, exist_ok=True)
                (self.config / place).write_text(text)

    def start_registry(self) -> None:
        """Serve one store on two addresses: the bridge's for all, loopback for the host's tools."""
        for name, host in (("registry", NODE), ("registry-loopback", "127.0.0.1")):
            address = {"REGISTRY_HTTP_ADDR": f"{host}:{self.registry_port}"}
            self.start(name, "docker-registry", "serve", self.config / "registry.yml", env=address)

    def start_control_plane(self) -> None:
        self.start(
            "etcd",
            self.bin / "etcd",
            f"--data-dir={self.state}/etcd",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            f"--listen-peer-urls={ETCD_PEER}",
            f"--initial-advertise-peer-urls={ETCD_PEER}",
            f"--initial-cluster=default={ETCD_PEER}",
            "--log-level=warn",
            # The cluster is thrown away at `down`, so nothing need wait for the disk.
            "--unsafe-no-fsync",
        )
        pki = self.pki
        self.start(
            "kube-apiserver",
            self.bin / "kube-apiserver",
            f"--bind-address={NODE}",
            f"--advertise-address={NODE}",
            "--secure-port=6443",
            f"--etcd-servers={ETCD}",
            f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/apiserver-to-kubelet.crt",
            f"--kubelet-client-key={pki}/apiserver-to-kubelet.key",
            # The node's name is known to nobody's DNS.
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/serviceaccounts.key",
            f"--service-account-signing-key-file={pki}/serviceaccounts.key",
        )
        wait_for("API server", lambda: self.kubectl_succeeds("get", "--raw=/readyz"))
        self.start(
            "kube-controller-manager",
            self.bin / "kube-controller-manager",
            f"--kubeconfig={pki}/kube-controller-manager.kubeconfig",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            # Its own 20 a second make 200 nodes without machines wait half a minute for the taint of new nodes to go.
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--use-service-account-credentials=true",
            f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/serviceaccounts.key",
        )
        self.start(
            "kube-scheduler",
            self.bin / "kube-scheduler",
            f"--kubeconfig={pki}/kube-scheduler.kubeconfig",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        )

    def start_node(self) -> None:
        self.start("containerd", "containerd", "--config", self.config / "containerd.toml")
        wait_for("containerd", self.containerd_socket.exists)
        for name in IMAGES:
            self.import_image(self.cache / f"{name}.tar")
        self.start(
            "kubelet",
            self.bin / "kubelet",
            f"--config={self.config}/kubelet.yaml",
            f"--kubeconfig={self.pki}/kubelet.kubeconfig",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={NODE}",
            f"--root-dir={self.state}/kubelet",
        )
        self.start("kube-proxy", self.bin / "kube-proxy", f"--config={self.config}/kube-proxy.yaml")

    def import_image(self, archive: Path) -> None:
        """Give containerd an image directly, so that no registry has to serve it."""
        run("ctr", "--address", self.containerd_socket, "--namespace", "k8s.io",
            "images", "import", archive)  # fmt: skip

    def start_ingress(self) -> None:
        """Serve Knative's routes, whenever Knative may come to be installed."""
        self.kubectl("apply", "-f", f"{self.config}/ingress.yaml")
        self.start(
            "ingress",
            self.bin / "ingress",
            f"--public={INGRESS}",
            f"--private={INGRESS_PRIVATE}",
            f"--kubeconfig={self.pki}/admin.kubeconfig",
        )

    def wait_until_useful(self) -> None:
        self.kubectl("apply", "-f", f"{self.config}/coredns.yaml")
        ready = ("wait", "node", NODE_NAME, "--for=condition=Ready", "--timeout=5s")
        wait_for("node", lambda: self.kubectl_succeeds(*ready))
        wait_for("DNS", lambda: machine.resolves("kubernetes.default.svc.cluster.local"))
        wait_for("registry", lambda: machine.accepts(NODE, self.registry_port)
                 and machine.accepts("127.0.0.1", self.registry_port))  # fmt: skip
        if ended := sorted(self.processes().keys() - self.alive().keys()):
            # Most often another program holds its port.
            raise ClusterError(f"ended early: {', '.join(ended)}; see {self.state}/logs")

    # Nodes for the scheduler alone.

    def add_fake_nodes(self, count: int) -> None:
        """Add nodes that exist only as objects; kwok answers for them and for their pods."""
        if "kwok" not in self.alive():
            self.start(
                "kwok",
                self.bin / "kwok",
                f"--kubeconfig={self.pki}/admin.kubeconfig",
                "--config=/dev/null",
                "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                "--node-lease-duration-seconds=40",
                "--server-address=127.0.0.1:10247",
                "--v=WARN",
            )
        nodes = [fake_node(index) for index in range(count)]
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes})
        self.kubectl("apply", "--server-side", "-f", "-", stdin=document)


def fake_node(index: int) -> dict[str, object]:
    name = f"fake-{index:05}"
    capacity = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name, "type": "fake"},
        },
        # Ordinary pods, which need real containers, stay away.
        "spec": {"taints": [{"key": "type", "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
