"""Files that can be run are parsed; for others there is an error message."""

import json

import pytest
import yaml

from tests.support.builders import make_job
from trainingjob_sandbox.run.documents import InputError, read_documents

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "source"}}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml"}}


def text(*documents: object) -> str:
    return str(yaml.safe_dump_all(documents))


def test_the_job_and_the_other_objects_are_sorted() -> None:
    documents = read_documents(text(make_job("mnist"), CONFIG_MAP))

    assert documents.job.path == (
        "/apis/trainingjob.dev/v1alpha1/namespaces/ml/trainingjobs/mnist"
    )
    assert [other.path for other in documents.others] == [
        "/api/v1/namespaces/default/configmaps/source"
    ]


def test_every_namespace_is_named_once_in_the_order_of_the_file() -> None:
    assert read_documents(text(CONFIG_MAP, NAMESPACE, make_job())).namespaces == ["default", "ml"]


def test_json_and_empty_documents_are_accepted() -> None:
    assert read_documents("---\n---\n" + json.dumps(make_job("mnist"))).job.name == "mnist"


@pytest.mark.parametrize("day", ["2024-01-31", "2024-99-99", "2024-01-31T10:00:00Z"])
def test_a_date_is_a_string_as_in_kubectl(day: str) -> None:
    job = yaml.safe_dump(make_job()).replace("name: ", f"annotations: {{day: {day}}}\n  name: ", 1)

    annotations = read_documents(job).job.body["metadata"]["annotations"]

    assert annotations == {"day": day}


@pytest.mark.parametrize(
    ("given", "want"),
    [
        pytest.param("a: !!binary aGk=", "document 1 cannot be written as JSON", id="bytes"),
        pytest.param("a: .nan", "document 1 cannot be written as JSON", id="not-a-number"),
        pytest.param("a: &a [*a]", "document 1 cannot be written as JSON", id="circle"),
        pytest.param("a: !!int x", "this is not YAML", id="no-number"),
        pytest.param(text(CONFIG_MAP), "exactly one TrainingJob, but the file has 0", id="no-job"),
        pytest.param(
            text(make_job("a"), make_job("b")), "but the file has 2 (a, b)", id="two-jobs"
        ),
        pytest.param("", "exactly one TrainingJob", id="empty"),
        pytest.param("a: [", "this is not YAML: while parsing", id="no-yaml"),
        pytest.param("just text", "document 1 is not a Kubernetes object", id="text"),
        pytest.param(
            text({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}),
            "document 1 is 'apps/v1 Deployment', which `run` does not support",
            id="unknown-kind",
        ),
        pytest.param(
            text({"apiVersion": "v1", "kind": "ConfigMap"}),
            "document 1 (ConfigMap) has no metadata.name",
            id="no-metadata",
        ),
        pytest.param(
            text({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": 3}}),
            "document 1 (Namespace) has no metadata.name",
            id="name-is-a-number",
        ),
        pytest.param(
            text({**CONFIG_MAP, "metadata": {"name": "x", "namespace": 3}}),
            "metadata.namespace must be a string",
            id="namespace-is-a-number",
        ),
    ],
)
def test_an_unusable_file_is_an_error_of_one_line(given: str, want: str) -> None:
    with pytest.raises(InputError) as refused:
        read_documents(given)

    assert want in str(refused.value)
    assert "\n" not in str(refused.value)
