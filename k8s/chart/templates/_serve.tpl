{{/* serveConfigV2: the graph of deploy/serve.yaml on these groups. What differs from that file is
     listed, with its reason, in tests/k8s/test_serve_config.py. */}}
{{- define "kintsugi.serveConfig" -}}
{{- $serving := .Values.serving -}}
{{- /* What other values say. Said a second time in serving.args, an empty api_keys would open the service. */ -}}
{{- $fixed := dict "release" $serving.release "jobs" (default "" .Values.storage.jobs) "api_keys" "/etc/kintsugi/api-keys/keys" -}}
{{- $from := dict "release" "serving.release" "jobs" "storage.jobs" "api_keys" "serving.apiKeys.secret" -}}
{{- range $key, $_ := $serving.args -}}
{{- with get $from $key -}}{{- fail (printf "serving.args: %s is said by %s" $key .) -}}{{- end -}}
{{- end -}}
proxy_location: EveryNode
http_options:
  host: 0.0.0.0
  port: 8000
  request_timeout_s: {{ $serving.requestTimeoutSeconds | int64 }}
grpc_options:
  port: 9010
  grpc_servicer_functions: []
logging_config:
  encoding: JSON
  log_level: INFO
  enable_access_log: true

applications:
  - name: kintsugi
    route_prefix: /
    import_path: kintsugi.deploy.app:build_app
    args:
      {{- toYaml (merge $fixed $serving.args) | nindent 6 }}
    deployments:
    {{- range $name := list "Ingress" "Refiner" "Image2Feature" "PatchSwap" "Feature2Image" }}
    {{- $node := index $serving.nodes $name }}
      - name: {{ $name | quote }}
        ray_actor_options:
          num_cpus: {{ $node.cpus }}
          {{- with $node.gpus }}
          num_gpus: {{ . }}
          {{- end }}
          {{- with $node.groups }}
          label_selector: {kintsugi-group: {{ printf "in(%s)" (join "," .) | quote }}}
          {{- end }}
        {{- if eq $name "Refiner" }}
        user_config: {release: {{ $serving.releaseInPlace | quote }}}
        {{- end }}
        max_ongoing_requests: {{ $node.ongoing | int64 }}
        max_queued_requests: {{ $node.queued | int64 }}
        max_surge_percent: {{ $node.surge | int64 }}
        {{- with $node.perPod }}
        max_replicas_per_node: {{ . | int64 }}
        {{- end }}
        autoscaling_config:
          min_replicas: {{ $node.min | int64 }}
          max_replicas: {{ $node.max | int64 }}
          target_ongoing_requests: {{ $node.target | int64 }}
          upscale_delay_s: {{ $node.upSeconds | int64 }}
          downscale_delay_s: {{ $node.downSeconds | int64 }}
        graceful_shutdown_timeout_s: {{ $node.graceSeconds | int64 }}
        health_check_period_s: 10
        health_check_timeout_s: 30
    {{- end }}
{{- end -}}

{{/* Seconds for which a pod drains: the longest graceSeconds, and the proxy's own half minute. */}}
{{- define "kintsugi.drainSeconds" -}}
{{- $longest := 0 -}}
{{- range .Values.serving.nodes -}}{{- $longest = max $longest (int .graceSeconds) -}}{{- end -}}
{{- add $longest 40 -}}
{{- end -}}

{{/* Variables of every pod of Ray: root, what (serving or training). */}}
{{- define "kintsugi.rayEnv" -}}
- name: PYTHONPATH
  value: /app/platform
{{- if eq .what "serving" }}
- name: RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S
  value: {{ .root.Values.serving.proxyHealthCheckSeconds | int64 | quote }}
{{- with .root.Values.serving.tracing.endpoint }}
- name: RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH
  value: kintsugi.deploy.tracing:span_processors
- name: RAY_SERVE_TRACING_SAMPLING_RATIO
  value: "1"
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ include "kintsugi.name" $.root | quote }}
{{- end }}
{{- end }}
{{- end -}}
