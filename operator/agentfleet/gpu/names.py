"""Names of metrics and labels: what exporter and operator have in common. Pure data."""

PREFIX = "agentfleet_gpu_"

LABELS = ("gpu", "uuid", "model", "mig", "mig_instance", "namespace", "pod", "container")
"""Of every sample of a device. `gpu` is NVML's index; `mig` the profile (1g.10gb) and `mig_instance` the GPU instance
of a MIG device, empty for a whole GPU. The last three name the container that holds the device; they are empty where
none does, or several share it: `allocated` then has a line for each."""

EXPORTER_UP = PREFIX + "exporter_up"
SAMPLE_AGE = PREFIX + "sample_age_seconds"
POD_RESOURCES_UP = PREFIX + "pod_resources_up"
ERRORS = PREFIX + "errors"
DRIVER = PREFIX + "driver"
UP = PREFIX + "up"
SUPPORTED = PREFIX + "supported"
ALLOCATED = PREFIX + "allocated"
XID_ERRORS = PREFIX + "xid_errors"

UTILIZATION = "utilization_percent"
MEMORY_USED = "memory_used_bytes"
MEMORY_TOTAL = "memory_total_bytes"
LAST_XID = "last_xid"

GAUGES = {
    UTILIZATION: "Percent of the time during which a kernel ran, over the driver's last sample period (1/6 s to 1 s).",
    "memory_utilization_percent": "Percent of that time during which device memory was read or written.",
    MEMORY_USED: "Device memory in use, without what the driver keeps for itself where it tells the two apart.",
    MEMORY_TOTAL: "Device memory.",
    "memory_reserved_bytes": "Device memory that the driver keeps for itself.",
    "power_watts": "Power drawn now.",
    "power_limit_watts": "Power limit in force.",
    "temperature_celsius": "Temperature of the GPU.",
    "sm_clock_hertz": "Clock of the streaming multiprocessors.",
    "memory_clock_hertz": "Clock of the memory.",
    LAST_XID: "Last XID error that the driver reported, 0 for none since the exporter (or DCGM) watches.",
    "processes": "Compute processes on the device.",
    "process_memory_bytes": "Device memory of these processes.",
    "engine_active_ratio": "Share of the time during which the compute engine was active (DCGM).",
    "sm_active_ratio": "Share of the time during which a multiprocessor had work, mean over all (DCGM).",
    "tensor_active_ratio": "Share of the time during which tensor cores were active (DCGM).",
    "dram_active_ratio": "Share of the time during which device memory moved data (DCGM).",
}
"""Measures of a device, without the prefix."""

COUNTERS = {
    "energy_joules": "Energy used since the driver was loaded.",
    "ecc_corrected_errors": "Memory errors that ECC corrected since the driver was loaded.",
    "ecc_uncorrected_errors": "Memory errors that ECC could not correct since the driver was loaded.",
}
"""The same for what only grows; the page adds `_total`."""
