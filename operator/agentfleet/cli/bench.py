"""`bench`: a user's own load test of one replica, or of any address, against the goal and against what was learnt."""

import os
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from agentfleet.cli import fleet
from agentfleet.cli.api import Api
from agentfleet.cli.forward import forwarded
from agentfleet.cli.levels import ENOUGH, Goal, Level, best, next_concurrency
from agentfleet.cli.load import Load, Workload, load, words_for
from agentfleet.cli.output import answer, remark
from agentfleet.cli.server import Server, decimal
from agentfleet.cli.table import number, seconds, table
from agentfleet.errors import AgentfleetError
from agentfleet.objects import MODEL_SERVER_LABEL, Manifest

_KEY = "OPENAI_API_KEY"
_PROMPT_TOKENS = 256
_OUTPUT_TOKENS = 64
_TASKS = ("Chat", "Vision", "Completion")
_IGNORE_EOS = ("VLLM", "LlamaCpp")
_HTTP_PORT = "http"
_BUSY = 0.85
"""Share of a CPU above which the client may be what was measured: all its streams run on one."""

_HEADERS = (
    *("AT ONCE", "REQUESTS", "FAILED", "REQ/S", "TOKENS/S"),
    *("TTFT P50", "TTFT P95", "TPOT P50", "TPOT P95", "WITHIN GOAL"),
)


class CannotBench(AgentfleetError):
    """There is nothing that could be measured, or it would do what was not asked for."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out."""

    target: str
    goal: Goal
    prompt_tokens: float | None
    """Mean, as the engine counted them."""
    levels: tuple[Level, ...]
    ended_by: str
    """What ended it: the goal, --max-concurrency or --max-time."""


async def run(arguments: Namespace, api: Api) -> int:
    """Exit code 0 also where even one request at a time misses the goal: that is an answer, too."""
    server = await fleet.server(api, arguments.namespace or api.namespace, arguments.name)
    key = os.environ.get(_KEY)
    check(server, arguments, key)
    goal = _goal(server, arguments)
    async with (
        _target(arguments, api, server) as (target, url),
        load(url, key=key, timeout=arguments.timeout, proxies=bool(arguments.url)) as client,
    ):
        remark(f"Load on {target}; the goal is TTFT up to {seconds(goal.ttft)} and TPOT up to {seconds(goal.tpot)}.")
        workload = await _workload(client, server, arguments)
        measured = await _measure(client, workload, goal, target, arguments)
    learnt = None if arguments.url else server
    answer(arguments.output, text(measured, learnt), data(measured, learnt))
    return 0


def check(server: Server, arguments: Namespace, key: str | None) -> None:
    """Refuse what cannot work, or would surprise."""
    name = f"{server.namespace}/{server.name}"
    task = (server.spec.get("model") or {}).get("task") or "Chat"
    if task not in _TASKS:
        raise CannotBench(f"{name} has model.task {task}; bench knows {', '.join(_TASKS)}")
    if server.mode == "Apply" and not arguments.yes:
        raise CannotBench(
            f"{name} is in mode Apply: it will add replicas for the load of this test; say --yes to go on"
        )
    if server.spec.get("external") and not arguments.url:
        raise CannotBench(f"{name} runs outside the cluster; name its address with --url")
    secret = (server.spec.get("expose") or {}).get("apiKeySecretName")
    if secret and not key:
        raise CannotBench(f"{name} asks for a key: put the one of Secret {secret} into the environment as {_KEY}")


def _goal(server: Server, arguments: Namespace) -> Goal:
    ttft, tpot = server.goal
    return Goal(arguments.ttft or ttft, arguments.tpot or tpot)


@asynccontextmanager
async def _target(arguments: Namespace, api: Api, server: Server) -> AsyncIterator[tuple[str, str]]:
    """What the load goes to, in words and as the base address."""
    if arguments.url:
        yield arguments.url, arguments.url
        return
    selector = f"{MODEL_SERVER_LABEL}={server.name}"
    pods = await api.list(f"/api/v1/namespaces/{server.namespace}/pods", labelSelector=selector)
    pod, port = choose(pods, arguments.pod, server)
    async with forwarded(
        server.namespace, pod, port, kubeconfig=arguments.kubeconfig, context=arguments.context
    ) as address:
        yield f"replica {pod}", f"http://{address}/v1"


def choose(pods: Sequence[Manifest], wanted: str | None, server: Server) -> tuple[str, int]:
    """Name and port of the replica to measure: the named one, else any that serves."""
    serving = {pod["metadata"]["name"]: port for pod in pods if _serves(pod) and (port := _port(pod)) is not None}
    name = wanted or min(serving, default=None)
    if name is None:
        raise CannotBench(f"no replica of {server.namespace}/{server.name} is ready; start one, or name --url")
    if name not in serving:
        raise CannotBench(f"{name} is no replica that is ready; these are: {', '.join(sorted(serving)) or 'none'}")
    return name, serving[name]


def _serves(pod: Manifest) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _port(pod: Manifest) -> int | None:
    ports = (port for container in pod["spec"]["containers"] for port in container.get("ports") or ())
    return next((port["containerPort"] for port in ports if port.get("name") == _HTTP_PORT), None)


async def _workload(client: Load, server: Server, arguments: Namespace) -> Workload:
    """Requests as long as wanted, else as those that the server has had; tried once."""
    spec = server.spec
    model = spec.get("model") or {}
    prompt = arguments.prompt_tokens or round(decimal(server.capacity.get("promptTokens")) or _PROMPT_TOKENS)
    workload = Workload(
        model=arguments.model or (spec.get("external") or {}).get("model") or model.get("name") or server.name,
        chat=model.get("task") != "Completion",
        words=prompt,
        output_tokens=arguments.output_tokens or round(decimal(server.capacity.get("outputTokens")) or _OUTPUT_TOKENS),
        ignore_eos=spec.get("engine") in _IGNORE_EOS,
    )
    trial = await client.trial(workload)
    if trial.error:
        hint = f"; is {_KEY} right?" if trial.error.startswith("HTTP 401") else ""
        raise CannotBench(f"a first request failed: {trial.error}{hint}")
    return replace(workload, words=words_for(prompt, trial))


async def _measure(client: Load, workload: Workload, goal: Goal, target: str, arguments: Namespace) -> Measured:
    levels: list[Level] = []
    ramp = 0.0
    deadline = time.monotonic() + arguments.max_time
    ended_by = "--max-time"
    while time.monotonic() < deadline:
        concurrency = next_concurrency(levels, goal, arguments.max_concurrency)
        if concurrency is None:
            ended_by = "the goal" if any(not level.is_good(goal) for level in levels) else "--max-concurrency"
            break
        level = await client.level(workload, concurrency, arguments.level_time, ramp)
        levels.append(level)
        remark(_progress(level, goal))
        # as long as a request takes: by then those of the next level are spread as they will be
        ramp = min(arguments.level_time / 3, max((each.ended - each.began for each in level.whole), default=0.0))
    counted = [each.prompt_tokens for level in levels for each in level.whole if each.prompt_tokens is not None]
    return Measured(target, goal, sum(counted) / len(counted) if counted else None, tuple(levels), ended_by)


def _progress(level: Level, goal: Goal) -> str:
    line = (
        f"{level.concurrency} at once: {number(level.requests_per_second, '/s')}, "
        f"TTFT p95 {seconds(level.ttft(0.95))}, TPOT p95 {seconds(level.tpot(0.95))}, "
        f"{level.within(goal):.0%} within the goal"
    )
    return f"{line}; {len(level.failed)} failed: {level.failed[0].error}" if level.failed else line


def text(measured: Measured, server: Server | None) -> str:
    """The table, and what it means; `server` where what was measured is one of its replicas."""
    rows = [
        (
            str(level.concurrency),
            str(len(level.outcomes)),
            str(len(level.failed)),
            number(level.requests_per_second),
            number(level.tokens_per_second),
            *(seconds(level.ttft(share)) for share in (0.5, 0.95)),
            *(seconds(level.tpot(share)) for share in (0.5, 0.95)),
            f"{level.within(measured.goal):.1%}",
        )
        for level in sorted(measured.levels, key=lambda level: level.concurrency)
    ]
    lines = [table(_HEADERS, rows), "", _verdict(measured)]
    if server is not None:
        lines.append(_against(measured, server))
    return "\n".join(lines)


def _verdict(measured: Measured) -> str:
    found = best(measured.levels, measured.goal)
    failed = [outcome for level in measured.levels for outcome in level.failed]
    if found is None and failed:
        return f"No level kept the goal; {len(failed)} requests failed, the first with: {failed[0].error}"
    if found is None:
        return "Even one request at a time misses the goal: only a larger replica or a shorter prompt can help."
    text = (
        f"Capacity of {measured.target}: {number(found.requests_per_second)} requests/s, {found.concurrency} at once, "
        f"at least {ENOUGH:.0%} of them within the goal."
    )
    if found.client_cpu > _BUSY:
        text += f" It may be more: measuring kept a CPU of this machine busy for {found.client_cpu:.0%} of the time."
    if measured.ended_by == "the goal":
        return text
    broke = any(not level.is_good(measured.goal) for level in measured.levels)
    before = "it was known more closely" if broke else "the goal broke: it may be more"
    return f"{text} {measured.ended_by} ended the test before {before}."


def _against(measured: Measured, server: Server) -> str:
    rate, at_once = server.requests_per_second, server.concurrency
    learnt = rate if rate is not None else at_once
    if learnt is None:
        return "The operator has not learnt its capacity yet."
    unit = "requests/s" if rate is not None else "requests at once"
    about = f"The operator has learnt {number(learnt)} {unit} from {server.capacity.get('samples')} samples"
    lengths = [server.capacity.get(name) for name in ("promptTokens", "outputTokens")]
    if all(lengths):
        about += f" of {lengths[0]} prompt and {lengths[1]} output tokens"
    found = best(measured.levels, measured.goal)
    if found is None or not learnt:
        return f"{about}."
    seen = found.requests_per_second if rate is not None else found.concurrency
    return f"{about}: {seen / learnt:.0%} of it was measured."


def data(measured: Measured, server: Server | None) -> dict[str, Any]:
    """As -o json shows it."""
    found = best(measured.levels, measured.goal)
    return {
        "target": measured.target,
        "goal": {"ttftSeconds": measured.goal.ttft, "tpotSeconds": measured.goal.tpot},
        "promptTokens": measured.prompt_tokens,
        "levels": [level.data(measured.goal) for level in measured.levels],
        "capacity": found.data(measured.goal) if found else None,
        "endedBy": measured.ended_by,
        "learntRequestsPerSecond": server.requests_per_second if server else None,
        "learntConcurrency": server.concurrency if server else None,
    }
