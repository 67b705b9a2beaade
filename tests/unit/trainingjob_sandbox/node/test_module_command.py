"""Modules of this package start as processes, wherever it is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import trainingjob_sandbox

RUN = (
    "import subprocess, sys\n"
    "from trainingjob_sandbox.node.module_command import module_command\n"
    "command = module_command('trainingjob_sandbox.node.supervisor', 'no descriptor')\n"
    "print(subprocess.run(command, stderr=subprocess.PIPE, text=True).stderr)\n"
)


def test_a_module_is_found_where_only_pythonpath_has_the_package(tmp_path: Path) -> None:
    package = Path(trainingjob_sandbox.__file__).parent
    shutil.copytree(package, tmp_path / "packages" / package.name)

    # Without site-packages, as if nothing of ours were installed.
    answer = subprocess.run(
        [sys.executable, "-S", "-c", RUN],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "packages")},
        capture_output=True,
        text=True,
        check=True,
    )

    # The supervisor's own complaint, from the copy.
    assert "invalid literal for int() with base 10: 'no descriptor'" in answer.stdout
    assert str(tmp_path / "packages") in answer.stdout
