"""The samples are found, and `trainingjob run` and `kubectl apply` accept them."""

import pytest

from trainingjob_api.validation import parse_spec
from trainingjob_sandbox.run.documents import read_documents
from trainingjob_sandbox.samples import sample_names, sample_path


def test_the_samples_are_known_by_name() -> None:
    assert {"digits", "plain"} <= set(sample_names())


@pytest.mark.parametrize("name", sample_names())
def test_every_sample_is_one_valid_job(name: str) -> None:
    job = read_documents(sample_path(name).read_text()).job.body

    assert job["metadata"]["name"] == name
    assert parse_spec(job["spec"]).num_nodes >= 1


def test_no_other_sample_is_found() -> None:
    with pytest.raises(KeyError):
        sample_path("../../secrets")
