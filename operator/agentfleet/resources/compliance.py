"""What privacy mode and compliance mean for an Agent, as concrete settings. Pure.

The bundles are these and no more; docs/agents-security.md lists them. What an Agent says itself and contradicts one is
refused by CEL (agent_rules.py), so here a bundle only fills in.

            mode               logs       texts in audit lines and traces   access.default   PII in answers
    none    Standard           redacted   as spec says                      Deny             as spec says
    GDPR    at least Private   redacted   never                             Deny             as spec says
    HIPAA   at least Private   redacted   never                             Deny, always     masked or rejected
"""

from dataclasses import dataclass
from typing import Literal

from agentfleet.resources.agent import AgentSpec
from agentfleet.resources.agent_guards import PII_BUILTINS, Guardrail

PrivacyMode = Literal["Standard", "Private", "Offline"]


@dataclass(frozen=True)
class PrivacySettings:
    """What is in force."""

    mode: PrivacyMode
    redact_logs: bool
    audit_content: bool
    capture_content: bool
    access_default: Literal["Deny", "Allow"]
    output: tuple[Guardrail, ...]
    """Checks of answers, those of the bundle last."""


def privacy_in_force(spec: AgentSpec) -> PrivacySettings:
    """The settings of a spec with its bundles; also of one that contradicts them, where CEL was not in force: then the
    stricter one holds."""
    privacy = spec.privacy
    bundles = privacy.compliance if privacy else ()
    mode: PrivacyMode = (privacy.mode if privacy else None) or "Standard"
    if bundles and mode == "Standard":
        mode = "Private"
    texts = mode == "Standard"
    return PrivacySettings(
        mode=mode,
        redact_logs=bool(bundles) or privacy is None or privacy.redact_logs is not False,
        audit_content=texts and bool(spec.audit and spec.audit.content),
        capture_content=texts and bool(spec.monitoring and spec.monitoring.capture_content),
        access_default="Deny" if "HIPAA" in bundles else (spec.access and spec.access.default) or "Deny",
        output=_output(spec, masked="HIPAA" in bundles),
    )


def _output(spec: AgentSpec, *, masked: bool) -> tuple[Guardrail, ...]:
    """The spec's rules; what none of them masks or rejects is masked after them where that must be."""
    said = spec.guardrails.output if spec.guardrails else ()
    if not masked:
        return said
    held = {
        each for rule in said if rule.type == "PII" and rule.action != "Warn" for each in rule.builtins or PII_BUILTINS
    }
    rest = tuple(each for each in PII_BUILTINS if each not in held)
    return (*said, Guardrail(type="PII", action="Mask", builtins=rest)) if rest else said
