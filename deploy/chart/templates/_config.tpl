{{/* The configuration file. It holds no secret, and no user that goes with one: see _secrets.tpl. */}}
{{- define "hostsync.config" -}}
{{- $c := .Values.config -}}
{{- $search := $c.elasticsearch -}}
{{- if not (hasKey $search.endpoints $search.default_endpoint) -}}
{{- fail (printf "config.elasticsearch.endpoints.%s: set it, it is the default endpoint" $search.default_endpoint) -}}
{{- end -}}
[database]
max_connections = {{ int $c.database.max_connections }}

[rabbitmq]
prefix = {{ toJson $c.rabbitmq.prefix }}

[api]
listen = "0.0.0.0:8888"
rpc_listen = "0.0.0.0:8080"
auth = {{ toJson $c.api.auth }}

[scheduler]
listen = "0.0.0.0:8891"
time_zone = {{ toJson $c.scheduler.time_zone }}
retention = {{ toJson $c.scheduler.retention }}
audit_retention = {{ toJson $c.scheduler.audit_retention }}
execution_deadline = {{ toJson $c.scheduler.execution_deadline }}

[worker]
listen = "0.0.0.0:8892"
batch_hosts = {{ int $c.worker.batch_hosts }}
batch_linger = {{ toJson $c.worker.batch_linger }}
concurrency = {{ int $c.worker.concurrency }}
shutdown_grace = {{ toJson $c.worker.shutdown_grace }}

[telemetry]
otlp_endpoint = {{ toJson $c.telemetry.otlp_endpoint }}
log_format = {{ toJson $c.telemetry.log_format }}
log_level = {{ toJson $c.telemetry.log_level }}

[elasticsearch]
default_endpoint = {{ toJson $search.default_endpoint }}
default_index_pattern = {{ toJson $search.default_index_pattern }}
default_mapping = {{ toJson $search.default_mapping }}
{{- range $name, $endpoint := $search.endpoints }}

[elasticsearch.endpoints.{{ $name }}]
{{- range $key := list "url" "kind" "ca_file" "timeout" }}
{{- with index $endpoint $key }}
{{ $key }} = {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}
{{- with trim $c.mappings }}

{{ . }}
{{- end }}
{{ end -}}
