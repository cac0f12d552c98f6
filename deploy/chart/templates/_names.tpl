{{/* Names and labels. */}}

{{- define "hostsync.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters, so that every suffix fits into 63. */}}
{{- define "hostsync.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "hostsync.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What never changes between releases: selectors are made of it. Takes a dict of root and component. */}}
{{- define "hostsync.selector" -}}
app.kubernetes.io/name: {{ include "hostsync.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "hostsync.labels" -}}
{{ include "hostsync.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "hostsync.image" -}}
{{- $repository := required "image.repository: name the registry and repository that you pushed deploy/Dockerfile's image to" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* How workers are scaled: keda, hpa or fixed. */}}
{{- define "hostsync.scaling" -}}
{{- $mode := .Values.worker.scaling.mode -}}
{{- if eq $mode "auto" -}}
{{- $mode = ternary "keda" "hpa" (.Capabilities.APIVersions.Has "keda.sh/v1alpha1") -}}
{{- end -}}
{{- if and (ne $mode "fixed") (gt (int .Values.worker.scaling.min) (int .Values.worker.scaling.max)) -}}
{{- fail "worker.scaling: min is greater than max" -}}
{{- end -}}
{{- if and (eq $mode "hpa") (lt (int .Values.worker.scaling.min) 1) -}}
{{- fail "worker.scaling.min: only KEDA scales down to 0; set it to 1 or more" -}}
{{- end -}}
{{- $mode -}}
{{- end -}}
