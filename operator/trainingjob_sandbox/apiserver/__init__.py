"""A Kubernetes API server in memory, for the laptop mode, the demo and the tests.

It serves kopf, kubectl and any client over HTTP on loopback: the objects and the rules of a real
server as far as a training operator meets them. It is no security boundary and keeps nothing on
disk. It imports nothing of the operator.
"""

from trainingjob_sandbox.apiserver.errors import ApiError
from trainingjob_sandbox.apiserver.server import ApiServer
from trainingjob_sandbox.apiserver.thread import ApiServerThread, kubeconfig

__all__ = [
    "ApiError",
    "ApiServer",
    "ApiServerThread",
    "kubeconfig",
]
