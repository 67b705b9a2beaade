"""Installs the chart on a real node, and runs a user's jobs there."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hack.chart import CHART
from hack.cluster.node.config import NODE
from hack.cluster.node.node import RealNode
from tests.support.builders import make_job
from tests.support.real.chart import Values, run_helm
from tests.support.real.real_cluster import kubectl

Object = dict[str, Any]

RELEASE = "trainingjob-operator"
CONSOLE = f"{RELEASE}-console"
SYSTEM = "trainingjob-system"
TEAM = "team"
IMAGE = "python:3.11-slim"
PATIENCE_S = 240.0
"""For what never comes: other tests may work beside these, on a machine of two cores."""
LOGS = "logs"
"""The claim of the log volume, in both namespaces."""
# Messages of kubectl after a timeout of the API server, or of the API server after one of etcd.
_BUSY = ("Unable to connect to the server", "etcdserver: ", "TLS handshake timeout")
_TRIES = 5
_GO = "go"
"""The file in a job's directory for which a `held_job` waits."""


class InstalledChart:
    """The release in a namespace that enforces `restricted`, and a team's namespace."""

    def __init__(self, node: RealNode, operator_image: str) -> None:
        self.node = node
        registry, _, rest = operator_image.partition("/")
        repository, _, tag = rest.partition(":")
        self._image = {"registry": registry, "repository": repository, "tag": tag}
        self.logs = node.volumes / "logs"

    # --- the release ----------------------------------------------------------------------------

    def make_namespaces(self) -> None:
        """Make both namespaces, a log volume that both mount, and one for the records."""
        for namespace in (SYSTEM, TEAM):
            self.kubectl("create", "namespace", namespace)
        enforce = "pod-security.kubernetes.io/enforce=restricted"
        self.kubectl("label", "namespace", SYSTEM, enforce)
        self.logs.mkdir()  # owned by root, like a newly formatted disk
        records = self.node.volumes / "records"
        records.mkdir()
        self.apply(
            *_volume("logs-system", self.logs, SYSTEM, LOGS),
            *_volume("logs-team", self.logs, TEAM, LOGS),
            *_volume("records", records, SYSTEM, f"{RELEASE}-records", bound=False),
        )

    def helm(self, command: str, *arguments: str | Path, values: Values | None = None) -> str:
        """Run Helm 4 in the release's namespace; return what it prints."""
        where = ("--kubeconfig", self.node.plane.kubeconfig, "--namespace", SYSTEM)
        return run_helm(4, command, RELEASE, *arguments, *where, values=values)

    def install(self, values: Values | None = None, *, command: str = "install") -> str:
        """Install the chart, or `upgrade` to it, and wait as Helm does."""
        given: Values = {
            "image": self._image,
            "logVolume": {"existingClaim": LOGS, "accessMode": "ReadWriteMany"},
            **(values or {}),
        }
        return self.helm(command, CHART, "--wait", "--timeout", "6m", values=given)

    def operators(self) -> list[Object]:
        """Return the operator's pods that run."""
        selector = (
            "app.kubernetes.io/name=trainingjob-operator,app.kubernetes.io/component=operator"
        )
        found = self.get("pods", "-n", SYSTEM, "-l", selector)["items"]
        return [pod for pod in found if pod["status"].get("phase") == "Running"]

    def leader(self) -> str:
        """Return the name of the pod that holds the Lease; "": none does."""
        holder = self.holder()
        names = [pod["metadata"]["name"] for pod in self.operators()]
        return next((name for name in names if holder.startswith(name)), "")

    def holder(self) -> str:
        """Return the process that holds the Lease, by its own name; "": none does, or there is no Lease."""
        field = "jsonpath={.spec.holderIdentity}"
        return self.kubectl(
            "get", "lease", RELEASE, "-n", SYSTEM, "--ignore-not-found", "-o", field
        )

    def viewer(self, name: str, *, everywhere: bool = False) -> str:
        """Make an account that sees the team's jobs in the console, or those of all; return its token."""
        self.kubectl("create", "serviceaccount", name, "-n", TEAM)
        of = (f"--clusterrole={CONSOLE}-view", f"--serviceaccount={TEAM}:{name}")
        if everywhere:
            self.kubectl("create", "clusterrolebinding", name, *of)
        else:
            self.kubectl("create", "rolebinding", name, "-n", TEAM, *of)
        # The API server notices a new right after a moment; the console caches its absence for longer.
        where = "--all-namespaces" if everywhere else f"--namespace={TEAM}"
        account = f"--as=system:serviceaccount:{TEAM}:{name}"
        self.wait(lambda: self._may("list", "trainingjobs", where, account), f"{name} to see jobs")
        return self.kubectl("create", "token", name, "-n", TEAM).strip()

    def _may(self, *what: str) -> bool:
        try:
            self.kubectl("auth", "can-i", *what)
        except AssertionError:  # "no" is an exit code of 1
            return False
        return True

    # --- jobs -----------------------------------------------------------------------------------

    def submit(self, *jobs: Object) -> None:
        """Apply jobs, as a user of the team does."""
        self.apply(*jobs)

    def job(self, name: str) -> Object:
        """Return a job of the team."""
        return self.get("trainingjob", name, "-n", TEAM)

    def finished(self, name: str, *, patience_s: float = PATIENCE_S) -> tuple[str, str, str]:
        """Wait until a job is over; return type, reason and message of its last condition."""
        self.wait(lambda: _outcome(self.job(name)) is not None, f"{name} to end", patience_s)
        outcome = _outcome(self.job(name))
        assert outcome is not None
        return outcome

    def archived(self, name: str) -> str:
        """Wait until the logs of a finished job are archived or given up; return all archived ones."""

        def is_settled() -> bool:
            # When it ends, its status first says that the logs are pending.
            _, reason = _conditions(self.job(name)).get("LogsArchived", ("", "Pending"))
            return reason != "Pending"

        self.wait(is_settled, f"the logs of {name}")
        uid = self.job(name)["metadata"]["uid"]
        return "".join(path.read_text() for path in sorted(self.logs.glob(f"job_{uid}*.log")))

    def directory(self, name: str) -> Path:
        """Return a job's directory on the volume."""
        return self.logs / f"job_{self.job(name)['metadata']['uid']}"

    def running(self, name: str) -> None:
        """Wait until all ranks of a job run."""
        self.wait(
            lambda: _conditions(self.job(name)).get("PodsReady", ("", ""))[0] == "True",
            f"the ranks of {name} to run",
        )

    def let_end(self, name: str) -> None:
        """Let the running trainers of a `held_job` finish."""
        (self.directory(name) / _GO).touch()

    def pods(self, name: str) -> list[Object]:
        """Return the pods of a job."""
        selector = f"trainingjob.dev/job-name={name}"
        return list(self.get("pods", "-n", TEAM, "-l", selector)["items"])

    # --- kubectl --------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return kubectl(self.node.plane.kubeconfig, *arguments, stdin=stdin)

    def get(self, *arguments: str) -> Object:
        """Return objects; retries if the API server times out."""
        tries = 0
        while True:
            try:
                return dict(json.loads(self.kubectl("get", "-o", "json", *arguments)))
            except AssertionError as error:
                tries += 1
                if tries == _TRIES or not any(words in str(error) for words in _BUSY):
                    raise
            time.sleep(1)

    def apply(self, *objects: Object) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def wait(self, holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until a condition is true.

        Raises:
            AssertionError: it does not, after so many seconds; with what the operator has logged.
        """
        deadline = time.monotonic() + patience_s
        while not holds():
            if time.monotonic() > deadline:
                said = self._what_there_is()
                raise AssertionError(f"waited {patience_s:.0f} s for {what}\n{said}")
            time.sleep(0.3)

    def _what_there_is(self) -> str:
        said = self.kubectl("get", "tj,pods", "-A", "-o", "wide")
        where = ("-n", SYSTEM, "-l", "app.kubernetes.io/component=operator")
        with suppress(AssertionError):  # a container that has not started has no log
            said += self.kubectl("logs", *where, "--prefix", "--tail=40")
        return said


def shell_job(name: str, script: str, *, nodes: int = 1, pod: Object | None = None,
              limits: Object | None = None, **spec: Any) -> Object:  # fmt: skip
    """Return a job whose trainers run a shell script."""
    container: Object = {"name": "trainer", "image": IMAGE, "command": ["sh", "-c", script]}
    if limits:
        container["resources"] = {"limits": limits}
    template = {
        "spec": {"terminationGracePeriodSeconds": 5, "containers": [container], **(pod or {})}
    }
    return make_job(name, namespace=TEAM, nodes=nodes, **({"template": template} | spec))


def held_job(name: str, *, nodes: int = 1) -> Object:
    """Return a job whose trainers print their attempt, and run until `InstalledChart.let_end`."""
    script = f"echo attempt $TRAININGJOB_ATTEMPT; until [ -e /training/{_GO} ]; do sleep 0.2; done"
    return shell_job(name, script, nodes=nodes, logs={"volume": True, "claimName": LOGS})


def _conditions(job: Object) -> dict[str, tuple[str, str]]:
    found = job.get("status", {}).get("conditions", [])
    return {each["type"]: (each["status"], each["reason"]) for each in found}


def _outcome(job: Object) -> tuple[str, str, str] | None:
    for each in job.get("status", {}).get("conditions", []):
        if each["type"] in ("Complete", "Failed", "Cancelled") and each["status"] == "True":
            return each["type"], each["reason"], each["message"]
    return None


def _volume(
    name: str, folder: Path, namespace: str, claim: str, *, bound: bool = True
) -> list[Object]:
    """Return a `local` volume on the node, and the claim that it is for.

    Args:
        name: the volume's name.
        folder: where it is.
        namespace, claim: the claim.
        bound: whether the claim is made here; else the chart makes it, for the default class.
    """
    size = {"storage": "1Gi"}
    modes = ["ReadWriteMany"] if bound else ["ReadWriteOnce"]
    affinity = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": size,
            "accessModes": modes,
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"namespace": namespace, "name": claim},
            "local": {"path": str(folder)},
            "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [affinity]}]}
            },
        },
    }
    if not bound:
        return [volume]
    wanted = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim, "namespace": namespace},
        "spec": {
            "accessModes": modes,
            "resources": {"requests": size},
            "storageClassName": "",
            "volumeName": name,
        },
    }
    return [volume, wanted]
