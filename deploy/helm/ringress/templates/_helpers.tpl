{{- define "ringress.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "ringress.selector" -}}
app.kubernetes.io/name: ringress
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ringress.labels" -}}
{{ include "ringress.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "ringress.isDeployment" -}}
{{- if eq .Values.kind "Deployment" }}true{{ end -}}
{{- end -}}

{{/* Where the administrative interface is: a port of a pod's own, or a socket of it where the port would be the node's. */}}
{{- define "ringress.admin" -}}
{{- if and .Values.metrics.enabled (include "ringress.isDeployment" .) -}}:9000{{- else -}}unix:/run/ringress/admin.sock{{- end -}}
{{- end -}}

{{/* What `ringress ping` asks. */}}
{{- define "ringress.ping" -}}
{{- if and .Values.metrics.enabled (include "ringress.isDeployment" .) -}}127.0.0.1:9000{{- else -}}unix:/run/ringress/admin.sock{{- end -}}
{{- end -}}

{{/* The configuration, which is YAML as well. */}}
{{- define "ringress.config" -}}
{{- $deployment := include "ringress.isDeployment" . -}}
{{- $kubernetes := dict "dialects" .Values.dialects "cache" "/run/ringress/cache" "lease" (printf "%s/%s-leader" .Release.Namespace (include "ringress.name" .)) -}}
{{- with .Values.withoutClass }}{{- $_ := set $kubernetes "without_class" . }}{{- end -}}
{{- with .Values.namespaces }}{{- $_ := set $kubernetes "namespaces" . }}{{- end -}}
{{- if and $deployment (or (not .Values.namespaces) (has .Release.Namespace .Values.namespaces)) }}{{- $_ := set $kubernetes "publish_service" (printf "%s/%s" .Release.Namespace (include "ringress.name" .)) }}{{- end -}}
{{- if not (or $deployment .Values.kubernetes.publish_addresses .Values.kubernetes.publish_service) }}{{- $_ := set $kubernetes "publish_pods" (printf "%s/app.kubernetes.io/name=ringress,app.kubernetes.io/instance=%s" .Release.Namespace .Release.Name) }}{{- end -}}
{{- $admin := dict "address" (include "ringress.admin" .) -}}
{{- if and .Values.metrics.enabled $deployment }}{{- $_ := set $admin "hosts" (list "*") }}{{- end -}}
{{- $web := dict "address" (ternary ":8080" ":80" (eq $deployment "true")) -}}
{{- $websecure := dict "address" (ternary ":8443" ":443" (eq $deployment "true")) -}}
{{- if not $deployment }}{{- $_ := set $web "port_use" "shared" }}{{- $_ := set $websecure "port_use" "shared" }}{{- end -}}
{{- $listeners := dict "web" (merge (dict) .Values.listeners.web $web) "websecure" (merge (dict) .Values.listeners.websecure $websecure) -}}
{{- $own := dict "kubernetes" (merge (dict) .Values.kubernetes $kubernetes) "admin" $admin "listeners" $listeners -}}
{{- toYaml (merge $own .Values.config) -}}
{{- end -}}
