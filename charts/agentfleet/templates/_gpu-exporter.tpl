{{/* A Service's name has 63 characters at most. */}}
{{- define "agentfleet.gpuExporterName" -}}
{{- printf "%s-gpu-exporter" (include "agentfleet.fullname" . | trunc 50 | trimSuffix "-") }}
{{- end }}

{{/* host:port where the operator finds the exporters of all nodes; empty without exporters. */}}
{{- define "agentfleet.gpuExporterAddress" -}}
{{- if .Values.gpuExporter.enabled }}
{{- printf "%s.%s.svc.%s:9902" (include "agentfleet.gpuExporterName" .) .Release.Namespace .Values.cluster.domain }}
{{- end }}
{{- end }}

{{- define "agentfleet.gpuExporterSelectorLabels" -}}
app.kubernetes.io/name: {{ include "agentfleet.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gpu-exporter
{{- end }}

{{- define "agentfleet.gpuExporterLabels" -}}
{{- mergeOverwrite (include "agentfleet.labels" . | fromYaml) (include "agentfleet.gpuExporterSelectorLabels" . | fromYaml) | toYaml }}
{{- end }}
