"""URLs with a password are rejected, and the error does not show it."""

import pytest

from trainingjob_console.errors import SettingsError
from trainingjob_console.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (
            "OPERATOR_METRICS",
            "http://10.0.0.1:8080/metrics,http://ada:hunter2@operator:8080/metrics",
        ),
        ("OPERATOR_METRICS", "https://hunter2@operator/metrics"),
        ("RECORDS_URL", "http://ada:hunter2@records:8090/api/v1/jobs"),
    ],
)
def test_a_url_with_a_password_is_rejected(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match="a password") as refused:
        Settings.from_environment({f"TRAININGJOB_CONSOLE_{name}": value})
    assert name in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_token_requires_https() -> None:
    given = {"TRAININGJOB_CONSOLE_OPERATOR_METRICS_CERTIFICATE": "/tls.crt"}
    for urls in ("http://a:1/metrics", "https://a:1/metrics,http://b:1/metrics"):
        with pytest.raises(SettingsError, match="must begin with https://"):
            Settings.from_environment(given | {"TRAININGJOB_CONSOLE_OPERATOR_METRICS": urls})


def test_a_metrics_url_must_have_a_scheme_and_a_host() -> None:
    for value in ("10.0.0.1:8080/metrics", "ftp://operator/metrics", "http:///metrics"):
        with pytest.raises(SettingsError, match="must be like"):
            Settings.from_environment({"TRAININGJOB_CONSOLE_OPERATOR_METRICS": value})
    found = Settings.from_environment(
        {"TRAININGJOB_CONSOLE_OPERATOR_METRICS": "http://operator:8080/metrics"}
    )
    assert found.operator_metrics == ("http://operator:8080/metrics",)
