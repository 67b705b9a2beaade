"""Whether a GitOps tool or Helm owns a job, told by the marks that they leave on what they own.

Such a tool creates again what has vanished: a job that was deleted because its time was over would
be trained again every hour.
"""

from collections.abc import Mapping
from typing import Any, Final

_ARGO_CD_ANNOTATION: Final = "argocd.argoproj.io/tracking-id"
_ARGO_CD_LABEL: Final = "argocd.argoproj.io/instance"
_FLUX_LABELS: Final = ("kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/")
_MANAGED_BY: Final = "app.kubernetes.io/managed-by"


def gitops_owner(labels: Mapping[str, Any], annotations: Mapping[str, Any]) -> str:
    """The name of the tool that owns an object with these labels and annotations, or ""."""
    if _ARGO_CD_ANNOTATION in annotations or _ARGO_CD_LABEL in labels:
        return "Argo CD"
    if any(str(name).startswith(_FLUX_LABELS) for name in labels):
        return "Flux"
    return "Helm" if labels.get(_MANAGED_BY) == "Helm" else ""
