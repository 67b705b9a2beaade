{{/* To take and to renew the Lease. No name can be given to the right to create. */}}
{{- define "trainingjob-operator.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "trainingjob-operator.fullname" . }}]
  verbs: [get, update]
{{- end }}

{{/* Each constraint counts the pods of these labels, unless it says which it counts: (list . CONSTRAINTS LABELS). */}}
{{- define "trainingjob-operator.topologySpread" -}}
{{- $selector := dict "labelSelector" (dict "matchLabels" (index . 2 | fromYaml)) }}
{{- $constraints := list }}
{{- range index . 1 }}
{{- $constraints = append $constraints (hasKey . "labelSelector" | ternary . (merge (deepCopy .) $selector)) }}
{{- end }}
{{- toYaml $constraints }}
{{- end }}

{{/* "true" if two operators can have everything that they share; else nothing. */}}
{{- define "trainingjob-operator.canShare" -}}
{{- if .Values.leaderElection.enabled }}
{{- if or (not (include "trainingjob-operator.logClaim" .)) (eq .Values.logVolume.accessMode "ReadWriteMany") }}true{{ end }}
{{- end }}
{{- end }}

{{/* The Deployment that is in the cluster: how many it has, and if these ask for the Lease. */}}
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
Operators that run: what the values say; else what is in the cluster, where `kubectl scale` may
have said it, 0 for quiet; else two where two can share everything.
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
"true" if the old operator has to be gone before the new one starts; else nothing. One that does
not ask for the Lease would work on beside the first one that does.
*/}}
{{- define "trainingjob-operator.isAlone" -}}
{{- $live := include "trainingjob-operator.live" . | fromYaml }}
{{- if not (include "trainingjob-operator.canShare" .) }}true
{{- else if and $live (not $live.elects) }}true
{{- end }}
{{- end }}
