"""The small programs beside models: `agentfleet sidecar` and `loader` in engine pods, `probe` in a pod of its own.

    kubelet ─ preStop, probes ─▶ sidecar ─ 127.0.0.1 ─▶ engine
    operator ─ /status, /engine ▶    ▲
    model source ─▶ loader ─ progress.json ─┘            operator ─ /status ─▶ probe ─▶ endpoint outside the cluster

The loader is an init container that fills the cache and ends; the sidecar is a native sidecar that knows whether the
engine serves, holds a stopping pod until its last request is answered, and keeps an Ollama engine's models and a vLLM
engine's adapters in place. None of them talks to the Kubernetes API, and the package imports nothing of the operator
but its errors: every engine pod carries it, so it has to stay small.
"""
