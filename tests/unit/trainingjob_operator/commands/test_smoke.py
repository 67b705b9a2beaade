"""The options of `trainingjob smoke`, and the job that is built from them."""

import pytest

from trainingjob_api.errors import SettingsError
from trainingjob_api.validation import parse_spec
from trainingjob_operator.commands.smoke import smoke_job_from

OPTIONS = {"namespace": "ml", "image": "i:1", "timeout": "90s", "read_record": False}


def test_the_job_is_valid_and_its_pod_is_placed_as_told() -> None:
    trial = smoke_job_from(**OPTIONS, pod_spec='{"nodeSelector": {"a": "b"}}')  # type: ignore[arg-type]
    assert trial.patience_s == 90
    spec = trial.manifest()["spec"]
    assert parse_spec(spec).num_nodes == 1
    assert spec["template"]["spec"]["nodeSelector"] == {"a": "b"}
    assert trial.manifest()["metadata"]["name"] != trial.manifest()["metadata"]["name"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pod_spec": "{"}, "--pod-spec is not JSON"),
        ({"pod_spec": "[]"}, "--pod-spec must be an object"),
        ({"pod_spec": '{"containers": []}'}, "without containers"),
        ({"timeout": "soon"}, "--timeout"),
        ({"timeout": "0"}, "--timeout: must be at least one second"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        smoke_job_from(**({"pod_spec": "{}"} | OPTIONS | options))  # type: ignore[arg-type]
