{{/* What every pod shares: Pod Security `restricted`, images, places to write, places to run. */}}

{{- define "kintsugi.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "kintsugi.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . | int64 }}
runAsGroup: {{ . | int64 }}
fsGroup: {{ . | int64 }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "kintsugi.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "kintsugi.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "kintsugi.priority" -}}
{{- if .root.Values.priorities.enabled }}
priorityClassName: "{{ include "kintsugi.clusterName" .root }}-{{ .priority }}"
{{- end }}
{{- end -}}

{{/* Requests and limits: cpu, memory, disk, gpus; requestCpu and requestDisk where they are less. */}}
{{- define "kintsugi.resources" -}}
requests:
  cpu: {{ default .cpu .requestCpu | quote }}
  memory: {{ .memory | quote }}
  {{- with default .disk .requestDisk }}
  ephemeral-storage: {{ . | quote }}
  {{- end }}
  {{- if .gpus }}
  nvidia.com/gpu: {{ .gpus | int64 | quote }}
  {{- end }}
limits:
  cpu: {{ .cpu | quote }}
  memory: {{ .memory | quote }}
  {{- with .disk }}
  ephemeral-storage: {{ . | quote }}
  {{- end }}
  {{- if .gpus }}
  nvidia.com/gpu: {{ .gpus | int64 | quote }}
  {{- end }}
{{- end -}}

{{/* metadata of a pod of Ray: root, component, annotations; `keep` asks nodes not to be taken away. */}}
{{- define "kintsugi.rayPodMetadata" -}}
{{- $profile := include "kintsugi.profile" .root | fromYaml -}}
labels:
  {{- include "kintsugi.selector" . | nindent 2 }}
  {{- with merge (dict) .root.Values.identity.podLabels $profile.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if .keep }}
annotations:
  # Of cluster-autoscaler and of Karpenter: a node is not emptied to save money while this runs.
  cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
  karpenter.sh/do-not-disrupt: "true"
{{- end }}
{{- end -}}

{{/* A container of our image: root, name, resources; ports, env, buckets, mounts, data. */}}
{{- define "kintsugi.container" -}}
name: {{ .name | quote }}
image: {{ include "kintsugi.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy | quote }}
{{- with .args }}
args:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and .buckets .root.Values.storage.secret }}
envFrom:
  # Endpoint and credentials of the buckets; its keys: ../README.md.
  - secretRef:
      name: {{ .root.Values.storage.secret | quote }}
{{- end }}
{{- with .ports }}
ports:
  {{- range $port, $number := . }}
  - name: {{ $port | quote }}
    containerPort: {{ $number | int64 }}
  {{- end }}
{{- end }}
resources:
  {{- include "kintsugi.resources" .resources | nindent 2 }}
securityContext:
  {{- include "kintsugi.containerSecurity" . | nindent 2 }}
volumeMounts:
  - name: home
    mountPath: /home/kintsugi
  - name: tmp
    mountPath: /tmp
  {{- if and .buckets .root.Values.storage.volume.enabled }}
  - name: data
    mountPath: /data
  {{- end }}
  {{- with .mounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Volumes of such a pod: root, home, tmp (sizes), buckets, and more. */}}
{{- define "kintsugi.volumes" -}}
# All that may be written, with /dev/shm, which the operator adds.
- name: home
  emptyDir:
    sizeLimit: {{ .home | quote }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .tmp | quote }}
{{- if and .buckets .root.Values.storage.volume.enabled }}
- name: data
  persistentVolumeClaim:
    claimName: "{{ include "kintsugi.name" .root }}-data"
{{- end }}
{{- with .more }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Spread over zones and nodes where there are several: root, component, group. */}}
{{- define "kintsugi.spread" -}}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . | quote }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "kintsugi.selector" $ | nindent 8 }}
        {{- with $.group }}
        ray.io/group: {{ . | quote }}
        {{- end }}
  {{- end }}
{{- end -}}

{{/* Where a pod may run: root, gpus, spot. */}}
{{- define "kintsugi.nodes" -}}
{{- $profile := include "kintsugi.profile" .root | fromYaml -}}
{{- $selector := dict -}}
{{- $tolerations := list -}}
{{- if .gpus -}}
{{- $selector = merge $selector .root.Values.gpu.nodeSelector -}}
{{- $tolerations = concat $tolerations .root.Values.gpu.tolerations -}}
{{- end -}}
{{- if .spot -}}
{{- $selector = merge $selector .root.Values.spot.nodeSelector (default dict $profile.spot.nodeSelector) -}}
{{- $tolerations = concat $tolerations .root.Values.spot.tolerations (default list $profile.spot.tolerations) -}}
{{- end -}}
{{- with .nodeSelector -}}{{- $selector = merge (dict) . $selector -}}{{- end -}}
{{- with $selector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Of the autoscaler, which the operator adds to a head. */}}
{{- define "kintsugi.autoscaler" -}}
version: v2
idleTimeoutSeconds: {{ .idleSeconds | int64 }}
imagePullPolicy: {{ .root.Values.image.pullPolicy | quote }}
resources:
  requests: {cpu: {{ default .root.Values.serving.autoscaler.cpu .root.Values.serving.autoscaler.requestCpu | quote }}, memory: {{ .root.Values.serving.autoscaler.memory | quote }}}
  limits: {cpu: {{ .root.Values.serving.autoscaler.cpu | quote }}, memory: {{ .root.Values.serving.autoscaler.memory | quote }}}
securityContext:
  {{- include "kintsugi.containerSecurity" . | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
{{- end -}}
