"""Delete options: the request body applies, and query parameters are ignored if there is a body."""

from tests.support.apiserver.api import Api
from tests.support.builders import make_job

JOBS = "/apis/trainingjob.dev/v1alpha1/namespaces/{}/trainingjobs/{}"


async def test_dry_run_in_the_query_is_ignored_if_there_is_a_body(api: Api) -> None:
    await api.apply(make_job("kept"))
    path = JOBS.format(api.namespace, "kept")
    options = {"kind": "DeleteOptions", "apiVersion": "v1"}
    await api.client._call("DELETE", path, body=options | {"dryRun": ["All"]})
    await api.client._call("DELETE", path, query={"dryRun": "All"})
    assert not await api.job_is_gone("kept")
    # The server reads only one of them: here the job is deleted in spite of the query.
    await api.client._call("DELETE", path, query={"dryRun": "All"}, body=options)
    await api.wait_until_gone("kept")
