{{- define "trainingjob-operator.consoleName" -}}
{{ include "trainingjob-operator.fullname" . }}-console
{{- end }}

{{/* Name of the headless Service that resolves to all operator pods. */}}
{{- define "trainingjob-operator.metricsName" -}}
{{ include "trainingjob-operator.fullname" . }}-metrics
{{- end }}

{{/* Name of the operator's port with the metrics. */}}
{{- define "trainingjob-operator.metricsPort" -}}
{{ ternary "https-metrics" "http" .Values.metrics.secure.enabled }}
{{- end }}

{{/* "true" if the console mounts the log volume, else empty. */}}
{{- define "trainingjob-operator.consoleHasLogs" -}}
{{- if and .Values.console.enabled (include "trainingjob-operator.logClaim" .) }}
{{- $isShared := eq .Values.logVolume.accessMode "ReadWriteMany" }}
{{- if kindIs "invalid" .Values.console.archivedLogs | ternary $isShared .Values.console.archivedLogs }}true{{ end }}
{{- end }}
{{- end }}

{{/*
"true" if the console mounts a log volume that only one node can mount, else empty. Then an upgrade must stop
the old console first: while its pod holds the volume on its node, the operator's pod and the new console's
would wait for each other on another node.
*/}}
{{- define "trainingjob-operator.consoleIsAlone" -}}
{{- if and (include "trainingjob-operator.consoleHasLogs" .) (ne .Values.logVolume.accessMode "ReadWriteMany") }}true{{ end }}
{{- end }}

{{/*
Endpoint from which the console reads history, as {url, secret, key}: secret and key of the token that it
sends. An empty dict if there is none.
*/}}
{{- define "trainingjob-operator.consoleRecords" -}}
{{- $found := dict }}
{{- if .Values.console.records.url }}
{{- $found = dict "url" .Values.console.records.url }}
{{- with .Values.console.records.tokenSecret.name }}
{{- $found = mergeOverwrite $found (dict "secret" . "key" $.Values.console.records.tokenSecret.key) }}
{{- end }}
{{- else if include "trainingjob-operator.hasRecordService" . }}
{{- $token := include "trainingjob-operator.recordToken" . | fromYaml }}
{{- $key := default $token.key (include "trainingjob-operator.readKey" .) }}
{{- $found = dict "url" (include "trainingjob-operator.recordUrl" .) "secret" $token.name "key" $key }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{/* Origins of the console as browsers see them: of the Ingress, the HTTPRoute, and from the values. */}}
{{- define "trainingjob-operator.consoleOrigins" -}}
{{- $console := .Values.console }}
{{- $origins := $console.origins }}
{{- if $console.ingress.enabled }}
{{- $origins = append $origins (printf "https://%s" $console.ingress.host) }}
{{- end }}
{{- if $console.httpRoute.enabled }}
{{- range $console.httpRoute.hostnames }}
{{- $origins = append $origins (printf "https://%s" .) }}
{{- end }}
{{- end }}
{{- uniq $origins | join "," }}
{{- end }}

{{/* The console's settings, keyed by environment variable. */}}
{{- define "trainingjob-operator.consoleSettings" -}}
{{- $console := .Values.console }}
{{- $values := dict
  "TRAININGJOB_CONSOLE_ADDRESS" (printf ":%d" (int $console.port))
  "TRAININGJOB_CONSOLE_METRICS_ADDRESS" (printf ":%d" (int $console.metricsPort))
  "TRAININGJOB_CONSOLE_AUTH" "token"
  "TRAININGJOB_CONSOLE_CLUSTER_NAME" (default .Values.clusterName (get .Values.config "TRAININGJOB_CLUSTER_NAME"))
  "TRAININGJOB_CONSOLE_LOG_MAX_AGE" (default .Values.logVolume.maxAge (get .Values.config "TRAININGJOB_VOLUME__MAX_AGE"))
  "TRAININGJOB_CONSOLE_MAX_JOBS" $console.maxJobs
  "TRAININGJOB_CONSOLE_LOG_FORMAT" .Values.logging.format
  "TRAININGJOB_CONSOLE_LOG_LEVEL" .Values.logging.level
}}
{{- with .Values.watchNamespaces }}
{{- $_ := set $values "TRAININGJOB_CONSOLE_NAMESPACES" (join "," .) }}
{{- end }}
{{- with include "trainingjob-operator.consoleOrigins" . }}
{{- $_ := set $values "TRAININGJOB_CONSOLE_ORIGINS" . }}
{{- end }}
{{- with include "trainingjob-operator.consoleRecords" . | fromYaml }}
{{- $_ := set $values "TRAININGJOB_CONSOLE_RECORDS_URL" .url }}
{{- if .secret }}
{{- $_ := set $values "TRAININGJOB_CONSOLE_RECORDS_TOKEN_FILE" "/var/run/trainingjob/token/token" }}
{{- end }}
{{- end }}
{{- $operators := printf "%s.%s.svc" (include "trainingjob-operator.metricsName" .) .Release.Namespace }}
{{- if .Values.metrics.secure.enabled }}
{{- $_ := set $values "TRAININGJOB_CONSOLE_OPERATOR_METRICS" (printf "https://%s:%d/metrics" $operators (int .Values.metrics.secure.port)) }}
{{- $_ := set $values "TRAININGJOB_CONSOLE_OPERATOR_METRICS_CERTIFICATE" "/var/run/trainingjob/metrics/tls.crt" }}
{{- else }}
{{- $_ := set $values "TRAININGJOB_CONSOLE_OPERATOR_METRICS" (printf "http://%s:%d/metrics" $operators (int .Values.web.port)) }}
{{- end }}
{{- if $console.tls.secret }}
{{- $_ := set $values "TRAININGJOB_CONSOLE_TLS_CERT" "/var/run/trainingjob/tls/tls.crt" }}
{{- $_ := set $values "TRAININGJOB_CONSOLE_TLS_KEY" "/var/run/trainingjob/tls/tls.key" }}
{{- end }}
{{- if include "trainingjob-operator.consoleHasLogs" . }}
{{- $_ := set $values "TRAININGJOB_CONSOLE_LOG_VOLUME" .Values.logVolume.mountPath }}
{{- end }}
{{- toYaml (mergeOverwrite $values $console.config) }}
{{- end }}

{{- define "trainingjob-operator.consoleMounts" -}}
{{- $mounts := list }}
{{- if get (include "trainingjob-operator.consoleRecords" . | fromYaml) "secret" }}
{{- $mounts = append $mounts (dict "name" "record-token" "mountPath" "/var/run/trainingjob/token" "readOnly" true) }}
{{- end }}
{{- if .Values.console.tls.secret }}
{{- $mounts = append $mounts (dict "name" "certificate" "mountPath" "/var/run/trainingjob/tls" "readOnly" true) }}
{{- end }}
{{- if .Values.metrics.secure.enabled }}
{{- $mounts = append $mounts (dict "name" "metrics-certificate" "mountPath" "/var/run/trainingjob/metrics" "readOnly" true) }}
{{- end }}
{{- if include "trainingjob-operator.consoleHasLogs" . }}
{{- $mounts = append $mounts (dict "name" "log-volume" "mountPath" .Values.logVolume.mountPath "readOnly" true) }}
{{- end }}
{{- toYaml (concat $mounts .Values.console.extraVolumeMounts) }}
{{- end }}

{{- define "trainingjob-operator.consoleVolumes" -}}
{{- $volumes := list }}
{{- $records := include "trainingjob-operator.consoleRecords" . | fromYaml }}
{{- if $records.secret }}
{{- /* Only this token. Optional: until it has been created, the console runs without history. */}}
{{- $items := list (dict "key" $records.key "path" "token") }}
{{- $secret := dict "secretName" $records.secret "items" $items "optional" true }}
{{- $volumes = append $volumes (dict "name" "record-token" "secret" $secret) }}
{{- end }}
{{- with .Values.console.tls.secret }}
{{- $volumes = append $volumes (dict "name" "certificate" "secret" (dict "secretName" .)) }}
{{- end }}
{{- if .Values.metrics.secure.enabled }}
{{- /* The console verifies the operators by this certificate. It must not get their private key. */}}
{{- $items := list (dict "key" "tls.crt" "path" "tls.crt") }}
{{- $secret := dict "secretName" .Values.metrics.secure.certificateSecret "items" $items "optional" true }}
{{- $volumes = append $volumes (dict "name" "metrics-certificate" "secret" $secret) }}
{{- end }}
{{- if include "trainingjob-operator.consoleHasLogs" . }}
{{- $claim := dict "claimName" (include "trainingjob-operator.logClaim" .) }}
{{- $volumes = append $volumes (dict "name" "log-volume" "persistentVolumeClaim" $claim) }}
{{- end }}
{{- toYaml (concat $volumes .Values.console.extraVolumes) }}
{{- end }}

{{/*
Default affinity of the console's pods: on different nodes; or on the operator's node, if only one node can
mount the log volume.
*/}}
{{- define "trainingjob-operator.consoleAffinity" -}}
{{- $same := dict "labelSelector" (dict "matchLabels" (include "trainingjob-operator.partSelectorLabels" (list . "console") | fromYaml)) "topologyKey" "kubernetes.io/hostname" }}
{{- $affinity := dict "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list (dict "weight" 100 "podAffinityTerm" $same))) }}
{{- if include "trainingjob-operator.consoleIsAlone" . }}
{{- $operator := dict "labelSelector" (dict "matchLabels" (include "trainingjob-operator.selectorLabels" . | fromYaml)) "topologyKey" "kubernetes.io/hostname" }}
{{- $affinity = dict "podAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $operator)) }}
{{- end }}
{{- toYaml (default $affinity .Values.console.affinity) }}
{{- end }}
