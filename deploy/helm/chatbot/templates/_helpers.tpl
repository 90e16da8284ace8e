{{- define "chatbot.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- /* Labels that select the pods of a component. Arguments: context, component. */ -}}
{{- define "chatbot.selector" -}}
app.kubernetes.io/name: {{ .context.Chart.Name }}
app.kubernetes.io/instance: {{ .context.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "chatbot.labels" -}}
{{ include "chatbot.selector" . }}
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .context.Release.Service }}
{{- end -}}

{{- define "chatbot.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "chatbot.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "chatbot.placement" -}}
{{- with .context.Values.images.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .context.Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .context.Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "chatbot.selector" . | nindent 8 }}
{{- end -}}

{{- /* Paths of the mounted secrets. Argument: list of keys. */ -}}
{{- define "chatbot.secretVariables" -}}
{{- range . }}
- {name: {{ . }}_FILE, value: /run/chatbot/{{ . }}}
{{- end }}
{{- end -}}

{{- /* Settings that are not secret, as variables: jobs that run before the release cannot read its ConfigMap. */ -}}
{{- define "chatbot.settingVariables" -}}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ include "chatbot.settingValue" $value | quote }}}
{{- end }}
{{- end -}}

{{- /* A setting as text. Helm reads numbers as floating-point numbers: 104857600 would be 1.048576e+08. */ -}}
{{- define "chatbot.settingValue" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ toString . }}{{ end -}}
{{- end -}}

{{- define "chatbot.secretVolume" -}}
- name: secrets
  secret:
    secretName: {{ .context.Values.secret.name }}
    defaultMode: 0440
    items:
      {{- range .keys }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- end -}}
