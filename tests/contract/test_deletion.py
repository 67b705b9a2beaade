"""Options of a deletion: what a body says, and that a query beside a body says nothing."""

from tests.support.apiserver.api import Api
from tests.support.builders import make_job

JOBS = "/apis/trainingjob.dev/v1alpha1/namespaces/{}/trainingjobs/{}"


async def test_a_dry_run_is_asked_for_by_the_body_where_there_is_one(api: Api) -> None:
    await api.apply(make_job("kept"))
    path = JOBS.format(api.namespace, "kept")
    options = {"kind": "DeleteOptions", "apiVersion": "v1"}
    await api.client._call("DELETE", path, body=options | {"dryRun": ["All"]})
    await api.client._call("DELETE", path, query={"dryRun": "All"})
    assert not await api.job_is_gone("kept")
    # The server reads one or the other: here the job goes, whatever the query says.
    await api.client._call("DELETE", path, query={"dryRun": "All"}, body=options)
    await api.wait_until_gone("kept")
