"""The GitOps tool or Helm that owns a job, by the marks that it leaves on what it owns.

Such a tool creates again what has vanished: a job that was deleted because its time was over would
be trained again every hour.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

ARGO_CD_LABEL: Final = "app.kubernetes.io/instance"
"""The label by which Argo CD knows what it owns, where its administrator has not chosen another."""

instance_label: Final = ContextVar("instance_label", default=ARGO_CD_LABEL)
"""The name of that label in this cluster; "": none. Set once, before the first job is read."""

_ARGO_CD_ANNOTATION: Final = "argocd.argoproj.io/tracking-id"
_ARGO_CD_OWN_LABEL: Final = "argocd.argoproj.io/instance"
_FLUX_LABELS: Final = ("kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/")
_HELM_ANNOTATION: Final = "meta.helm.sh/release-name"
_MANAGED_BY: Final = "app.kubernetes.io/managed-by"


def gitops_owner(labels: Mapping[str, Any], annotations: Mapping[str, Any]) -> str:
    """Return the name of the tool that owns an object with these labels and annotations, or "".

    Argo CD puts its default label where charts and people put theirs, who mean the same by it.
    Helm's own marks say that it is Helm's; without any, it is Argo CD's, or a person's who will
    find the job still there.
    """
    if _ARGO_CD_ANNOTATION in annotations or _ARGO_CD_OWN_LABEL in labels:
        return "Argo CD"
    if any(str(name).startswith(_FLUX_LABELS) for name in labels):
        return "Flux"
    if labels.get(_MANAGED_BY) == "Helm" or _HELM_ANNOTATION in annotations:
        return "Helm"
    return "Argo CD" if instance_label.get() in labels else ""
