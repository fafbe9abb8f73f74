{{/*
What the operator does in a namespace that it serves: exactly the verbs that it uses. Secrets are mounted by pods, and
never read here; one is made in each namespace with gateways or agents, the key that callers' identities are signed with.
`create` stands beside `patch` because server-side apply creates what is not there yet.
*/}}
{{- define "agentfleet.rules" -}}
- apiGroups: [agentfleet.dev]
  resources: [modelservers, agentroutes, agents]
  verbs: [get, list, watch]
- apiGroups: [agentfleet.dev]
  resources: [modelservers/status, agentroutes/status, agents/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments, daemonsets, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [leaderworkerset.x-k8s.io] # its CRD may be absent
  resources: [leaderworkersets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [leaderworkerset.x-k8s.io]
  resources: [leaderworkersets/scale]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps, persistentvolumeclaims, serviceaccounts] # an account for each Agent, bound to nothing
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io] # its CRDs may be absent
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [inference.networking.k8s.io] # its CRD may be absent
  resources: [inferencepools]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create] # neither read nor changed
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch] # to know whether somebody else scales the same
- apiGroups: [keda.sh] # its CRD may be absent
  resources: [scaledobjects]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch] # of all that run, to know which GPUs are free; patched to say which goes first
- apiGroups: [metrics.k8s.io] # metrics-server may be absent
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [events]
  verbs: [list, create] # listed for one pod at a time: failed mounts are told nowhere else
{{- end }}
