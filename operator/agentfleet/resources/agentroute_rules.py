"""CEL rules over the whole spec of an AgentRoute: names that must exist, and fields that go together."""

from agentfleet.resources.base import Rule

_NO_SUCH_TARGET = "names a target that is not in spec.targets"


def _known(names: str) -> str:
    """CEL: all names of this list of strings are targets'."""
    return f"{names}.all(t, self.targets.exists(x, x.name == t))"


def _in_rules(field: str, names: str, given: str) -> Rule:
    """`names` and `given` are CEL about the rule `r`."""
    return Rule(
        f"!has(self.rules) || self.rules.all(r, !({given}) || {_known(names)})",
        f"{field} of a rule {_NO_SUCH_TARGET}",
        ".rules",
    )


_INTENTS = "has(self.classify) && has(self.classify.intents)"
_NO_SUCH_INTENT = "names an intent that is not in classify.intents"

SPEC_RULES: list[tuple[str | None, ...]] = [
    ("size(self.targets) > 0", "an AgentRoute needs at least one target", ".targets"),
    (
        "!has(self.aliases) || self.aliases.all(a, !a.matches('^(agent|model|route|target)/'))",
        "aliases must not begin with agent/, model/, route/ or target/: these ids are given by the operator",
        ".aliases",
    ),
    _in_rules("targets", "r.targets", "has(r.targets)"),
    _in_rules("fallback.targets", "r.fallback.targets", "has(r.fallback) && has(r.fallback.targets)"),
    _in_rules("escalate.targets", "r.escalate.targets", "has(r.escalate) && has(r.escalate.targets)"),
    _in_rules("canary.target", "[r.canary.target]", "has(r.canary)"),
    (
        f"!has(self.default) || !has(self.default.targets) || {_known('self.default.targets')}",
        f"default.targets {_NO_SUCH_TARGET}",
        ".default.targets",
    ),
    (
        "!has(self.rules) || self.rules.all(r, self.rules.exists_one(o, o.name == r.name))",
        "two rules have the same name",
        ".rules",
    ),
    (
        f"!({_INTENTS}) || self.classify.intents.all(i, self.classify.intents.exists_one(o, o.name == i.name))",
        "two intents have the same name",
        ".classify.intents",
    ),
    (
        "!has(self.rules) || self.rules.all(r, !has(r.match) || !has(r.match.intents) || r.match.intents.all(i,"
        f" {_INTENTS} && self.classify.intents.exists(o, o.name == i)))",
        f"match.intents of a rule {_NO_SUCH_INTENT}",
        ".rules",
    ),
    (
        "self.targets.all(t, !has(t.tasks) || t.tasks.all(i,"
        f" {_INTENTS} && self.classify.intents.exists(o, o.name == i)))",
        f"tasks of a target {_NO_SUCH_INTENT}",
        ".targets",
    ),
    (
        "!has(self.classify) || !has(self.classify.defaultIntent) ||"
        f" ({_INTENTS} && self.classify.intents.exists(o, o.name == self.classify.defaultIntent))",
        f"classify.defaultIntent {_NO_SUCH_INTENT}",
        ".classify.defaultIntent",
    ),
    (
        "has(self.auth) || !has(self.limits) || self.limits.all(l, l.scope == 'Route')",
        "limits of scope Key and Group need auth: without it all callers are the same",
        ".limits",
    ),
    (
        "has(self.auth) || !has(self.budgets) || self.budgets.all(b, b.scope == 'Route')",
        "budgets of scope Key and Group need auth: without it all callers are the same",
        ".budgets",
    ),
    (
        "has(self.auth) || !has(self.rules) || self.rules.all(r, !has(r.match) || !has(r.match.groups))",
        "match.groups of a rule needs auth: without it callers have no groups",
        ".rules",
    ),
    (
        "!has(self.hostnames) || size(self.hostnames) == 0 || (has(self.parentRefs) && size(self.parentRefs) > 0)",
        "hostnames are those of the HTTPRoute, which needs parentRefs",
        ".hostnames",
    ),
    (
        "!has(self.rules) || self.rules.all(r, !has(r.strategy) || r.strategy != 'Weighted' || !has(r.targets) ||"
        " r.targets.exists(n, self.targets.exists(t, t.name == n && (!has(t.weight) || t.weight > 0))))",
        "strategy Weighted of a rule needs a target with a weight above 0",
        ".rules",
    ),
    (
        "!has(self.budgets) || self.budgets.all(b, !has(b.usd)) || self.targets.exists(t, has(t.cost))",
        "a budget in usd needs the cost of at least one target: without it nothing is ever used up",
        ".budgets",
    ),
    (
        "!has(self.limits) || self.limits.all(a, self.limits.exists_one(b,"
        " a.scope == b.scope && a.per == b.per && has(a.tokens) == has(b.tokens)))",
        "two limits are for the same scope, unit and time",
        ".limits",
    ),
    (
        "!has(self.budgets) || self.budgets.all(a, self.budgets.exists_one(b, a.scope == b.scope &&"
        " a.window == b.window && a.onExceeded == b.onExceeded && has(a.tokens) == has(b.tokens)))",
        "two budgets are for the same scope, unit, window and action",
        ".budgets",
    ),
]
