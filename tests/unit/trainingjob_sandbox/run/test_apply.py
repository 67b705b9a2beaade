"""The order in which objects are created, and the messages of errors."""

from typing import Any

import pytest
import yaml

from tests.support.builders import make_job
from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.run.apply import apply, causes
from trainingjob_sandbox.run.documents import InputError, read_documents

Object = dict[str, Any]
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "source"}}


class FakeClient(ApiClient):
    """Creates every object, except on paths that contain a word with an error."""

    def __init__(self, **refusals: ApiError) -> None:
        self.paths: list[str] = []
        self._refusals = refusals

    async def create(self, path: str, body: Object) -> Object:
        for word, error in self._refusals.items():
            if word in path:
                raise error
        self.paths.append(path.partition("?")[0])
        return {**body, "created": True}


DOCUMENTS = read_documents(yaml.safe_dump_all([make_job("mnist"), CONFIG_MAP]))


async def test_the_job_is_created_last_and_returned_as_stored() -> None:
    client = FakeClient()

    job = await apply(client, DOCUMENTS)

    assert job["created"]
    assert [path.rpartition("/")[2] for path in client.paths] == [
        *("namespaces", "namespaces", "configmaps", "trainingjobs")
    ]


async def test_an_existing_namespace_is_no_error() -> None:
    there = ApiError(409, "AlreadyExists", 'namespaces "default" already exists')

    job = await apply(FakeClient(**{"/api/v1/namespaces_": there}), DOCUMENTS)

    assert job["created"]


async def test_a_refused_object_is_named_with_a_line_for_each_cause() -> None:
    refusal = ApiError(
        422,
        "Invalid",
        'TrainingJob.trainingjob.dev "mnist" is invalid: [spec.numNodes: Invalid value: 0: must '
        "be at least 1, one or more, spec.template: Required value]",
    )

    with pytest.raises(InputError) as refused:
        await apply(FakeClient(trainingjobs=refusal), DOCUMENTS)

    assert str(refused.value).splitlines() == [
        "TrainingJob mnist: spec.numNodes: Invalid value: 0: must be at least 1, one or more",
        "TrainingJob mnist: spec.template: Required value",
    ]


async def test_a_server_that_does_not_answer_is_not_the_users_mistake() -> None:
    with pytest.raises(ApiError):
        await apply(FakeClient(trainingjobs=ApiError(0, "Unavailable", "gone")), DOCUMENTS)


@pytest.mark.parametrize(
    ("message", "want"),
    [
        pytest.param(
            'Pod "x" is invalid: spec.a: Forbidden: no', ["spec.a: Forbidden: no"], id="one"
        ),
        pytest.param("quota\n exceeded", ["quota exceeded"], id="another-kind-of-refusal"),
        pytest.param(
            'X "x" is invalid: [spec.a[0].b: Too long: may not be more than 3 bytes, '
            'spec.c: Unsupported value: "d": supported values: "e", "f"]',
            [
                "spec.a[0].b: Too long: may not be more than 3 bytes",
                'spec.c: Unsupported value: "d": supported values: "e", "f"',
            ],
            id="commas-inside-a-cause",
        ),
        pytest.param(
            'X "x" is invalid: [spec.a: Required value, <nil>: Invalid value: null: some '
            "validation rules were not checked because the object was invalid]",
            ["spec.a: Required value"],
            id="rules-that-were-not-checked",
        ),
        pytest.param(
            'X "x" is invalid: [spec.cpu: Invalid value: "number": spec.cpu in body must be of '
            'type integer,string: "number", spec.b: Invalid value: "string": spec.b in body must '
            'be of type integer: "string"]',
            [
                (
                    'spec.cpu: Invalid value: "number": spec.cpu in body must be of type '
                    'integer,string: "number"; write it in quotes'
                ),
                'spec.b: Invalid value: "string": spec.b in body must be of type integer: "string"',
            ],
            id="a-text-without-quotes",
        ),
    ],
)
def test_causes_are_one_line_each(message: str, want: list[str]) -> None:
    assert causes(message) == want
