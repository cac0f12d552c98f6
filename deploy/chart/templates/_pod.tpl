{{/* What all pods have in common. */}}

{{- define "hostsync.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "hostsync.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "hostsync.trustVolume" -}}
{{- with .Values.trust.existingConfigMap }}
- name: trust
  configMap:
    name: {{ . }}
{{- end }}
{{- end -}}

{{- define "hostsync.trustMount" -}}
{{- if .Values.trust.existingConfigMap }}
- name: trust
  mountPath: /etc/hostsync/trust
  readOnly: true
{{- end }}
{{- end -}}

{{/*
The pod template of a service. Takes a dict of root, component, values, ports (name → number), probePort (a name) and
grace, in seconds, and preStop, the seconds to wait before SIGTERM (0: none).
*/}}
{{- define "hostsync.podTemplate" -}}
metadata:
  labels:
    {{- include "hostsync.labels" . | nindent 4 }}
    {{- with .values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A changed configuration is a changed pod. A changed Secret is not: kubectl rollout restart.
    checksum/config: {{ include "hostsync.config" .root | sha256sum }}
    {{- with .values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "hostsync.fullname" .root }}
  automountServiceAccountToken: false
  # No HOSTSYNC_API_PORT=tcp://… in the environment.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .grace }}
  {{- with .values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "hostsync.podSecurity" . | nindent 4 }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      matchLabelKeys: [pod-template-hash]
      labelSelector:
        matchLabels:
          {{- include "hostsync.selector" $ | nindent 10 }}
    {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "hostsync.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: [{{ printf "hostsync-%s" .component | quote }}]
      securityContext:
        {{- include "hostsync.containerSecurity" . | nindent 8 }}
      env:
        - name: HOSTSYNC_CONFIG
          value: /etc/hostsync/hostsync.toml
        {{- include "hostsync.secretEnv" . | trim | nindent 8 }}
        {{- with .values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        {{- range $name, $number := .ports }}
        - name: {{ $name }}
          containerPort: {{ $number }}
        {{- end }}
      # Alive: the process answers and its loops go round, also while the database is away: an outage restarts nobody.
      startupProbe:
        httpGet: { path: /healthz, port: {{ .probePort }} }
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 30
      livenessProbe:
        httpGet: { path: /healthz, port: {{ .probePort }} }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      # Ready: what it cannot work without answers.
      readinessProbe:
        httpGet: { path: /readyz, port: {{ .probePort }} }
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- if .preStop }}
      # Until nobody sends requests here any more.
      lifecycle:
        preStop:
          sleep: { seconds: {{ .preStop }} }
      {{- end }}
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/hostsync/hostsync.toml
          subPath: hostsync.toml
          readOnly: true
        - name: secrets
          mountPath: /run/hostsync/secrets
          readOnly: true
        {{- include "hostsync.trustMount" .root | trim | nindent 8 }}
  volumes:
    - name: config
      configMap:
        name: {{ include "hostsync.fullname" .root }}
    {{- include "hostsync.secretVolume" . | nindent 4 }}
    {{- include "hostsync.trustVolume" .root | trim | nindent 4 }}
  {{- with .values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
