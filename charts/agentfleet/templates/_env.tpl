{{/* The operator's settings as environment variables; the names are the fields of its Settings. */}}
{{- define "agentfleet.env" -}}
- name: AGENTFLEET_POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: AGENTFLEET_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- $settings := dict
  "LEASE_NAME" (include "agentfleet.fullname" .)
  "LEASE_DURATION" .Values.leaderElection.leaseDuration
  "RENEW_DEADLINE" .Values.leaderElection.renewDeadline
  "RENEW_INTERVAL" .Values.leaderElection.renewInterval
  "WATCH_NAMESPACES" (join "," .Values.watch.namespaces)
  "WATCH_NODES" .Values.watch.nodes
  "LOG_LEVEL" .Values.operator.logLevel
  "WORKERS" .Values.operator.workers
  "STUCK_AFTER" .Values.operator.stuckAfter
  "RESYNC_INTERVAL" .Values.operator.resyncInterval
  "STATUS_INTERVAL" .Values.operator.statusInterval
  "VLLM_IMAGE" .Values.engines.vllmImage
  "LLAMA_CPP_IMAGE" .Values.engines.llamaCppImage
  "LLAMA_CPP_GPU_IMAGE" .Values.engines.llamaCppGpuImage
  "LLAMA_CPP_ROCM_IMAGE" .Values.engines.llamaCppRocmImage
  "OLLAMA_IMAGE" .Values.engines.ollamaImage
  "HAPROXY_IMAGE" .Values.gateway.haproxyImage
  "SIDECAR_IMAGE" (default (include "agentfleet.image" .) .Values.engines.sidecarImage)
  "SIDECAR_IMAGE_PULL_POLICY" (default .Values.image.pullPolicy .Values.engines.sidecarImagePullPolicy)
  "RUNTIME_IMAGE" (default (include "agentfleet.runtimeImage" .) .Values.agents.runtimeImage)
  "RUNTIME_IMAGE_PULL_POLICY" (default .Values.image.pullPolicy .Values.agents.runtimeImagePullPolicy)
  "AGENTS_PER_NODE" .Values.agents.maxPerNode
  "AGENTS_DIRECT_CALLERS" .Values.agents.directCallers
  "AGENTS_API_SERVER_CIDRS" (join "," .Values.agents.apiServerCIDRs)
  "AGENTS_DNS_CIDRS" (join "," .Values.agents.dnsCIDRs)
  "HOST_PATH_ROOT" .Values.policy.hostPathRoot
  "ALLOWED_SERVICE_ACCOUNTS" (join "," .Values.policy.allowedServiceAccounts)
  "NETWORK_POLICIES" .Values.policy.networkPolicies
  "MONITORING_NAMESPACES" (join "," .Values.policy.monitoringNamespaces)
  "DENIED_CIDRS" (join "," .Values.policy.deniedCIDRs)
  "PROFILES" (toJson .Values.profiles)
  "SCALING_INTERVAL" .Values.scaling.interval
  "GPU_BUDGETS" (toJson .Values.scaling.gpuBudgets)
  "PROFILE_DWELL" .Values.operator.profileDwell
  "CLUSTER_DOMAIN" .Values.cluster.domain
  "SITE_LABEL" .Values.cluster.siteLabel
  "DNS_DELAY" .Values.cluster.dnsDelay
  "GPU_EXPORTER" (include "agentfleet.gpuExporterAddress" .)
}}
{{- range $name, $value := $settings }}
- name: AGENTFLEET_{{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}
