{{/*
Which secrets a pod reads: a list of { file, variable, secret, key }. The file is mounted under /run/hostsync/secrets,
the variable names it to the program. Only what the component needs.
*/}}
{{- define "hostsync.secret" -}}
{{- $secret := default .root.Values.secrets.existingSecret .ref.existingSecret -}}
{{- $secret = required (printf "secrets.existingSecret, or existingSecret of %s: name the Secret" .file) $secret -}}
{{- dict "file" .file "variable" .variable "secret" $secret "key" (required (printf "%s: name the key in the Secret" .file) .ref.key) | toJson -}}
{{- end -}}

{{/* JSON { items: […] }. Takes a dict of root and component. */}}
{{- define "hostsync.secrets" -}}
{{- $root := .root -}}
{{- $s := $root.Values.secrets -}}
{{- $items := list -}}
{{- $database := $s.databaseUrl -}}
{{- if and (eq .component "migration") $s.migrationDatabaseUrl.key -}}
{{- $database = $s.migrationDatabaseUrl -}}
{{- end -}}
{{- $items = append $items (include "hostsync.secret" (dict "root" $root "file" "database-url" "variable" "HOSTSYNC_DATABASE__URL_FILE" "ref" $database) | fromJson) -}}
{{- if ne .component "migration" -}}
{{- $items = append $items (include "hostsync.secret" (dict "root" $root "file" "rabbitmq-url" "variable" "HOSTSYNC_RABBITMQ__URL_FILE" "ref" $s.rabbitmqUrl) | fromJson) -}}
{{- end -}}
{{- if and (eq .component "api") (eq $root.Values.config.api.auth "token") -}}
{{- $items = append $items (include "hostsync.secret" (dict "root" $root "file" "operator-token" "variable" "HOSTSYNC_API__OPERATOR_TOKEN_FILE" "ref" $s.operatorToken) | fromJson) -}}
{{- if $s.viewerToken.key -}}
{{- $items = append $items (include "hostsync.secret" (dict "root" $root "file" "viewer-token" "variable" "HOSTSYNC_API__VIEWER_TOKEN_FILE" "ref" $s.viewerToken) | fromJson) -}}
{{- end -}}
{{- range $name, $token := $root.Values.config.api.tokens -}}
{{- $variable := printf "HOSTSYNC_API__TOKENS__%s__TOKEN_FILE" (upper $name) -}}
{{- $items = append $items (include "hostsync.secret" (dict "root" $root "file" (printf "token-%s" $name) "variable" $variable "ref" $token.token) | fromJson) -}}
{{- end -}}
{{- end -}}
{{- if has .component (list "api" "scheduler" "worker") -}}
{{- range $name, $endpoint := $root.Values.config.elasticsearch.endpoints -}}
{{- range $key := list "password" "api_key" "bearer_token" -}}
{{- with index $endpoint $key -}}
{{- $file := printf "endpoint-%s-%s" $name (replace "_" "-" $key) -}}
{{- $variable := printf "HOSTSYNC_ELASTICSEARCH__ENDPOINTS__%s__%s_FILE" (upper $name) (upper $key) -}}
{{- $items = append $items (include "hostsync.secret" (dict "root" $root "file" $file "variable" $variable "ref" .) | fromJson) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "items" $items | toJson -}}
{{- end -}}

{{/* The variables that name the files, the users of passwords and the roles of tokens: one without the other is refused, so they go
together. */}}
{{- define "hostsync.secretEnv" -}}
{{- range (include "hostsync.secrets" . | fromJson).items }}
- name: {{ .variable }}
  value: /run/hostsync/secrets/{{ .file }}
{{- end }}
{{- if and (eq .component "api") (eq .root.Values.config.api.auth "token") }}
{{- range $name, $token := .root.Values.config.api.tokens }}
- name: HOSTSYNC_API__TOKENS__{{ upper $name }}__ROLE
  value: {{ $token.role }}
{{- end }}
{{- end }}
{{- if has .component (list "api" "scheduler" "worker") }}
{{- range $name, $endpoint := .root.Values.config.elasticsearch.endpoints }}
{{- with $endpoint.username }}
- name: HOSTSYNC_ELASTICSEARCH__ENDPOINTS__{{ upper $name }}__USERNAME
  value: {{ quote . }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The volume that holds them. */}}
{{- define "hostsync.secretVolume" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range (include "hostsync.secrets" . | fromJson).items }}
      - secret:
          name: {{ .secret }}
          items:
            - { key: {{ .key | quote }}, path: {{ .file | quote }} }
      {{- end }}
{{- end -}}
