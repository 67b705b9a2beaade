{{/* Full name of the release, the prefix of its objects' names: at most 53 characters, so that suffixes fit. */}}
{{- define "trainingjob-operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Selector labels: only these two, because a Deployment's selector is immutable. */}}
{{- define "trainingjob-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "trainingjob-operator.labels" -}}
{{- $ours := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/component" "operator"
  "app.kubernetes.io/part-of" "trainingjob-operator"
  "app.kubernetes.io/managed-by" .Release.Service
}}
{{- $selector := include "trainingjob-operator.selectorLabels" . | fromYaml }}
{{- toYaml (mergeOverwrite (dict) $ours .Values.commonLabels $selector) }}
{{- end }}

{{/* Labels for an object of another component: (list . "record-service"). */}}
{{- define "trainingjob-operator.partLabels" -}}
{{- $root := index . 0 }}
{{- $labels := include "trainingjob-operator.labels" $root | fromYaml }}
{{- toYaml (mergeOverwrite $labels (dict "app.kubernetes.io/component" (index . 1))) }}
{{- end }}

{{/*
Selector labels for the pods of another component: (list . "records"). They have another name label, because
the operator's selector has no component label and must not match them.
*/}}
{{- define "trainingjob-operator.partSelectorLabels" -}}
{{- $root := index . 0 }}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | trunc 50 | trimSuffix "-" }}-{{ index . 1 }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- end }}

{{/* Pod labels of another component, without the chart's version: (list . "records" "record-service"). */}}
{{- define "trainingjob-operator.partPodLabels" -}}
{{- $root := index . 0 }}
{{- $ours := dict
  "app.kubernetes.io/component" (index . 2)
  "app.kubernetes.io/part-of" "trainingjob-operator"
  "app.kubernetes.io/version" $root.Chart.AppVersion
}}
{{- $selector := include "trainingjob-operator.partSelectorLabels" (list $root (index . 1)) | fromYaml }}
{{- toYaml (mergeOverwrite (dict) $ours $root.Values.commonLabels $selector) }}
{{- end }}

{{/* Pod labels, without the chart's version: with it, pods would restart at every change of the chart. */}}
{{- define "trainingjob-operator.podLabels" -}}
{{- $ours := dict
  "app.kubernetes.io/component" "operator"
  "app.kubernetes.io/part-of" "trainingjob-operator"
  "app.kubernetes.io/version" .Chart.AppVersion
}}
{{- $selector := include "trainingjob-operator.selectorLabels" . | fromYaml }}
{{- toYaml (mergeOverwrite (dict) $ours .Values.commonLabels .Values.podLabels $selector) }}
{{- end }}

{{- define "trainingjob-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "trainingjob-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "trainingjob-operator.image" -}}
{{- with .Values.image.registry }}{{ . }}/{{ end -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* A value as a string. Numbers from a values file are floats here: 1000000 would be 1e+06. */}}
{{- define "trainingjob-operator.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end }}
{{- end }}

{{/* "true" if this release has the record service, else empty. */}}
{{- define "trainingjob-operator.hasRecordService" -}}
{{- if and .Values.recordService.enabled (not .Values.persist.url) }}true{{ end }}
{{- end }}

{{- define "trainingjob-operator.recordsName" -}}
{{ include "trainingjob-operator.fullname" . }}-records
{{- end }}

{{/* Key of the read-only token in the record service's Secret; empty if there is none. */}}
{{- define "trainingjob-operator.readKey" -}}
{{- $secret := .Values.recordService.tokenSecret }}
{{- default (empty $secret.name | ternary "read-token" "") $secret.readKey }}
{{- end }}

{{/* Claim of the log volume; empty if there is no log volume. */}}
{{- define "trainingjob-operator.logClaim" -}}
{{- if .Values.logVolume.existingClaim }}
{{- .Values.logVolume.existingClaim }}
{{- else if .Values.logVolume.create }}
{{- include "trainingjob-operator.fullname" . }}-logs
{{- end }}
{{- end }}

{{/* URL of the record endpoint; empty if there is none. */}}
{{- define "trainingjob-operator.recordUrl" -}}
{{- if .Values.persist.url }}
{{- .Values.persist.url }}
{{- else if include "trainingjob-operator.hasRecordService" . }}
{{- printf "http://%s.%s.svc:%d/api/v1/jobs" (include "trainingjob-operator.recordsName" .) .Release.Namespace (int .Values.recordService.port) }}
{{- end }}
{{- end }}

{{/* Name and key of the Secret with the operator's token; an empty dict if it sends none. */}}
{{- define "trainingjob-operator.recordToken" -}}
{{- $secret := dict }}
{{- if include "trainingjob-operator.hasRecordService" . }}
{{- $name := default (include "trainingjob-operator.recordsName" .) .Values.recordService.tokenSecret.name }}
{{- $secret = dict "name" $name "key" .Values.recordService.tokenSecret.key }}
{{- else if .Values.persist.tokenSecret.name }}
{{- $secret = dict "name" .Values.persist.tokenSecret.name "key" .Values.persist.tokenSecret.key }}
{{- end }}
{{- toYaml $secret }}
{{- end }}

{{/*
The operator's settings, keyed by environment variable. The empty host means all addresses, IPv4 and IPv6;
0.0.0.0 would not listen in an IPv6-only cluster.
*/}}
{{- define "trainingjob-operator.settings" -}}
{{- $values := dict
  "TRAININGJOB_KUBERNETES__TIMEOUT" .Values.kubernetes.timeout
  "TRAININGJOB_LEADER_ELECTION__ENABLED" .Values.leaderElection.enabled
  "TRAININGJOB_LEADER_ELECTION__LEASE_NAME" (include "trainingjob-operator.fullname" .)
  "TRAININGJOB_LEADER_ELECTION__LEASE_DURATION" .Values.leaderElection.leaseDuration
  "TRAININGJOB_LEADER_ELECTION__RENEW_DEADLINE" .Values.leaderElection.renewDeadline
  "TRAININGJOB_LEADER_ELECTION__RETRY_PERIOD" .Values.leaderElection.retryPeriod
  "TRAININGJOB_RECONCILER__WORKERS" .Values.reconciler.workers
  "TRAININGJOB_RECONCILER__RESYNC_INTERVAL" .Values.reconciler.resyncInterval
  "TRAININGJOB_RESTART__BACKOFF" .Values.restart.backoff
  "TRAININGJOB_RESTART__BACKOFF_CAP" .Values.restart.backoffCap
  "TRAININGJOB_RESTART__PARTIAL_HOLD" .Values.restart.partialHold
  "TRAININGJOB_INDEX__MAX_JOBS" .Values.index.maxJobs
  "TRAININGJOB_INDEX__MAX_PODS" .Values.index.maxPods
  "TRAININGJOB_INDEX__RETENTION" .Values.index.retention
  "TRAININGJOB_MEMORY__PRESSURE_PERCENT" .Values.memory.pressurePercent
  "TRAININGJOB_MEMORY__RESUME_PERCENT" .Values.memory.resumePercent
  "TRAININGJOB_MEMORY__RETENTION" .Values.memory.retention
  "TRAININGJOB_CLUSTER_NAME" .Values.clusterName
  "TRAININGJOB_PERSIST__TIMEOUT" .Values.persist.timeout
  "TRAININGJOB_PERSIST__CONCURRENCY" .Values.persist.concurrency
  "TRAININGJOB_PERSIST__RETRY_CACHE_SIZE" .Values.persist.retryCacheSize
  "TRAININGJOB_PERSIST__DEADLINE" .Values.persist.deadline
  "TRAININGJOB_OPERATOR_NAMESPACE" .Release.Namespace
  "TRAININGJOB_GC__INTERVAL" .Values.gc.interval
  "TRAININGJOB_GC__TTL" .Values.gc.ttl
  "TRAININGJOB_GC__ARGOCD_LABEL" .Values.gc.argocdLabel
  "TRAININGJOB_LOGGING__FORMAT" .Values.logging.format
  "TRAININGJOB_LOGGING__LEVEL" .Values.logging.level
}}
{{- with .Values.watchNamespaces }}
{{- $_ := set $values "TRAININGJOB_NAMESPACES" (join "," .) }}
{{- end }}
{{- with .Values.reconciler.accelerators }}
{{- $_ := set $values "TRAININGJOB_RECONCILER__ACCELERATORS" (join "," .) }}
{{- end }}
{{- with include "trainingjob-operator.recordUrl" . }}
{{- $_ := set $values "TRAININGJOB_PERSIST__URL" . }}
{{- end }}
{{- with include "trainingjob-operator.recordToken" . | fromYaml }}
{{- $_ := set $values "TRAININGJOB_PERSIST__TOKEN_FILE" (printf "/var/run/trainingjob/token/%s" .key) }}
{{- end }}
{{- if .Values.persist.caConfigMap.name }}
{{- $_ := set $values "TRAININGJOB_PERSIST__CA_FILE" (printf "/var/run/trainingjob/ca/%s" .Values.persist.caConfigMap.key) }}
{{- end }}
{{- if include "trainingjob-operator.logClaim" . }}
{{- $_ := set $values "TRAININGJOB_VOLUME__ROOT" .Values.logVolume.mountPath }}
{{- $_ := set $values "TRAININGJOB_VOLUME__MAX_AGE" .Values.logVolume.maxAge }}
{{- $_ := set $values "TRAININGJOB_VOLUME__QUOTA" .Values.logVolume.quota }}
{{- $_ := set $values "TRAININGJOB_VOLUME__SWEEP_SHARE" .Values.logVolume.sweepShare }}
{{- $_ := set $values "TRAININGJOB_VOLUME__SWEEP_ENTRIES" .Values.logVolume.sweepEntries }}
{{- $_ := set $values "TRAININGJOB_VOLUME__SWEEP_TIME" .Values.logVolume.sweepTime }}
{{- $_ := set $values "TRAININGJOB_VOLUME__PROCESSES" .Values.logVolume.processes }}
{{- end }}
{{- if .Values.metrics.secure.enabled }}
{{- $_ := set $values "TRAININGJOB_METRICS__SECURE_ADDRESS" (printf ":%d" (int .Values.metrics.secure.port)) }}
{{- $_ := set $values "TRAININGJOB_METRICS__CERTIFICATE_DIR" "/var/run/trainingjob/metrics" }}
{{- end }}
{{- $_ := set $values "TRAININGJOB_WEB__ADDRESS" (printf ":%d" (int .Values.web.port)) }}
{{- range $name, $value := mergeOverwrite $values .Values.config }}
{{ $name }}: {{ include "trainingjob-operator.text" $value | quote }}
{{- end }}
{{- end }}

{{- define "trainingjob-operator.env" -}}
{{- include "trainingjob-operator.envOf" (list (include "trainingjob-operator.settings" .) .Values.extraEnv) }}
{{- end }}

{{/*
Merge settings, as YAML, and further variables into one env list: (list SETTINGS VARIABLES). No name may occur
twice: server-side apply, and so Helm 4, rejects duplicates.
*/}}
{{- define "trainingjob-operator.envOf" -}}
{{- $entries := dict }}
{{- range $name, $value := index . 0 | fromYaml }}
{{- $text := include "trainingjob-operator.text" $value }}
{{- $_ := set $entries $name (dict "name" $name "value" $text) }}
{{- end }}
{{- $further := list }}
{{- range index . 1 }}
{{- if hasKey $entries .name }}
{{- $_ := set $entries .name . }}
{{- else }}
{{- $further = append $further .name }}
{{- $_ := set $entries .name . }}
{{- end }}
{{- end }}
{{- /* The further variables keep their order, because one may refer to an earlier one as $(NAME). */}}
{{- $env := list }}
{{- range $name := keys $entries | sortAlpha }}
{{- if not (has $name $further) }}
{{- $env = append $env (get $entries $name) }}
{{- end }}
{{- end }}
{{- range $name := $further | uniq }}
{{- $env = append $env (get $entries $name) }}
{{- end }}
{{- toYaml $env }}
{{- end }}

{{/* Directories, not subPath files: only these receive a rotated Secret or ConfigMap. */}}
{{- define "trainingjob-operator.endpointMounts" -}}
{{- $mounts := list }}
{{- if include "trainingjob-operator.recordToken" . | fromYaml }}
{{- $mounts = append $mounts (dict "name" "record-token" "mountPath" "/var/run/trainingjob/token" "readOnly" true) }}
{{- end }}
{{- if .Values.persist.caConfigMap.name }}
{{- $mounts = append $mounts (dict "name" "record-ca" "mountPath" "/var/run/trainingjob/ca" "readOnly" true) }}
{{- end }}
{{- toYaml (concat $mounts .Values.extraVolumeMounts) }}
{{- end }}

{{- define "trainingjob-operator.endpointVolumes" -}}
{{- $volumes := list }}
{{- with include "trainingjob-operator.recordToken" . | fromYaml }}
{{- $volumes = append $volumes (dict "name" "record-token" "secret" (dict "secretName" .name)) }}
{{- end }}
{{- with .Values.persist.caConfigMap.name }}
{{- $volumes = append $volumes (dict "name" "record-ca" "configMap" (dict "name" .)) }}
{{- end }}
{{- toYaml (concat $volumes .Values.extraVolumes) }}
{{- end }}

{{/*
The operator's volume mounts: those of the endpoint, and the log volume. The uninstall Job's pod does not mount
the log volume: while the operator runs, its node may be the only one that can mount the claim.
*/}}
{{- define "trainingjob-operator.volumeMounts" -}}
{{- $mounts := include "trainingjob-operator.endpointMounts" . | fromYamlArray }}
{{- if include "trainingjob-operator.logClaim" . }}
{{- $mounts = append $mounts (dict "name" "log-volume" "mountPath" .Values.logVolume.mountPath) }}
{{- end }}
{{- if .Values.metrics.secure.enabled }}
{{- $mounts = append $mounts (dict "name" "metrics-certificate" "mountPath" "/var/run/trainingjob/metrics" "readOnly" true) }}
{{- end }}
{{- toYaml $mounts }}
{{- end }}

{{- define "trainingjob-operator.volumes" -}}
{{- $volumes := include "trainingjob-operator.endpointVolumes" . | fromYamlArray }}
{{- with include "trainingjob-operator.logClaim" . }}
{{- $volumes = append $volumes (dict "name" "log-volume" "persistentVolumeClaim" (dict "claimName" .)) }}
{{- end }}
{{- if .Values.metrics.secure.enabled }}
{{- $volumes = append $volumes (dict "name" "metrics-certificate" "secret" (dict "secretName" .Values.metrics.secure.certificateSecret)) }}
{{- end }}
{{- toYaml $volumes }}
{{- end }}

{{/* Pod security context, with an fsGroup for the log volume, which belongs to root when it is new; root needs none. */}}
{{- define "trainingjob-operator.podSecurityContext" -}}
{{- $ours := dict }}
{{- if and (include "trainingjob-operator.logClaim" .) .Values.logVolume.fsGroup (not .Values.logVolume.asRoot) }}
{{- $ours = dict "fsGroup" (int64 .Values.logVolume.fsGroup) "fsGroupChangePolicy" "OnRootMismatch" }}
{{- end }}
{{- toYaml (mergeOverwrite $ours .Values.podSecurityContext) }}
{{- end }}

{{/* Security context of the operator; with `asRoot`, root that may only read and remove files of any user. */}}
{{- define "trainingjob-operator.securityContext" -}}
{{- $ours := dict }}
{{- if and (include "trainingjob-operator.logClaim" .) .Values.logVolume.asRoot }}
{{- $capabilities := dict "drop" (list "ALL") "add" (list "DAC_OVERRIDE" "FOWNER") }}
{{- $ours = dict "runAsNonRoot" false "runAsUser" 0 "runAsGroup" 0 "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" $capabilities }}
{{- end }}
{{- toYaml (mergeOverwrite (dict) .Values.securityContext $ours) }}
{{- end }}

{{/* Pod settings that all pods of the release share. */}}
{{- define "trainingjob-operator.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
