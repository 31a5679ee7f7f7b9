{{- define "rewriter-operator.labels" -}}
app.kubernetes.io/name: rewriter-operator
{{- end }}
