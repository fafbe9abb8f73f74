"""The GPU exporter: a DaemonSet on GPU nodes that says in Prometheus' text format how GPUs are and whose they are.

    NVML (nvml.py) or DCGM exporter (dcgm.py) ─▶ readings.py ─┐
    kubelet's pod-resources API (podresources.py) ─▶ holders.py ─┴▶ page.py ─▶ /metrics      exporter.py runs the looks

A number that is not known has no sample: missing is not zero. Nothing that a GPU, a driver or the kubelet does ends the
process; it is on the page, in /healthz, and looked at again. It decides nothing and writes nothing.
"""
