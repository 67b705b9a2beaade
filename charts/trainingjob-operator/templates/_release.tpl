{{- /*
Pod that runs one command with the operator's settings and record endpoint: (list . ACCOUNT ARGUMENTS). It
removes the operator's finalizers, at an uninstall and when namespaces are no longer served, or tests the
install.
*/}}
{{- define "trainingjob-operator.commandPod" -}}
{{- $account := index . 1 }}
{{- $args := index . 2 }}
{{- with index . 0 }}
restartPolicy: Never # each try leaves its log
serviceAccountName: {{ $account }}
automountServiceAccountToken: true
enableServiceLinks: false
terminationGracePeriodSeconds: 10
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with include "trainingjob-operator.placement" . | fromYaml }}
{{- toYaml . | nindent 0 }}
{{- end }}
containers:
  - name: {{ first $args }}
    image: {{ include "trainingjob-operator.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
      {{- toYaml $args | nindent 6 }}
    # The operator's settings, so that waiting records are stored where the operator would have stored them.
    env:
      {{- include "trainingjob-operator.env" . | nindent 6 }}
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    {{- with include "trainingjob-operator.endpointMounts" . | fromYamlArray }}
    volumeMounts:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- with include "trainingjob-operator.endpointVolumes" . | fromYamlArray }}
volumes:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "trainingjob-operator.releaseRules" -}}
- apiGroups: [trainingjob.dev]
  resources: [trainingjobs, retentionpolicies]
  verbs: [list, patch]
{{- end }}

{{/*
Namespaces that are no longer served after this upgrade, as {all, alive, going}: those that the Deployment in the
cluster serves and `watchNamespaces` does not name, and those that an earlier Job could not release. `all` is true
if it served all namespaces, so that any may have finalizers. `going` are Terminating and accept no new Role. The
lists are empty if the chart is rendered without a cluster.
*/}}
{{- define "trainingjob-operator.dropped" -}}
{{- $names := list }}
{{- $all := false }}
{{- if and .Release.IsUpgrade .Values.watchNamespaces }}
{{- with lookup "apps/v1" "Deployment" .Release.Namespace (include "trainingjob-operator.fullname" .) }}
{{- $served := "" }}
{{- range .spec.template.spec.containers }}
{{- range .env }}
{{- if eq .name "TRAININGJOB_NAMESPACES" }}{{ $served = default "" .value }}{{ end }}
{{- end }}
{{- end }}
{{- if $served }}{{ $names = splitList "," $served }}{{ else }}{{ $all = true }}{{ end }}
{{- end }}
{{- with lookup "batch/v1" "Job" .Release.Namespace (include "trainingjob-operator.narrowedName" .) }}
{{- if not (dig "status" "succeeded" 0 .) }}
{{- $left := dig "metadata" "annotations" "trainingjob.dev/namespaces" "" . }}
{{- if eq $left "*" }}{{ $all = true }}{{ else }}{{ $names = concat $names (splitList "," $left) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- $alive := list }}
{{- $going := list }}
{{- range $name := $names | uniq | sortAlpha }}
{{- if and $name (not $all) (not (has $name $.Values.watchNamespaces)) }}
{{- with lookup "v1" "Namespace" "" $name }}
{{- if .metadata.deletionTimestamp }}{{ $going = append $going $name }}{{ else }}{{ $alive = append $alive $name }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- dict "all" $all "alive" $alive "going" $going | toYaml }}
{{- end }}

{{- define "trainingjob-operator.narrowedName" -}}
{{ include "trainingjob-operator.fullname" . }}-narrowed
{{- end }}
