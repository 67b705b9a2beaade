"""Creates and deletes a TrainingJob, as a user does; `trainingjob smoke` uses it."""

from trainingjob_operator.kube.cluster import Object
from trainingjob_operator.kube.gateway import Gateway, delete_options, jobs_path
from trainingjob_operator.kube.response_reader import require_created


class JobSubmissionGateway(Gateway):
    """The calls of `trainingjob smoke`. The operator itself has no right to create a job."""

    async def create_job(self, manifest: Object) -> Object:
        """Create a TrainingJob.

        Raises:
            KubernetesError: the API server refused, or did not answer.
        """
        path = jobs_path(manifest["metadata"]["namespace"])
        return require_created(await self._call("POST", path, body=manifest), path)

    async def delete_job(self, created: Object) -> None:
        """Delete the job with this uid; do nothing if it is deleted already.

        Args:
            created: the object that `create_job` returned.

        Raises:
            KubernetesError: the API server refused, or did not answer.
        """
        metadata = created["metadata"]
        options = delete_options(metadata["uid"], propagationPolicy="Background")
        path = jobs_path(metadata["namespace"], metadata["name"])
        await self._call("DELETE", path, body=options)
