{{/* A store of one pod with a volume: root, name, uid, image, command, env, port (name, number),
     resources, mounts, volumes, size, storageClass. */}}
{{- define "kintsugi.store" -}}
{{- $full := printf "%s-%s" (include "kintsugi.name" .root) .name -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "kintsugi.metadata" (dict "root" .root "name" $full "component" .name "wave" "0") | nindent 2 }}
spec:
  serviceName: {{ $full | quote }}
  replicas: 1
  selector:
    matchLabels:
      {{- include "kintsugi.selector" (dict "root" .root "component" .name) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "kintsugi.selector" (dict "root" .root "component" .name) | nindent 8 }}
    spec:
      serviceAccountName: {{ $full | quote }}
      automountServiceAccountToken: false
      {{- include "kintsugi.priority" (dict "root" .root "priority" "serving") | nindent 6 }}
      {{- include "kintsugi.pullSecrets" .root | nindent 6 }}
      terminationGracePeriodSeconds: 30
      securityContext:
        {{- include "kintsugi.podSecurity" .uid | nindent 8 }}
      containers:
        - name: {{ .name | quote }}
          image: {{ .image | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy | quote }}
          command:
            {{- toYaml .command | nindent 12 }}
          env:
            {{- toYaml .env | nindent 12 }}
          ports:
            - name: {{ .port.name | quote }}
              containerPort: {{ .port.number | int64 }}
          readinessProbe:
            tcpSocket: {port: {{ .port.name | quote }}}
            periodSeconds: 5
          livenessProbe:
            tcpSocket: {port: {{ .port.name | quote }}}
            periodSeconds: 20
            failureThreshold: 6
          resources:
            {{- include "kintsugi.resources" .resources | nindent 12 }}
          securityContext:
            {{- include "kintsugi.containerSecurity" . | nindent 12 }}
          volumeMounts:
            - name: data
              mountPath: /data
            {{- toYaml .mounts | nindent 12 }}
      volumes:
        - name: data
          persistentVolumeClaim:
            claimName: {{ $full | quote }}
        {{- toYaml .volumes | nindent 8 }}
---
# Stays when the pod goes; deleted by hand.
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "kintsugi.metadata" (dict "root" .root "name" $full "component" .name "wave" "-1" "annotations" (dict "helm.sh/resource-policy" "keep")) | nindent 2 }}
spec:
  accessModes: [ReadWriteOnce]
  {{- with .storageClass }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .size | quote }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "kintsugi.metadata" (dict "root" .root "name" $full "component" .name "wave" "0") | nindent 2 }}
spec:
  selector:
    {{- include "kintsugi.selector" (dict "root" .root "component" .name) | nindent 4 }}
  ports:
    - name: {{ .port.name | quote }}
      port: {{ .port.number | int64 }}
      targetPort: {{ .port.name | quote }}
{{- end -}}

{{- define "kintsugi.fromSecret" -}}
name: {{ .variable | quote }}
valueFrom:
  secretKeyRef:
    name: {{ .secret | quote }}
    key: {{ .key | quote }}
{{- end -}}
