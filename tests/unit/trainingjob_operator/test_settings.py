"""Settings: accepted variables, and the messages about rejected ones."""

from pathlib import Path

import pytest

from trainingjob_api.errors import SettingsError
from trainingjob_operator.settings import Settings, variable_names


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"TRAININGJOB_INDEX__MAX_JOB": "5"}, "did you mean TRAININGJOB_INDEX__MAX_JOBS?"),
        ({"TRAININGJOB_INDEX__MAX_JOBS": "many"}, "TRAININGJOB_INDEX__MAX_JOBS: "),
        ({"TRAININGJOB_INDEX__MAX_JOBS": "0"}, "greater than or equal to 1"),
        ({"TRAININGJOB_LOGGING__FORMAT": "xml"}, "'json' or 'console'"),
        ({"TRAININGJOB_VOLUME__ROOT": "volume"}, "TRAININGJOB_VOLUME__ROOT: "),
        ({"TRAININGJOB_VOLUME__ROOT": "/"}, "TRAININGJOB_VOLUME__ROOT: "),
        ({"PERIODIC_CLEANUP_INTERVAL": "often"}, "TRAININGJOB_GC__INTERVAL: must be seconds"),
        ({"PERIODIC_CLEANUP_INTERVAL": "0"}, "TRAININGJOB_GC__INTERVAL: "),
        ({"TRAININGJOB_GC__TTL": "-1"}, "TRAININGJOB_GC__TTL: "),
        ({"TRAININGJOB_OPERATOR_NAMESPACE": "Ops"}, "TRAININGJOB_OPERATOR_NAMESPACE: "),
        ({"TRAININGJOB_CONFIG": "/no/such/file"}, "cannot read /no/such/file"),
    ],
)
def test_a_rejected_setting_is_named_with_the_accepted_values(
    variables: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(variables)
    assert sentence in str(caught.value)


def test_variables_of_others_are_left_alone() -> None:
    Settings.from_environment({"TRAININGJOB_OPERATOR_SERVICE_HOST": "10.0.0.7", "PATH": "/bin"})


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("index: {max_jobs: 7, retention: 2h}\n")
    settings = Settings.from_environment(
        {"TRAININGJOB_CONFIG": str(path), "TRAININGJOB_INDEX__MAX_JOBS": "9"}
    )
    assert (settings.index.max_jobs, settings.index.retention) == (9, 7200)


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, 600),
        ({"PERIODIC_CLEANUP_INTERVAL": "5m"}, 300),
        ({"TRAININGJOB_GC__INTERVAL": "90s"}, 90),
        ({"PERIODIC_CLEANUP_INTERVAL": "5m", "TRAININGJOB_GC__INTERVAL": "90s"}, 90),
    ],
)
def test_the_interval_of_the_housekeeping_has_two_names(
    variables: dict[str, str], seconds: float
) -> None:
    assert Settings.from_environment(variables).gc.interval == seconds


def test_a_finished_job_may_be_kept_for_any_time_or_none() -> None:
    for text, seconds in (("0", 0), ("30d", 2_592_000)):
        assert Settings.from_environment({"TRAININGJOB_GC__TTL": text}).gc.ttl == seconds


def test_every_variable_is_listed_once() -> None:
    names = list(variable_names())
    assert len(names) == len(set(names))
    assert "TRAININGJOB_RESTART__BACKOFF_CAP" in names


def test_the_operators_own_namespace_is_the_one_that_is_set_or_that_of_its_connection() -> None:
    assert Settings().own_namespace("account") == "account"
    assert Settings(operator_namespace="ops").own_namespace("account") == "ops"
