"""Types of settings: durations, sizes, lists, addresses and names of namespaces."""

import pytest

from trainingjob_api.errors import SettingsError
from trainingjob_operator.settings import Settings


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("24h", 86400)]
)
def test_durations_take_units(text: str, seconds: int) -> None:
    settings = Settings.from_environment({"TRAININGJOB_RECONCILER__RESYNC_INTERVAL": text})
    assert settings.reconciler.resync_interval == seconds


def test_a_comma_list_names_the_namespaces() -> None:
    settings = Settings.from_environment({"TRAININGJOB_NAMESPACES": "ml, research,ml,"})
    assert settings.namespaces == ("ml", "research")


@pytest.mark.parametrize("address", ["0.0.0.0:8080", ":0", "localhost:80", "[::]:8080", "[::1]:0"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    assert Settings.from_environment({"TRAININGJOB_WEB__ADDRESS": address}).web.address == address


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"TRAININGJOB_KUBERNETES__TIMEOUT": "soon"}, "like 90s, 15m, 24h, 7d"),
        (
            {"TRAININGJOB_VOLUME__QUOTA": "85%"},
            "TRAININGJOB_VOLUME__QUOTA: must be bytes or a number with Ki, Mi, Gi",
        ),
        ({"TRAININGJOB_WEB__ADDRESS": "8080"}, "must be host:port"),
        ({"TRAININGJOB_WEB__ADDRESS": "0.0.0.0:99999"}, "a port up to 65535, like 0.0.0.0:8080"),
        ({"TRAININGJOB_WEB__ADDRESS": "::1:80"}, "must be host:port"),
        (
            {"TRAININGJOB_NAMESPACES": "ml,team-*"},
            "'team-*' is not the name of a namespace; write whole",
        ),
        ({"TRAININGJOB_NAMESPACES": "ml/../kube-system"}, "is not the name of a namespace"),
        ({"TRAININGJOB_NAMESPACES": "a b"}, "TRAININGJOB_NAMESPACES: 'a b' is not the name"),
    ],
)
def test_a_wrong_value_is_rejected_with_the_format_that_is_expected(
    variables: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(variables)
    assert sentence in str(caught.value)
