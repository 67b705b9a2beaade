"""The settings of the record service, beside the operator's in one environment."""

import pytest
from pydantic import ValidationError

from trainingjob_operator.settings import Settings as OperatorSettings
from trainingjob_records import settings as record_settings
from trainingjob_records.errors import SettingsError
from trainingjob_web.env_settings import is_ours


def read(**variables: str) -> record_settings.Settings:
    return record_settings.Settings.from_environment(variables)


def test_both_programs_understand_one_environment() -> None:
    both = {
        "TRAININGJOB_RECORDS_DATABASE": "sqlite:///x.db",
        "TRAININGJOB_RECORDS_LOG_LEVEL": "debug",
        "TRAININGJOB_INDEX__MAX_JOBS": "7",
        "TRAININGJOB_NAMESPACES": "ml",
    }
    assert OperatorSettings.from_environment(both).index.max_jobs == 7
    assert read(**both).log_level == "debug"


def test_service_variables_of_kubernetes_are_not_settings() -> None:
    read(
        TRAININGJOB_RECORDS_SERVICE_HOST="10.0.0.7",
        TRAININGJOB_RECORDS_SERVICE_PORT_HTTP="80",
        TRAININGJOB_RECORDS_PORT="tcp://10.0.0.7:80",
        TRAININGJOB_RECORDS_PORT_80_TCP_ADDR="10.0.0.7",
        TRAININGJOB_RECORDS_HTTP_SERVICE_HOST="10.0.0.7",
    )


def test_no_setting_is_named_like_a_service_variable() -> None:
    for name in record_settings.variable_names():
        assert is_ours(name, record_settings.PREFIX)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"TRAININGJOB_RECORDS_DATABSE": "x"}, "did you mean TRAININGJOB_RECORDS_DATABASE?"),
        ({"TRAININGJOB_RECORDS_QUEUE_RECORDS": "many"}, "TRAININGJOB_RECORDS_QUEUE_RECORDS: "),
        ({"TRAININGJOB_RECORDS_POOL_SIZE": "0"}, "greater than or equal to 1"),
        ({"TRAININGJOB_RECORDS_RETENTION_AGE": "-1d"}, "must be an age like 400d"),
        ({"TRAININGJOB_RECORDS_RETENTION_AGE": "400y"}, "must be an age like 400d"),
        ({"TRAININGJOB_RECORDS_RETENTION_SIZE": "100%"}, "must be a size like 80%"),
        ({"TRAININGJOB_RECORDS_DATABASE": "redis://x"}, "sqlite:/// or postgresql://"),
        ({"TRAININGJOB_RECORDS_DATABASE": "what"}, "sqlite:/// or postgresql://"),
        ({"TRAININGJOB_RECORDS_DATABASE": "sqlite:///:memory:"}, "must name a file"),
        ({"TRAININGJOB_RECORDS_ADDRESS": "0.0.0.0:80"}, "TRAININGJOB_RECORDS_ANONYMOUS=true"),
    ],
)
def test_an_invalid_setting_is_named_with_its_valid_values(
    variables: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**variables)
    assert sentence in str(caught.value)


def test_no_string_form_of_the_settings_contains_the_password() -> None:
    settings = read(TRAININGJOB_RECORDS_DATABASE="postgresql://u:hidden@h/d?sslmode=require")
    assert "hidden" not in f"{settings!r} {settings} {settings.url}"
    assert settings.url.query == {"sslmode": "require"}
    with pytest.raises(SettingsError) as caught:
        read(TRAININGJOB_RECORDS_DATABASE="mysql://u:hidden@h/d")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:8090", "::1", 8090),
        ("localhost:1", "localhost", 1),
    ],
)
def test_a_loopback_address_needs_no_token(address: str, host: str, port: int) -> None:
    settings = read(TRAININGJOB_RECORDS_ADDRESS=address)
    assert (settings.host, settings.port) == (host, port)


def test_an_address_without_a_host_needs_a_token() -> None:
    with pytest.raises(SettingsError, match=":8090 can be reached by other machines"):
        read(TRAININGJOB_RECORDS_ADDRESS=":8090")


def test_arguments_override_variables() -> None:
    environment = {"TRAININGJOB_RECORDS_ADDRESS": "127.0.0.1:1"}
    settings = record_settings.Settings.from_environment(
        environment, address="127.0.0.1:2", database=None
    )
    assert settings.port == 2


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        read().address = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("written", "total", "limit"),
    [("80%", 1000, 800), ("80%", None, None), ("2Ki", None, 2048), ("7", 1, 7), ("0", 1000, None)],
)
def test_a_size_limit_is_a_share_of_the_volume_or_bytes(
    written: str, total: int | None, limit: int | None
) -> None:
    settings = read(TRAININGJOB_RECORDS_RETENTION_SIZE=written)
    assert settings.size_limit.of(total) == limit
