"""``python -m e2e.bench.sidecars``: the sidecars of a fleet of vLLM pods, as the operator's scraper meets them.

One socket answers for all addresses of 127.0.0.0/8, so each replica has one of its own. Every answer is what a sidecar
would send of a vLLM engine that serves a moderate load: all metrics that are asked for, with counters that go on. It
speaks just as much HTTP as that takes: it shares the machine with what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import time
from collections.abc import Iterator

_TTFT = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
    160,
    640,
    2560,
)
_TPOT = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_TOTAL = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_PROMPT, _OUTPUT = 500, 200
"""Tokens of a request."""
_STEP = 0.0125
"""Seconds of a step of the engine."""
_CACHE = 448_000
_WAVE, _SWING = 120.0, 0.3
"""The load goes up and down by this share, in so many seconds."""
_BACKLOG = 4096


def address(number: int) -> str:
    """Where replica ``number`` (from 0) listens."""
    return f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}"


def page(age: float, rate: float) -> bytes:
    """What a sidecar sends of an engine that has served about ``rate`` requests a second for ``age`` seconds."""
    turn = 2 * math.pi * age / _WAVE
    done = int(rate * (age + _SWING * _WAVE / (2 * math.pi) * math.sin(turn)))
    running = round(rate * (1 + _SWING * math.cos(turn)) * _OUTPUT * _STEP)
    return ("\n".join(_lines(age, done, running)) + "\n").encode()


def _lines(age: float, done: int, running: int) -> Iterator[str]:
    steps = int(age / _STEP)
    yield f"process_start_time_seconds {1.79e9}"
    yield "process_resident_memory_bytes 6.5e+09"
    yield f"process_cpu_seconds_total {age:.2f}"
    for name, value in (
        ("num_requests_running", running),
        ("num_requests_waiting", 0),
        ("kv_cache_usage_perc", running * (_PROMPT + _OUTPUT / 2) / _CACHE),
        ("num_preemptions_total", 0),
        ("prompt_tokens_total", done * _PROMPT),
        ("generation_tokens_total", done * _OUTPUT),
        ("iteration_tokens_total_count", steps),
        ("iteration_tokens_total_sum", done * (_PROMPT + _OUTPUT)),
    ):
        yield f'vllm:{name}{{engine="0",model_name="chat"}} {value}'
    for reason in ("capacity", "deferred"):
        yield f'vllm:num_requests_waiting_by_reason{{engine="0",model_name="chat",reason="{reason}"}} 0'
    for source, share in (("local_compute", 1), ("local_cache_hit", 0), ("external_kv_transfer", 0)):
        value = done * _PROMPT * share
        yield f'vllm:prompt_tokens_by_source_total{{engine="0",model_name="chat",source="{source}"}} {value}'
    for reason, share in (("stop", 1), ("length", 0), ("abort", 0), ("error", 0), ("repetition", 0)):
        value = done * share
        yield f'vllm:request_success_total{{engine="0",finished_reason="{reason}",model_name="chat"}} {value}'
    yield from _histogram("time_to_first_token_seconds", _TTFT, done, 0.08)
    yield from _histogram("request_time_per_output_token_seconds", _TPOT, done, _STEP)
    yield from _histogram("inter_token_latency_seconds", _TPOT, done * _OUTPUT, _STEP)
    yield from _histogram("e2e_request_latency_seconds", _TOTAL, done, _OUTPUT * _STEP)
    yield f'vllm:cache_config_info{{block_size="16",engine="0",kv_cache_size_tokens="{_CACHE}"}} 1.0'


def _histogram(name: str, bounds: tuple[float, ...], count: int, mean: float) -> Iterator[str]:
    """Of times that spread evenly from 0 to twice their mean."""
    for bound in bounds:
        below = int(count * min(1.0, bound / (2 * mean)))
        yield f'vllm:{name}_bucket{{engine="0",le="{float(bound)}",model_name="chat"}} {below}'
    yield f'vllm:{name}_bucket{{engine="0",le="+Inf",model_name="chat"}} {count}'
    yield f'vllm:{name}_sum{{engine="0",model_name="chat"}} {count * mean}'


class _Connection(asyncio.Protocol):
    """Keep-alive HTTP/1.1 for GETs that come one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        last = int(transport.get_extra_info("sockname")[0].rpartition(".")[2])
        self._rate = 1.0 + last % 5 / 2
        self._request = b""

    def data_received(self, data: bytes) -> None:
        self._request += data
        if not self._request.endswith(b"\r\n\r\n"):
            return
        self._request = b""
        body = page(time.monotonic() - _BEGAN, self._rate)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)


_BEGAN = time.monotonic() - 3600


async def _serve(port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await loop.create_server(_Connection, "0.0.0.0", port, backlog=_BACKLOG)  # noqa: S104 - all of loopback
    await stop.wait()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.sidecars")
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
