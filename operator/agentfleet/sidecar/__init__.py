"""The two small programs that run in engine pods: `agentfleet sidecar` and `agentfleet loader`.

    kubelet ─ preStop, probes ─▶ sidecar ─ 127.0.0.1 ─▶ engine
    operator ─ /status ────────▶    ▲
    model source ─▶ loader ─ progress.json ─┘

The loader is an init container that fills the cache and ends; the sidecar is a native sidecar that knows whether the
engine serves, holds a stopping pod until its last request is answered, and keeps an Ollama engine's models in place.
Neither talks to the Kubernetes API, and the package imports nothing of the operator but its errors: every engine pod
carries it, so it has to stay small.
"""
