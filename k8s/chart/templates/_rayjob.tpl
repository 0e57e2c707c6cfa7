{{/* A RayJob with a cluster of its own: root, name, entrypoint, retries, deadline, head, ports (those
     that its driver opens on the head), groups (name -> pods with min, max and, for spot, priority). Its cluster's pods come with the work. */}}
{{- define "kintsugi.rayJob" -}}
{{- $root := .root -}}
{{- $name := include "kintsugi.name" .root -}}
{{- $priority := default "training" .priority -}}
{{- $env := include "kintsugi.rayEnv" (dict "root" .root "what" "training") | fromYamlArray -}}
{{- $labels := dict "app.kubernetes.io/name" .name -}}
{{- $annotations := dict -}}
{{- if .root.Values.kueue.enabled -}}
{{- $_ := set $labels "kueue.x-k8s.io/queue-name" $name -}}
{{- $_ := set $labels "kueue.x-k8s.io/priority-class" (printf "%s-%s" (include "kintsugi.clusterName" .root) $priority) -}}
{{- /* It grows and shrinks within the quota. */ -}}
{{- $_ := set $annotations "kueue.x-k8s.io/elastic-job" "true" -}}
{{- end -}}
apiVersion: ray.io/v1
kind: RayJob
metadata:
  {{- include "kintsugi.metadata" (dict "root" .root "name" (printf "%s-%s" $name .name) "component" "training" "wave" "1" "labels" $labels "annotations" $annotations) | nindent 2 }}
spec:
  # Absolute: where a job's driver starts is Ray's affair.
  entrypoint: {{ .entrypoint | quote }}
  # Each retry is a new cluster; a run resumes from its last checkpoint.
  backoffLimit: {{ .retries | int64 }}
  # Both deadlines end the job without a retry; deleted and applied again it resumes.
  activeDeadlineSeconds: {{ int64 .deadline }}
  preRunningDeadlineSeconds: 3600
  shutdownAfterJobFinishes: true
  # Time to look at the dashboard.
  ttlSecondsAfterFinished: 600
  submitterPodTemplate:
    metadata:
      labels:
        {{- include "kintsugi.selector" (dict "root" .root "component" "training") | nindent 8 }}
    spec:
      restartPolicy: Never
      serviceAccountName: "{{ $name }}-training"
      {{- include "kintsugi.priority" (dict "root" .root "priority" $priority) | nindent 6 }}
      {{- include "kintsugi.pullSecrets" .root | nindent 6 }}
      securityContext:
        {{- include "kintsugi.podSecurity" 1000 | nindent 8 }}
      containers:
        - {{- include "kintsugi.container" (dict "root" .root "name" "ray-job-submitter" "resources" (dict "cpu" "1" "requestCpu" "500m" "memory" "1Gi" "disk" "1Gi" "requestDisk" "100Mi")) | nindent 10 }}
      volumes:
        {{- include "kintsugi.volumes" (dict "root" .root "home" "100Mi" "tmp" "500Mi") | nindent 8 }}
  rayClusterSpec:
    rayVersion: 2.60.0
    authOptions:
      # For the dashboard, the jobs API and the cluster's own traffic.
      mode: token
    enableInTreeAutoscaling: true
    autoscalerOptions:
      {{- include "kintsugi.autoscaler" (dict "root" .root "idleSeconds" 60) | nindent 6 }}
    headGroupSpec:
      rayStartParams:
        # The job's driver is here; what computes is on the workers.
        num-cpus: "0"
      template:
        metadata:
          {{- include "kintsugi.rayPodMetadata" (dict "root" .root "component" "training" "keep" true) | nindent 10 }}
        spec:
          serviceAccountName: "{{ $name }}-training-head"
          # The autoscaler asks the Kubernetes API for pods.
          automountServiceAccountToken: true
          {{- include "kintsugi.priority" (dict "root" .root "priority" $priority) | nindent 10 }}
          {{- include "kintsugi.pullSecrets" .root | nindent 10 }}
          # A run that is asked to stop writes a checkpoint first.
          terminationGracePeriodSeconds: 150
          securityContext:
            {{- include "kintsugi.podSecurity" 1000 | nindent 12 }}
          containers:
            {{- /* `ray job stop` sends SIGTERM, and a run then writes a checkpoint; Ray's default gives it 3 seconds. */}}
            {{- $headEnv := append $env (dict "name" "RAY_JOB_STOP_WAIT_TIME_S" "value" "120") }}
            - {{- include "kintsugi.container" (dict "root" .root "name" "ray-head" "env" $headEnv "buckets" true
                "ports" (merge (dict "gcs-server" 6379 "dashboard" 8265 "as-metrics" 44217 "dash-metrics" 44227) (default dict .ports))
                "resources" (merge (dict) .head (dict "disk" "10Gi" "requestDisk" "5Gi"))) | nindent 14 }}
          volumes:
            {{- include "kintsugi.volumes" (dict "root" .root "home" "1Gi" "tmp" "8Gi" "buckets" true) | nindent 12 }}
    workerGroupSpecs:
      {{- range $group, $pods := .groups }}
      - groupName: {{ $group | quote }}
        replicas: {{ $pods.min | int64 }}
        minReplicas: {{ $pods.min | int64 }}
        maxReplicas: {{ $pods.max | int64 }}
        idleTimeoutSeconds: {{ default 60 $pods.idleSeconds | int64 }}
        {{- with $pods.priority }}
        # Which group the autoscaler takes first.
        priority: {{ . | int64 }}
        {{- end }}
        labels:
          kintsugi-group: {{ $group | quote }}
        {{- if $pods.logicalCpus }}
        rayStartParams:
          num-cpus: {{ $pods.logicalCpus | int64 | quote }}
        {{- else }}
        rayStartParams: {}
        {{- end }}
        template:
          metadata:
            {{- include "kintsugi.rayPodMetadata" (dict "root" $root "component" "training" "keep" (and $pods.gpus (not $pods.spot))) | nindent 12 }}
          spec:
            serviceAccountName: "{{ $name }}-training"
            {{- include "kintsugi.priority" (dict "root" $root "priority" (ternary "spare" $priority (default false $pods.spot))) | nindent 12 }}
            {{- include "kintsugi.pullSecrets" $root | nindent 12 }}
            # A run that is asked to stop writes a checkpoint first.
            terminationGracePeriodSeconds: 120
            securityContext:
              {{- include "kintsugi.podSecurity" 1000 | nindent 14 }}
            {{- include "kintsugi.nodes" (dict "root" $root "gpus" $pods.gpus "spot" $pods.spot "nodeSelector" $pods.nodeSelector) | nindent 12 }}
            containers:
              - {{- include "kintsugi.container" (dict "root" $root "name" "ray-worker" "env" $env "buckets" true "resources" $pods) | nindent 16 }}
            volumes:
              {{- include "kintsugi.volumes" (dict "root" $root "home" "5Gi" "tmp" "40Gi" "buckets" true) | nindent 14 }}
      {{- end }}
{{- end -}}
