"""The calls for one TrainingJob of one's own: what a user does with a job."""

from trainingjob_operator.kube.cluster import Object
from trainingjob_operator.kube.gateway import Gateway, delete_options, jobs_path
from trainingjob_operator.kube.response_bodies import require_created


class JobSubmissionGateway(Gateway):
    """The calls of whoever submits a job. The operator itself has no right to create one."""

    async def create_job(self, manifest: Object) -> Object:
        """Create a TrainingJob.

        Raises:
            KubernetesError: the API server refused, or did not answer.
        """
        path = jobs_path(manifest["metadata"]["namespace"])
        return require_created(await self._call("POST", path, body=manifest), path)

    async def delete_job(self, created: Object) -> None:
        """Delete this very job; one that is gone already is no error.

        Args:
            created: as the creation was answered.

        Raises:
            KubernetesError: the API server refused, or did not answer.
        """
        metadata = created["metadata"]
        options = delete_options(metadata["uid"], propagationPolicy="Background")
        path = jobs_path(metadata["namespace"], metadata["name"])
        await self._call("DELETE", path, body=options)
