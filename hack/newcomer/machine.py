"""A machine with only Debian, Python and make: a root file system in which commands run.

Processes and mounts are in namespaces of their own, so that no mount and no process is left behind. It
uses this machine's network, name server, pip configuration and certificates.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hack.image import base

USER: Final = "newcomer"
_UID: Final = 1000
_HOME: Final = Path("home") / USER
_PIP_FILES: Final = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/resolv.conf")
_NETWORK: Final = ("PIP_", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTP", "NO_PROXY", "ALL_PROXY")
_MOUNT: Final = """
set -e
mount --rbind "$1" "$1"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
"""
_ENTER: Final = (
    _MOUNT
    + """
cd "$1"
mkdir -p .outside
pivot_root . .outside
umount --lazy /.outside
exec setpriv --reuid="$2" --regid="$2" --clear-groups sh -c "$3"
"""
)
# The kernel lets nobody in a chroot make user namespaces: as in most containers, and on
# distributions that restrict them.
_ENTER_CONFINED: Final = _MOUNT + 'exec chroot --userspec="$2:$2" "$1" sh -c "$3"'


class MachineError(Exception):
    """Such a machine cannot be created here. The message says what to do."""


class Machine:
    """A context manager for one such machine, which is removed at its end."""

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise MachineError("only root can make another machine: run this as root")
        archive = base.archive()
        self._root = Path(tempfile.mkdtemp(prefix="trainingjob-newcomer-"))
        self._root.chmod(0o755)
        try:
            self._unpack(archive)
        except BaseException:
            shutil.rmtree(self._root)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # There are no mounts here: they ended with the namespace of each command.
        shutil.rmtree(self._root)

    @property
    def home(self) -> Path:
        """Return the path of the newcomer's home on this machine."""
        return self._root / _HOME

    def without(self, *patterns: str) -> None:
        """Remove the files that match these patterns, as if their package were not installed."""
        for pattern in patterns:
            for path in self._root.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def clone(self, repository: Path) -> None:
        """Clone the last commit into the home."""
        target = self.home / "trainingjob-operator"
        subprocess.run(["git", "clone", "--quiet", repository, target], check=True)
        subprocess.run(["chown", "-R", f"{_UID}:{_UID}", self.home], check=True)

    def run(self, script: str, *, confined: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a script as the newcomer in the clone; print and return its output.

        Args:
            script: what to run.
            confined: True to forbid user namespaces, and so all mounts.
        """
        process = subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child"),
                *("sh", "-c", _ENTER_CONFINED if confined else _ENTER),
                *("enter", self._root, str(_UID)),
                f"cd ~/trainingjob-operator && {script}",
            ],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        printed = []
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"  | {line}", end="", flush=True)
                printed.append(line)
        return subprocess.CompletedProcess(script, process.returncode, "".join(printed))

    def _unpack(self, archive: Path) -> None:
        subprocess.run(["tar", "-C", self._root, "-xf", archive], check=True)
        with (self._root / "etc/passwd").open("a") as passwd:
            passwd.write(f"{USER}:x:{_UID}:{_UID}::/{_HOME}:/bin/sh\n")
        self.home.mkdir(parents=True)
        for file in {*_PIP_FILES, *self._network().values()}:
            self._take_over(Path(file))
        for config in (".config/pip/pip.conf", ".pip/pip.conf"):
            if (Path.home() / config).is_file():
                (self.home / config).parent.mkdir(parents=True)
                shutil.copyfile(Path.home() / config, self.home / config)

    def _take_over(self, file: Path) -> None:
        """Copy a file or directory of this machine, if it exists, to the same path there."""
        if not file.is_absolute() or not file.exists():
            return
        target = self._root / file.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            shutil.copytree(file, target, dirs_exist_ok=True)
        else:
            target.unlink(missing_ok=True)
            shutil.copyfile(file, target)

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": f"/{_HOME}",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "USER": USER,
            **self._network(),
        }

    @staticmethod
    def _network() -> dict[str, str]:
        """Return this machine's environment variables for access to a package index."""
        return {
            name: value
            for name, value in os.environ.items()
            if name.upper().startswith(_NETWORK) or name in {"http_proxy", "https_proxy"}
        }
