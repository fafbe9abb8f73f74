"""Traces and metrics of OpenTelemetry, by OTLP over HTTP, where an endpoint is set. The framework makes the spans.

Without an endpoint nothing is set up and the framework's spans cost next to nothing. Content is in no span unless
asked for (framework.py switches that), and never in the modes Private and Offline.
"""

import random
from collections.abc import Callable, Mapping

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from agentfleet.runtime.config import AgentConfig


def start(config: AgentConfig) -> Callable[[], None]:
    """Send from now on; what is returned sends the rest and ends it."""
    endpoint = config.monitoring.otlp_endpoint
    if not endpoint:
        return _nothing
    # 4 MB of memory that an agent without an endpoint is spared
    from opentelemetry import metrics  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    base = endpoint.rstrip("/")
    about = Resource.create({"service.name": config.name, "service.namespace": config.namespace})
    tracers = TracerProvider(resource=about)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{base}/v1/traces")))
    trace.set_tracer_provider(tracers)
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{base}/v1/metrics"))
    meters = MeterProvider([reader], resource=about)
    metrics.set_meter_provider(meters)

    def stop() -> None:
        tracers.shutdown()
        meters.shutdown()

    return stop


def parent(headers: Mapping[str, str], *, recorded: bool) -> Context:
    """The context of a run, whose spans belong to the client's trace. Not recorded: there are none, so no texts either.

    Whether texts are in spans is one switch of the process; for a private caller of such an agent there are no spans.
    """
    found = propagate.extract(headers)
    if recorded:
        return found
    known = trace.get_current_span(found).get_span_context()
    numbers = (known.trace_id, known.span_id) if known.is_valid else (random.getrandbits(127) + 1, 1)
    unsampled = SpanContext(*numbers, is_remote=True, trace_flags=TraceFlags(TraceFlags.DEFAULT))
    return trace.set_span_in_context(NonRecordingSpan(unsampled), found)


def _nothing() -> None:
    """There is nothing to end."""
