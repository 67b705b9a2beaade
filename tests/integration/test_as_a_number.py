"""The operator runs with a numeric UID without a passwd entry, as in a container."""

from pathlib import Path

from tests.support.apiserver.api import ApiServerUnderTest
from tests.support.processes.operator import OperatorProcess

_NOBODY_KNOWS = """\
import pwd

def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = unknown
"""


def test_the_operator_runs_as_a_user_without_a_name(
    own_api_server: ApiServerUnderTest, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_NOBODY_KNOWS)
    nameless = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "")
    with OperatorProcess(
        own_api_server.kubeconfig,
        tmp_path / "log",
        PYTHONPATH=str(tmp_path),
        HOME="/nonexistent",
        **nameless,
    ) as operator:
        operator.wait_until_ready()
