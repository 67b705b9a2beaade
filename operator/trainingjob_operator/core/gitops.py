"""Detects the GitOps tool (Argo CD, Flux) or Helm that owns a job, by its labels and annotations.

Such a tool recreates an object that was deleted. A job that is deleted when its time to live expires
would be created and trained again every hour.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

ARGO_CD_LABEL: Final = "app.kubernetes.io/instance"
"""The default label by which Argo CD tracks the objects that it owns."""

instance_label: Final = ContextVar("instance_label", default=ARGO_CD_LABEL)
"""The tracking label of this cluster's Argo CD; "": none. Set once, before the first job is read."""

_ARGO_CD_ANNOTATION: Final = "argocd.argoproj.io/tracking-id"
_ARGO_CD_OWN_LABEL: Final = "argocd.argoproj.io/instance"
_FLUX_LABELS: Final = ("kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/")
_HELM_ANNOTATION: Final = "meta.helm.sh/release-name"
_MANAGED_BY: Final = "app.kubernetes.io/managed-by"


def gitops_owner(labels: Mapping[str, Any], annotations: Mapping[str, Any]) -> str:
    """Return the name of the tool that owns an object with these labels and annotations, or "".

    Argo CD's default label is also set by charts and by people. Helm's own label or annotation tells
    that Helm set it. Otherwise Argo CD is assumed; if in fact a person set the label, the job is
    merely kept.
    """
    if _ARGO_CD_ANNOTATION in annotations or _ARGO_CD_OWN_LABEL in labels:
        return "Argo CD"
    if any(str(name).startswith(_FLUX_LABELS) for name in labels):
        return "Flux"
    if labels.get(_MANAGED_BY) == "Helm" or _HELM_ANNOTATION in annotations:
        return "Helm"
    return "Argo CD" if instance_label.get() in labels else ""
