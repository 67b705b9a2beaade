"""The image under the restrictions of a strict cluster: commands, user, contents and operation."""

from pathlib import Path

import pytest

from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.processes.image import ImageProcess, RecordServiceImage, run_command
from tests.support.records.records import make_record
from tests.support.records.service import Client
from tests.support.repository import ROOT

pytestmark = pytest.mark.image

PYTHON = "/opt/venv/bin/python"
LOCK = ROOT / "requirements-operator.lock"


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--image"))


def python(image: str, program: str) -> str:
    """Run a program with the image's Python, and return its output."""
    code, printed = run_command(image, "-c", program, entrypoint=PYTHON)
    assert code == 0, printed
    return printed.strip()


def test_the_image_prints_its_version(image: str) -> None:
    code, printed = run_command(image, "version")
    assert code == 0
    assert printed.startswith("trainingjob-operator: 0.")


def test_the_image_runs_as_nobody_without_a_writable_path(image: str) -> None:
    program = """
import os
print(os.getuid(), os.getgid(), [line for line in open("/proc/self/status")
      if line.startswith(("CapEff", "NoNewPrivs"))])
for folder in ("/", "/tmp", "/opt/venv", os.environ["HOME"]):
    try:
        open(f"{folder}/file", "w")
    except OSError:
        continue
    print("wrote to", folder)
"""
    nothing = ["CapEff:\t0000000000000000\n", "NoNewPrivs:\t1\n"]
    assert python(image, program) == f"65532 65532 {nothing}"


def test_the_image_contains_exactly_the_locked_packages_and_no_sandbox(image: str) -> None:
    program = """
from importlib import metadata, util
print(*(d.name.lower() for d in metadata.distributions()))
assert not any(map(util.find_spec, ("trainingjob_sandbox", "cel", "jsonschema", "rich", "pip")))
"""
    locked = {line.split("==")[0] for line in LOCK.read_text().splitlines() if "==" in line}
    installed = {name.replace("_", "-") for name in python(image, program).split()}
    assert installed == locked | {"trainingjob-operator"}


def test_the_image_can_delete_in_a_separate_process(image: str) -> None:
    program = """
import os
from trainingjob_operator.volume.sweep.deleter_pool import Deletion, Deleter
from trainingjob_operator.volume.sweep.trash import Trash
name = f"x.{'0' * 12}.job_a"
os.mkdir(f"/trash/{name}")
open(f"/trash/{name}/file", "w").close()
fd = os.open("/trash", os.O_RDONLY)
deleter = Deleter(Trash(fd, os.fstat(fd).st_dev, lambda: None))
deleter.ask(Deletion(name, "job_a"))
answer = deleter.answer()
deleter.end()
print(answer.tally, answer.error, os.listdir("/trash"), deleter.process.returncode)
"""
    code, printed = run_command(image, "-c", program, entrypoint=PYTHON, scratch="/trash")
    assert code == 0, printed
    assert printed.strip() == "RemovalCounts(files=1, directories=1) None [] 0"


@pytest.mark.parametrize("command", [["run", "job.yaml"], ["sandbox", "up"]])
def test_sandbox_commands_are_rejected_in_one_line(image: str, command: list[str]) -> None:
    code, printed = run_command(image, *command)
    assert code == 2
    assert len(printed.splitlines()) == 1
    assert "not in the operator's image" in printed
    assert "pip install '.[sandbox]'" in printed


def test_without_a_cluster_the_image_prints_a_one_line_hint(image: str) -> None:
    code, printed = run_command(image)
    assert code == 2
    assert len(printed.splitlines()) == 1
    assert "cannot find the Kubernetes API server" in printed
    assert "KUBECONFIG" in printed


def test_all_modules_of_the_operator_are_precompiled(image: str) -> None:
    program = """
import os, sys
import trainingjob_cli.main, trainingjob_operator.logging_setup, trainingjob_operator.runtime
import trainingjob_operator.commands.record_token, trainingjob_operator.commands.release_finalizers
modules = [m.__spec__ for m in list(sys.modules.values()) if getattr(m, "__spec__", None)]
sources = [s for s in modules if (s.origin or "").endswith(".py")]
assert len(sources) > 300, len(sources)
print(*(s.name for s in sources if not os.path.exists(s.cached)))
"""
    assert python(image, program) == ""


SERVE = """
import asyncio, os, signal, sys, threading, urllib.request
from trainingjob_records.server import Service
from trainingjob_records.settings import Settings

def ask(path):
    while True:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:8090{path}").read()
        except OSError:
            pass

def look():
    for path in ("/readyz", "/metrics", "/openapi.json", "/api/v1/jobs"):
        ask(path)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=look).start()
asyncio.run(Service(Settings(database="sqlite:////scratch/db")).serve())
import sqlalchemy
sqlalchemy.create_engine("postgresql+psycopg://").dialect.import_dbapi()
modules = [m.__spec__ for m in list(sys.modules.values()) if getattr(m, "__spec__", None)]
sources = [s for s in modules if (s.origin or "").endswith(".py")]
assert len(sources) > 300, len(sources)
print(*(s.name for s in sources if not os.path.exists(s.cached)))
"""


def test_all_modules_of_the_record_service_are_precompiled(image: str) -> None:
    code, printed = run_command(image, "-c", SERVE, entrypoint=PYTHON, scratch="/scratch")
    assert (code, printed.strip()) == (0, "")


LOOK = """
import asyncio, json, os, signal, sys, threading, urllib.request
from pathlib import Path
from trainingjob_console.server import Console
from trainingjob_console.settings import Settings

Path("/scratch/config").write_text(json.dumps({
    "current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "a", "user": {"token": "t"}}],
}))

def ask(path):
    while True:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:8070{path}").read()
        except OSError:
            pass

def look():
    for path in ("/healthz", "/", "/api/jobs", "/api/housekeeping"):
        ask(path)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=look).start()
settings = Settings(kubeconfig="/scratch/config", auth="none", log_level="error")
asyncio.run(Console(settings).serve())
modules = [m.__spec__ for m in list(sys.modules.values()) if getattr(m, "__spec__", None)]
sources = [s for s in modules if (s.origin or "").endswith(".py")]
assert len(sources) > 300, len(sources)
print(*(s.name for s in sources if not os.path.exists(s.cached)))
"""


def test_all_modules_of_the_console_are_precompiled(image: str) -> None:
    code, printed = run_command(image, "-c", LOOK, entrypoint=PYTHON, scratch="/scratch")
    # What it says of the API server that is not there comes first.
    assert (code, printed.splitlines()[-1]) == (0, ""), printed


async def test_the_images_record_service_keeps_a_record_after_sigkill(
    image: str, tmp_path: Path
) -> None:
    record = make_record()
    with RecordServiceImage(image, tmp_path) as service:
        await service.wait_until_ready()
        async with Client(service.url) as client:
            assert (await client.put(record)).json["result"] == "stored"
        service.kill()

        service.start()
        await service.wait_until_ready()
        async with Client(service.url) as client:
            assert (await client.get(f"/api/v1/jobs/{record['uid']}")).json == record

        code, seconds = service.terminate()
        assert code == 0, service.log()
        assert seconds < 2.0


async def test_the_images_operator_completes_a_job_and_exits_at_once_on_sigterm(
    image: str, api: Api, tmp_path: Path
) -> None:
    with ImageProcess(image, api.server.operator_kubeconfig, tmp_path / "op.log") as operator:
        operator.wait_until_ready()
        await api.apply(make_job("digits", nodes=2))
        for pod in await api.wait_for_pods("digits", 2):
            await api.start_pod(pod)
        await api.wait_for_phase("digits", "Running")
        for pod in await api.pods("digits"):
            await api.finish_pod(pod)
        await api.wait_for_phase("digits", "Succeeded")

        code, seconds = operator.terminate()
        assert code == 0, operator.log()
        assert seconds < 2.0
