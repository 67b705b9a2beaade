{{/* Rules to acquire and renew the Lease. The verb create cannot be restricted to a name. */}}
{{- define "trainingjob-operator.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "trainingjob-operator.fullname" . }}]
  verbs: [get, update]
{{- end }}

{{/* Topology spread constraints, with these labels as the default labelSelector: (list . CONSTRAINTS LABELS). */}}
{{- define "trainingjob-operator.topologySpread" -}}
{{- $selector := dict "labelSelector" (dict "matchLabels" (index . 2 | fromYaml)) }}
{{- $constraints := list }}
{{- range index . 1 }}
{{- $constraints = append $constraints (hasKey . "labelSelector" | ternary . (merge (deepCopy .) $selector)) }}
{{- end }}
{{- toYaml $constraints }}
{{- end }}

{{/* "true" if two operators can run, with a Lease and a log volume that both can mount, else empty. */}}
{{- define "trainingjob-operator.canShare" -}}
{{- if .Values.leaderElection.enabled }}
{{- if or (not (include "trainingjob-operator.logClaim" .)) (eq .Values.logVolume.accessMode "ReadWriteMany") }}true{{ end }}
{{- end }}
{{- end }}

{{/* Replicas of the Deployment in the cluster, and whether these use leader election. */}}
{{- define "trainingjob-operator.live" -}}
{{- with lookup "apps/v1" "Deployment" .Release.Namespace (include "trainingjob-operator.fullname" .) }}
replicas: {{ .spec.replicas }}
{{- range .spec.template.spec.containers }}
{{- range .env }}
{{- if and (eq .name "TRAININGJOB_LEADER_ELECTION__ENABLED") (eq (default "" .value) "true") }}
elects: true
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Number of operator pods: from the values; else that of the Deployment in the cluster, which `kubectl scale` may
have changed (0 pauses the operator); else two if two can run, else one.
*/}}
{{- define "trainingjob-operator.replicas" -}}
{{- $live := include "trainingjob-operator.live" . | fromYaml }}
{{- $canShare := include "trainingjob-operator.canShare" . }}
{{- if not (kindIs "invalid" .Values.replicas) }}{{ int .Values.replicas }}
{{- else if and $live (eq (int $live.replicas) 0) }}0
{{- else if and $live.elects $canShare }}{{ int $live.replicas }}
{{- else if $canShare }}2
{{- else }}1
{{- end }}
{{- end }}

{{/*
"true" if the old operator must be gone before the new one starts, else empty. An operator without leader
election would keep working beside the first one with it.
*/}}
{{- define "trainingjob-operator.isAlone" -}}
{{- $live := include "trainingjob-operator.live" . | fromYaml }}
{{- if not (include "trainingjob-operator.canShare" .) }}true
{{- else if and $live (not $live.elects) }}true
{{- end }}
{{- end }}
