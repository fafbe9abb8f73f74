{{/*
What the operator does in a namespace that it serves: exactly the verbs that it uses. No Secrets: pods mount their own.
`create` stands beside `patch` because server-side apply creates what is not there yet.
*/}}
{{- define "agentfleet.rules" -}}
- apiGroups: [agentfleet.dev]
  resources: [modelservers]
  verbs: [get, list, watch]
- apiGroups: [agentfleet.dev]
  resources: [modelservers/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods, persistentvolumeclaims]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [list, create] # listed for one pod at a time: failed mounts are told nowhere else
{{- end }}
