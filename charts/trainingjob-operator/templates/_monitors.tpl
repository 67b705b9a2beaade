{{/* Scrape settings of a monitor's endpoint: (list INTERVAL TIMEOUT RELABELINGS METRIC-RELABELINGS). */}}
{{- define "trainingjob-operator.scrape" -}}
path: /metrics
interval: {{ index . 0 }}
{{- with index . 1 }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with index . 2 }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with index . 3 }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
