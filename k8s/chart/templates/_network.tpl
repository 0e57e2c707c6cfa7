{{/* Peers of NetworkPolicies. */}}

{{/* Addresses: cidrs, except (networks that "everywhere" leaves out). Everywhere is never what is
     link-local, nor where AWS gives out credentials by IPv6. */}}
{{- define "kintsugi.addresses" -}}
{{- $four := list "169.254.0.0/16" -}}
{{- $six := list "fe80::/10" "fd00:ec2::/32" -}}
{{- range .except -}}
{{- if contains ":" . -}}{{- $six = append $six . -}}{{- else -}}{{- $four = append $four . -}}{{- end -}}
{{- end -}}
{{- range .cidrs }}
- ipBlock:
    cidr: {{ . | quote }}
    {{- if eq . "0.0.0.0/0" }}
    except: {{ toJson $four }}
    {{- else if eq . "::/0" }}
    except: {{ toJson $six }}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "kintsugi.tcp" -}}
{{- range . }}
- port: {{ . | int64 }}
{{- end }}
{{- end -}}

{{/* Pods of this instance: root, component, and more labels. */}}
{{- define "kintsugi.peer" -}}
- podSelector:
    matchLabels:
      {{- include "kintsugi.selector" . | nindent 6 }}
      {{- with .labels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end -}}

{{/* Pods, or all, of another namespace. */}}
{{- define "kintsugi.elsewhere" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .namespace | quote }}
  {{- with .labels }}
  podSelector:
    matchLabels:
      {{- toYaml . | nindent 6 }}
  {{- end }}
{{- end -}}

{{/* Names: a rule of egress for all that may ask for them, with what a profile adds to kube-dns. */}}
{{- define "kintsugi.dns" -}}
{{- $profile := include "kintsugi.profile" . | fromYaml -}}
- to:
    {{- include "kintsugi.elsewhere" (dict "namespace" "kube-system" "labels" (dict "k8s-app" "kube-dns")) | nindent 4 }}
    {{- range $profile.dns }}
    {{- if .cidr }}
    - ipBlock:
        cidr: {{ .cidr | quote }}
    {{- else }}
    {{- include "kintsugi.elsewhere" (dict "namespace" "kube-system" "labels" .pods) | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- if $profile.nodeDns }}
    {{- include "kintsugi.addresses" (dict "cidrs" .Values.network.nodes) | nindent 4 }}
    {{- end }}
  ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
{{- end -}}

{{/* The same of a node itself, as Cilium's own policies name it. */}}
{{- define "kintsugi.dnsOfNodes" -}}
- toEntities: [host]
  toPorts:
    - ports:
        - {port: "53", protocol: UDP}
        - {port: "53", protocol: TCP}
{{- end -}}

{{/* Whether nginx.conf gives metrics at a port of its own. */}}
{{- define "kintsugi.edgeMetrics" -}}
{{- if contains "listen 8081;" (.Files.Get "files/nginx.conf") }}true{{ end -}}
{{- end -}}

{{/* Those that read releases or work on runs. */}}
{{- define "kintsugi.usersOfStorage" -}}
matchLabels:
  {{- include "kintsugi.selector" (dict "root" .) | nindent 2 }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [serving, training]
{{- end -}}

{{- define "kintsugi.policy" -}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "kintsugi.metadata" (dict "root" .root "name" (printf "%s-%s" (include "kintsugi.name" .root) .name) "component" "platform" "wave" "-1") | nindent 2 }}
{{- end -}}
