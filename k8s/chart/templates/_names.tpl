{{/* Names and labels. */}}

{{- define "kintsugi.name" -}}
{{- $name := default .Release.Name .Values.nameOverride -}}
{{- /* With a job's own name (22) a RayJob may have 47; cut off, two instances could share one. */ -}}
{{- if gt (len $name) 24 -}}{{- fail (printf "nameOverride: %q has %d characters, of 24 at most: give a shorter one" $name (len $name)) -}}{{- end -}}
{{- /* A Service's name begins with a letter. */ -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $name) -}}{{- fail (printf "nameOverride: %q is none: small letters, digits and hyphens, a letter first" $name) -}}{{- end -}}
{{- $name -}}
{{- end -}}

{{/* Of what has no namespace: no other instance has it. */}}
{{- define "kintsugi.clusterName" -}}
{{- $name := include "kintsugi.name" . -}}
{{- if eq $name .Release.Namespace -}}{{ $name }}{{- else -}}{{ .Release.Namespace }}-{{ $name }}{{- end -}}
{{- end -}}

{{/* What selects the pods of this instance. */}}
{{- define "kintsugi.selector" -}}
app.kubernetes.io/part-of: kintsugi
app.kubernetes.io/instance: {{ include "kintsugi.name" .root | quote }}
{{- with .component }}
app.kubernetes.io/component: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* metadata of an object: root, name, component, and what else there is. */}}
{{- define "kintsugi.metadata" -}}
name: {{ .name | quote }}
{{- if not .clusterScoped }}
namespace: {{ .root.Release.Namespace | quote }}
{{- end }}
labels:
  {{- include "kintsugi.selector" . | nindent 2 }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
  helm.sh/chart: "{{ .root.Chart.Name }}-{{ .root.Chart.Version }}"
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := merge (dict) (default (dict) .annotations) }}
{{- with .wave }}
{{- $_ := set $annotations "argocd.argoproj.io/sync-wave" . }}
{{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Names of Ray's components are the operator's: <cluster>-serve-svc. */}}
{{- define "kintsugi.host" -}}
{{ .service }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end -}}

{{/* All profiles joined: lists appended, the rest by the last that says it. */}}
{{- define "kintsugi.profile" -}}
{{- $found := dict "dns" list "credentials" list "objectStorage" list "podLabels" dict "spot" dict "nodeDns" false "cilium" false -}}
{{- range $name := .Values.profiles -}}
{{- $text := $.Files.Get (printf "profiles/%s.yaml" $name) -}}
{{- if not $text -}}{{- fail (printf "profiles: no profile %q: take one of chart/profiles" $name) -}}{{- end -}}
{{- $profile := $text | fromYaml -}}
{{- $_ := set $found "dns" (concat $found.dns (default list $profile.dns)) -}}
{{- $_ := set $found "credentials" (concat $found.credentials (default list $profile.credentials)) -}}
{{- with $profile.objectStorage -}}{{- $_ := set $found "objectStorage" (append $found.objectStorage .) -}}{{- end -}}
{{- with $profile.podLabels -}}{{- $_ := set $found "podLabels" . -}}{{- end -}}
{{- with $profile.spot -}}{{- $_ := set $found "spot" . -}}{{- end -}}
{{- if $profile.nodeDns -}}{{- $_ := set $found "nodeDns" true -}}{{- end -}}
{{- if $profile.cilium -}}{{- $_ := set $found "cilium" true -}}{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{/* A word of a shell's command line. */}}
{{- define "kintsugi.word" -}}
{{- if regexMatch "^[A-Za-z0-9_./:=@%+,-]+$" . -}}{{ . }}{{- else -}}'{{ replace "'" "'\\''" . }}'{{- end -}}
{{- end -}}

{{/* A folder on the volume, not a bucket. */}}
{{- define "kintsugi.onVolume" -}}
{{- if hasPrefix "/data/" . }}true{{ end -}}
{{- end -}}
