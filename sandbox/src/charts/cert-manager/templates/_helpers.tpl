{{- define "cert-manager.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The name of one of the parts: the controller's is the release's, the others have a suffix. */}}
{{- define "cert-manager.part" -}}
{{- include "cert-manager.fullname" .root }}{{ with .part }}-{{ . }}{{ end }}
{{- end }}

{{- define "cert-manager.selector" -}}
app.kubernetes.io/name: {{ .part | default "cert-manager" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part | default "controller" | quote }}
{{- end }}

{{- define "cert-manager.labels" -}}
app: {{ .part | default "cert-manager" }}
{{ include "cert-manager.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}
