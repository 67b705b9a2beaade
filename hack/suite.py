"""Runs the test suite within a time budget: `python -m hack.suite quick|all|real|browser|unit [--area AREA] [ARGUMENT ...]`.

`quick` runs everything but the long tests, as `make test` does. `all` includes these. `real` runs the tests that
need an API server on a real control plane; `browser` those of the console's page; `unit` those that need only the
code. The tests that measure the machine run first and alone; then several processes share the others. `areas` runs
one area after the other and prints their times.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from hack.cluster.process import SPARING

ROOT: Final = Path(__file__).resolve().parent.parent
PROCESSES: Final = {"quick": 4, "all": 3, "real": 4, "browser": 2, "unit": 2}
"""Number of test processes, each with servers and databases of its own. Tests mostly wait, so it exceeds the cores."""

SIDE_BY_SIDE: Final = ("--dist", "loadfile", "--no-loadscope-reorder")
"""An idle process takes the next file, so that what a module starts is started once."""

FIRST: Final = (
    "tests/charts/test_release.py",
    "tests/charts/test_install.py",
    "tests/integration/test_demo.py",
    "tests/real/test_two_writers.py",
    "tests/real/test_bench.py",
    "tests/charts/test_narrowing.py",
    "tests/integration/records/test_failover.py",
    "tests/unit/trainingjob_console/sockets/test_hub_deaths.py",
    "tests/bounds/test_soak.py",
    "tests/integration/test_full_volume.py",
)
"""The files that take minutes, the longest first: started last, one would keep a process busy after the others have ended."""

SLOWEST: Final = ("--durations=25", "--durations-min=5")
"""Print the slowest tests, to find out why a run exceeds its budget."""

BUDGET_MIN: Final = {"quick": 5, "all": 15, "real": 15}
"""Time budget in minutes, on two cores."""

OPERATOR: Final = "tests/unit/trainingjob_operator"
AREAS: Final[dict[str, tuple[str, ...]]] = {
    "core": (f"{OPERATOR}/core", "tests/unit/trainingjob_api", "tests/contract/test_as_batch.py"),
    "jobs": (
        f"{OPERATOR}/jobs",
        f"{OPERATOR}/handlers",
        f"{OPERATOR}/test_engine.py",
        "tests/contract/test_admission.py",
        "tests/integration/test_job_life.py",
        "tests/integration/test_crashes.py",
        "tests/integration/test_definitions.py",
        "tests/integration/test_evictions.py",
        "tests/integration/test_foreign_conditions.py",
        "tests/integration/test_gangs.py",
        "tests/integration/test_memory_pressure.py",
        "tests/integration/test_missing_roles.py",
        "tests/integration/test_obstacles.py",
        "tests/integration/test_parked_jobs.py",
        "tests/integration/test_poison.py",
        "tests/integration/test_restore.py",
        "tests/integration/test_side_containers.py",
        "tests/integration/test_standstill.py",
        "tests/bounds",
    ),
    "records": (
        f"{OPERATOR}/records",
        f"{OPERATOR}/commands",
        "tests/unit/trainingjob_records",
        "tests/unit/trainingjob_web",
        "tests/integration/records",
        "tests/integration/test_outage.py",
        "tests/integration/test_record_token.py",
        "tests/integration/test_records.py",
        "tests/integration/test_release_elsewhere.py",
    ),
    "console": (
        "tests/unit/trainingjob_console",
        "tests/unit/trainingjob_web",
        "tests/integration/console",
    ),
    "log_archive": (
        f"{OPERATOR}/log_archive",
        "tests/integration/test_full_volume.py",
        "tests/integration/test_log_archive.py",
    ),
    "retention": (
        f"{OPERATOR}/retention",
        f"{OPERATOR}/handlers",
        "tests/integration/test_gc_command.py",
        "tests/integration/test_housekeeping.py",
        "tests/integration/test_retention.py",
        "tests/integration/test_standstill.py",
    ),
    "volume": (
        f"{OPERATOR}/volume",
        f"{OPERATOR}/test_descriptors.py",
        f"{OPERATOR}/commands/test_prune.py",
        "tests/integration/test_full_volume.py",
        "tests/integration/test_trash.py",
        "tests/integration/test_two_clusters.py",
    ),
    "observability": (
        f"{OPERATOR}/observability",
        f"{OPERATOR}/test_logging_setup.py",
        "tests/integration/test_port_flood.py",
        "tests/integration/test_prometheus.py",
    ),
    "kube": (
        f"{OPERATOR}/kube",
        "tests/contract/test_gateway.py",
        "tests/contract/test_gateway_faults.py",
        "tests/integration/test_faults.py",
    ),
    "sandbox": (
        "tests/unit/trainingjob_sandbox",
        "tests/contract",
        "tests/integration/test_digits_trainer.py",
        "tests/integration/test_kubectl.py",
        "tests/integration/test_node.py",
        "tests/integration/test_node_sidecars.py",
        "tests/integration/test_samples.py",
        "tests/integration/test_starter.py",
    ),
    "cli": (
        "tests/unit/trainingjob_cli",
        f"{OPERATOR}/commands",
        f"{OPERATOR}/test_clock.py",
        f"{OPERATOR}/test_leadership.py",
        f"{OPERATOR}/test_runtime.py",
        f"{OPERATOR}/test_runtime_start.py",
        f"{OPERATOR}/test_setting_types.py",
        f"{OPERATOR}/test_settings.py",
        "tests/integration/test_as_a_number.py",
        "tests/integration/test_command_lease.py",
        "tests/integration/test_demo.py",
        "tests/integration/test_gc_command.py",
        "tests/integration/test_leadership.py",
        "tests/integration/test_smoke.py",
    ),
    "charts": ("tests/charts", "tests/unit/hack", "tests/unit/support"),
}
"""What a change of each part can break. The layout of the tree is in none: it is always run."""

ALWAYS: Final = "tests/test_layout.py"
NOTHING_BUT_CODE: Final = ("tests/unit", "tests/contract", ALWAYS)
IN_A_BROWSER: Final = "tests/browser"
"""These run by themselves (`make test-browser`): the browser's driver has an event
loop in the thread of the tests, in which no other test can run one."""

ON_A_SERVER: Final = ("tests/charts", "tests/contract", "tests/real", "tests/integration")
"""Where tests are that speak to an API server."""

MARKED_SERIAL: Final = "pytest.mark.serial"
NO_TESTS: Final = 5
"""pytest's exit code where there is none, as of the tests that measure the machine in some areas."""


def main() -> int:
    """Run the requested tests; print the budget first, because the last line is pytest's own."""
    parser = argparse.ArgumentParser(prog="python -m hack.suite", allow_abbrev=False)
    parser.add_argument("suite", choices=[*PROCESSES, "areas"])
    parser.add_argument("--area", choices=["", *AREAS], default="")
    parser.add_argument(
        "--part", choices=["", "serial", "shared"], default="", help="what runs alone, or all else"
    )
    parser.add_argument("--processes", default="", help="how many; by default as many as are good")
    asked, more = parser.parse_known_args()
    if asked.suite == "areas":
        return print_areas()
    if not asked.area and asked.suite in BUDGET_MIN:
        print(
            f"== the tests have {BUDGET_MIN[asked.suite]} min; their last line has their time",
            flush=True,
        )
    code, _ = run_suite(asked.suite, asked.area, more, part=asked.part, processes=asked.processes)
    return code


def run_suite(
    suite: str, area: str, more: list[str], *, part: str = "", processes: str = ""
) -> tuple[int, float]:
    """Run the tests of an area ("": of all), or one part of them. Returns the exit code and the seconds."""
    begun = time.monotonic()
    paths, options = [*AREAS[area], ALWAYS] if area else ["tests"], [f"--ignore={IN_A_BROWSER}"]
    if suite == "real":
        paths, options = [*ON_A_SERVER], ["--server=real"]
    if suite == "unit":
        paths = [*NOTHING_BUT_CODE]
    if suite == "browser":
        paths, options = [IN_A_BROWSER], []
    unwanted = " and not long" if suite == "quick" else ""
    alone = serial_files(paths) if part != "shared" else []
    code, others = 0, 0
    if alone:
        code = run_pytest(*alone, *options, "-m", f"serial{unwanted}", *more)
        code = 0 if code == NO_TESTS else code
    if part != "serial":
        shared = ["-n", processes or str(PROCESSES[suite]), *SIDE_BY_SIDE, *SLOWEST]
        others = run_pytest(*shared, *paths, *options, "-m", f"not serial{unwanted}", *more)
    return code or others, time.monotonic() - begun


def serial_files(paths: list[str]) -> list[str]:
    """Return the files with a test that measures the machine, and so runs before all others and alone.

    Otherwise it would have to wait for the slowest of the other tests, and these for it.
    """
    found = [file for path in paths for file in sorted((ROOT / path).rglob("test_*.py"))]
    found += [ROOT / path for path in paths if path.endswith(".py")]
    return [str(file.relative_to(ROOT)) for file in found if MARKED_SERIAL in file.read_text()]


def run_pytest(*arguments: str) -> int:
    """Run pytest. Returns its exit code."""
    # Every process of a run imports the same modules, so bytecode is cached between them.
    environment = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    environment |= SPARING  # for kubectl and Helm, which run thousands of times
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def print_areas() -> int:
    """Run each area, and print the times as CONTRIBUTING.md shows them."""
    took = {area: run_suite("quick", area, ["-q"]) for area in AREAS}
    for area, (_, seconds) in took.items():
        print(f"| `make test AREA={area}` | {minutes(seconds)} |")
    return max(code for code, _ in took.values())


def minutes(seconds: float) -> str:
    """Format a duration for output."""
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
