"""The console of a run has the operator's settings that apply to both."""

from pathlib import Path

from trainingjob_console.settings import Settings
from trainingjob_sandbox.run.console import console_settings


def test_the_console_has_the_operators_log_max_age() -> None:
    operator = {"TRAININGJOB_VOLUME__MAX_AGE": "90s", "TRAININGJOB_GC__TTL": "90s"}
    found = console_settings(Path("kubeconfig"), None, Path("volume"), operator)
    settings = Settings.from_environment(found)
    assert (settings.log_max_age, settings.log_volume) == (90.0, Path("volume"))
    usual = Settings.from_environment(console_settings(Path("kubeconfig"), None, None, {}))
    assert (usual.log_max_age, usual.log_volume) == (7 * 86_400.0, None)
