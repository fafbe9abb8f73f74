"""Invoices become JSON of one shape, on a real engine: its weights are random, so what stands in it is noise."""

from __future__ import annotations

import json
import re
from typing import Any

from e2e.scenarios.fleets.fleet import Fleet

AGENT, ACCOUNT = "invoice-extraction", "bookkeeping"
INVOICE = "Acme GmbH, invoice R-2041: 12 lamps, 348 EUR in all, due on 2026-12-01."


def _shape(fleet: Fleet) -> dict[str, Any]:
    """The JSON Schema of an invoice, as the fleet's guardrail has it."""
    found = fleet.scenario.kube.get("Agent", AGENT, fleet.scenario.namespace)
    assert found is not None
    (rule,) = found["spec"]["guardrails"]["output"]
    return dict(rule["schema"])


def test_an_invoice_becomes_json_of_its_shape(fleet: Fleet) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "invoice", "schema": _shape(fleet), "strict": True}}
    with fleet.caller(AGENT, ACCOUNT) as bookkeeping:
        said = bookkeeping.ask(INVOICE, response_format=wanted)
    assert said.finish == "stop"
    invoice = json.loads(said.text)
    assert set(invoice) == {"vendor", "number", "currency", "total"}
    assert re.fullmatch(r"[A-Z]-[0-9]{1,6}", invoice["number"])
    assert invoice["currency"] in {"EUR", "USD", "CHF"}
    assert 0 <= invoice["total"] <= 999_999


def test_what_has_another_shape_does_not_get_out(fleet: Fleet) -> None:
    """Nobody told the engine which shape is wanted, so what it says is noise."""
    with fleet.caller(AGENT, ACCOUNT) as bookkeeping:
        said = bookkeeping.ask(INVOICE, max_tokens=24)
    assert (said.finish, said.text, said.fallback) == ("content_filter", "", False)
    assert fleet.audited(AGENT, "run", decision="filtered")
