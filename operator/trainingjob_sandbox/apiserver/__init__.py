"""An in-memory Kubernetes API server for the laptop mode, the demo and the tests.

It serves kopf, kubectl and other clients over HTTP on loopback. It implements the resources and
rules of a real server that a training operator needs. It is not a security boundary, and stores
nothing on disk. It imports nothing from the operator.
"""

from trainingjob_sandbox.apiserver.errors import ApiError
from trainingjob_sandbox.apiserver.server import ApiServer
from trainingjob_sandbox.apiserver.server_thread import ApiServerThread, kubeconfig

__all__ = [
    "ApiError",
    "ApiServer",
    "ApiServerThread",
    "kubeconfig",
]
