"""The command line of kubectl-agentfleet: every command, option and check of a value. It imports nothing slow."""

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from agentfleet import __version__
from agentfleet.cli.argument_types import agent_name, change, duration, header, load_of, whole, words

OPERATOR_NAMESPACE = "agentfleet-system"

_ENDPOINTS = ("chat/completions", "completions", "embeddings", "responses")
_PRIVACY_MODES = ("Standard", "Private", "Offline")
_AUDIT_KINDS = ("run", "tool", "approval", "refusal", "begin", "end")


def parse(argv: Sequence[str]) -> Namespace:
    """The arguments; `module` is the one of this package that has the command's `run`. Exits with 2 on mistakes."""
    return _parser().parse_args(argv)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="kubectl agentfleet",
        description="Look at a fleet, talk to its agents, approve what the operator proposes, measure, explain.",
        parents=[_common()],
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(
        namespace=None,
        context=None,
        kubeconfig=None,
        output="table",
        operator_namespace=OPERATOR_NAMESPACE,
        offline=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_status, _chat, _recommendations, _approve, _report, _bench, _simulate, _explain, _audit, _doctor):
        add(commands)
    return parser


def _common() -> ArgumentParser:
    """Options that may stand before and after the command; absent ones set nothing, so that neither hides the other."""
    common = ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("-n", "--namespace", help="namespace of the objects; default: the context's")
    common.add_argument("--context", help="context of the kubeconfig; default: the current one")
    common.add_argument("--kubeconfig", metavar="FILE", help="default: KUBECONFIG, else ~/.kube/config")
    common.add_argument("-o", "--output", choices=("table", "json"), help="default: table")
    common.add_argument(
        "--operator-namespace", metavar="NAMESPACE", help=f"where the operator runs; default: {OPERATOR_NAMESPACE}"
    )
    return common


def _command(commands: Any, name: str, module: str, about: str, **more: Any) -> ArgumentParser:
    parser: ArgumentParser = commands.add_parser(name, parents=[_common()], help=about, description=about, **more)
    parser.set_defaults(module=module)
    return parser


def _everywhere(parser: ArgumentParser) -> None:
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")


def _status(commands: Any) -> None:
    parser = _command(
        commands, "status", "status", "Health of the fleet, and a line for each ModelServer, AgentRoute and Agent."
    )
    _everywhere(parser)
    parser.add_argument("--check", action="store_true", help="exit with 3 where one of them is not healthy")


def _chat(commands: Any) -> None:
    about = """Talk to an agent: one message, or line by line. It goes through `kubectl port-forward` in the name of a
        service account that the agent lets in, or with --route through a gateway, with the key in OPENAI_API_KEY. Calls
        of tools that need approval are asked for here."""
    parser = _command(commands, "chat", "chat", about)
    parser.add_argument("agent", type=agent_name, metavar="agent/NAME", help="an Agent")
    parser.add_argument("message", nargs="*", metavar="MESSAGE", help="default: each line of stdin is one")
    parser.add_argument("--session", metavar="ID", help="go on with the conversation of this id; default: a new one")
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--service-account",
        metavar="[NAMESPACE:]NAME",
        help="in whose name; default: the first that spec.access names, or `default` where it lets every one in",
    )
    who.add_argument("--route", metavar="NAME", help="an AgentRoute of its namespace that has it as a target")
    parser.add_argument(
        "--timeout", type=duration, metavar="TIME", help="without a word; default: limits.timeout and a minute"
    )


def _recommendations(commands: Any) -> None:
    about = "What the operator recommends and why: of one ModelServer in full, of all in a line each."
    parser = _command(commands, "recommendations", "recommendations", about, aliases=["recommend"])
    parser.add_argument("name", nargs="?", metavar="NAME", help="a ModelServer")
    _everywhere(parser)


def _approve(commands: Any) -> None:
    about = "Approve, or reject, the decision of a ModelServer that waits for it."
    parser = _command(commands, "approve", "approve", about)
    parser.add_argument("name", metavar="NAME", help="a ModelServer")
    parser.add_argument("id", nargs="?", metavar="ID", help="the decision's id, to be sure which; default: what waits")
    parser.add_argument("--reject", action="store_true", help="reject it instead")
    parser.add_argument(
        "--wait",
        type=duration,
        default=20.0,
        metavar="TIME",
        help="for the operator's answer; 0s: do not. Default: 20s",
    )


def _report(commands: Any) -> None:
    about = "The report of the last window, and the last samples that the operator keeps in memory."
    parser = _command(commands, "report", "report", about)
    parser.add_argument("name", metavar="NAME", help="a ModelServer")
    parser.add_argument(
        "--samples", type=whole(0, 1000), metavar="N", help="of each replica, 0 to 1000; default: 5, or all with --csv"
    )
    parser.add_argument("--csv", action="store_true", help="samples only, as CSV")


def _bench(commands: Any) -> None:
    about = """Load test: more and more requests at once, until TTFT or TPOT breaks the goal (spec.scaling.slo). It
        sends from this machine, to one replica through `kubectl port-forward`, or to --url."""
    parser = _command(commands, "bench", "bench", about)
    parser.add_argument("name", metavar="NAME", help="a ModelServer")
    parser.add_argument("--url", help="OpenAI-compatible address to send to instead, such as http://host:port/v1")
    parser.add_argument("--model", help="model to ask for; default: the ModelServer's")
    parser.add_argument("--pod", help="replica to send to; default: one that is ready")
    tokens = whole(1, 131072)
    parser.add_argument("--prompt-tokens", type=tokens, metavar="N", help="about so long; default: as learnt, else 256")
    parser.add_argument("--output-tokens", type=tokens, metavar="N", help="so long; default: as learnt, else 64")
    parser.add_argument(
        "--max-concurrency", type=whole(1, 1024), default=128, metavar="N", help="requests at once; default: 128"
    )
    parser.add_argument(
        "--level-time", type=duration, default=15.0, metavar="TIME", help="time of one level of load; default: 15s"
    )
    parser.add_argument(
        "--max-time", type=duration, default=300.0, metavar="TIME", help="no new level after this; default: 5m"
    )
    parser.add_argument("--timeout", type=duration, default=60.0, metavar="TIME", help="of one request; default: 60s")
    parser.add_argument("--ttft", type=duration, metavar="TIME", help="goal of the first token; default: the spec's")
    parser.add_argument("--tpot", type=duration, metavar="TIME", help="goal of a token; default: the spec's")
    parser.add_argument("--yes", action="store_true", help="load it although mode Apply will add replicas for it")


def _simulate(commands: Any) -> None:
    about = "What if: replay the last hours of a ModelServer in the simulator, as it is and with a changed spec."
    parser = _command(commands, "simulate", "simulate", about)
    parser.add_argument("name", metavar="NAME", help="a ModelServer")
    parser.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        type=change,
        metavar="PATH=VALUE",
        help="a change of the spec, such as scaling.minReplicas=2; may be given again",
    )
    parser.add_argument(
        "--cold-start",
        type=duration,
        metavar="TIME",
        help="of a replica; default: as seen (status.coldStart), else 120s",
    )
    parser.add_argument("--seed", type=whole(0, 2**31), default=1, metavar="N", help="of the arrivals; default: 1")


def _explain(commands: Any) -> None:
    about = """Why a route decides as it does: about one request, step by step; or about recorded ones, which of them a
        changed route would send elsewhere. Nothing is sent to the route."""
    # a parser of its own, since argparse loses an optional NAME that options part from what stands before it
    kinds = _command(commands, "explain", "explain", about).add_subparsers(required=True, metavar="route")
    parser = _command(kinds, "route", "explain", about)
    parser.add_argument("name", nargs="?", metavar="NAME", help="an AgentRoute; with -f the one of the file")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--request", metavar="FILE", help="body of an OpenAI request, as JSON; - is stdin")
    what.add_argument(
        "--against", metavar="AUDIT.jsonl", help="audit lines of the route's gateways, to replay by it and by -f"
    )
    parser.add_argument("-f", "--file", metavar="ROUTE.yaml", help="a route that is not applied, or not yet")
    parser.add_argument(
        "--offline", action="store_true", help="ask no API server: what the route of -f refers to is taken to be ready"
    )
    parser.add_argument("--json", dest="output", action="store_const", const="json", default=argparse.SUPPRESS,
                        help="the same as -o json")  # fmt: skip
    asked = parser.add_argument_group("with --request")
    asked.add_argument(
        "--header",
        dest="headers",
        action="append",
        default=[],
        type=header,
        metavar="NAME=VALUE",
        help="of the request",
    )
    asked.add_argument("--endpoint", choices=_ENDPOINTS, default=_ENDPOINTS[0], help=f"default: {_ENDPOINTS[0]}")
    asked.add_argument("--as-caller", default="", metavar="ID", help="id of the API key, or subject of the token")
    asked.add_argument("--groups", type=words, default=(), metavar="A,B", help="groups of the caller")
    asked.add_argument(
        "--privacy-mode", choices=_PRIVACY_MODES, default=_PRIVACY_MODES[0], help="of an agent that is the caller"
    )
    asked.add_argument("--intent", help="instead of what keywords and examples say")
    asked.add_argument(
        "--load", dest="loads", action="append", default=[], type=load_of,
        metavar="TARGET=READY[,ACTIVE[,WAITING[,MS]]]",
        help="pods, requests there, those of them that wait, time to the first byte; default: its ready pods, idle",
    )  # fmt: skip


def _audit(commands: Any) -> None:
    about = "The audit trail of agents."
    kinds = _command(commands, "audit", "audit", about).add_subparsers(required=True, metavar="{show,verify}")
    parser = _command(kinds, "show", "audit_show", "What an agent did; with -o json the lines as they are.")
    parser.add_argument("agent", type=agent_name, metavar="agent/NAME", help="an Agent")
    parser.add_argument(
        "--kind", dest="kinds", action="append", default=[], choices=_AUDIT_KINDS, help="only these; may be given again"
    )
    parser.add_argument("--request", metavar="ID", help="only what was done for this request")
    _source(parser)
    parser = _command(kinds, "verify", "audit", "Whether a line was changed or is missing; exit with 3 if so.")
    parser.add_argument(
        "file",
        action=_FileOrAgent,
        metavar="FILE|agent/NAME",
        help="audit lines, - is stdin; or an Agent, whose pods are asked",
    )
    parser.add_argument(
        "--key", dest="keys", action="append", default=[], metavar="FILE",
        help="the key that the Secret agentfleet-identity holds, or held; may be given again; of an Agent's namespace"
        " it is read",
    )  # fmt: skip
    parser.add_argument(
        "--metrics", action="append", default=[], metavar="PAGE",
        help="a saved page of the agent's /metrics: so far its lines must reach; of an Agent it is read; may be given"
        " again",
    )  # fmt: skip
    _source(parser)


class _FileOrAgent(argparse.Action):
    """Files are read without an API server."""

    def __call__(self, parser: object, namespace: Namespace, values: object, option_string: object = None) -> None:
        namespace.file = values
        namespace.offline = not str(values).startswith("agent/")


def _source(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="source", choices=("logs", "files"), default="logs",
        help="the pods' logs, or the files in them, which `kubectl exec` reads; default: logs",
    )  # fmt: skip


def _doctor(commands: Any) -> None:
    _command(commands, "doctor", "doctor", "Check the API server, the CRDs, the operator and your own rights.")
