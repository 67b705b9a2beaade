"""Names that the node shares with its starter and the API server: taint, annotation, environment variable."""

from typing import Any, Final

TAINT: Final = "trainingjob.dev/sandbox"
"""Taint that keeps ordinary pods off the node on a real cluster. Also a label of the Node object."""

ANNOTATION_KUBELET_SCHEME: Final = "trainingjob.dev/sandbox-kubelet-scheme"
"""Annotation of the Node object with the scheme of its log endpoint: `http` or `https`."""

LOOPBACK: Final = "127.0.0.1"
NONCE_VARIABLE: Final = "TRAININGJOB_SANDBOX_NONCE"
"""Environment variable with the cluster's nonce; other users can see command lines, not variables."""

Object = dict[str, Any]
