"""What Mask and Warn write down: a record for each rule of a run, without content."""

from agentfleet.runtime.config import Guardrail, Guardrails
from agentfleet.runtime.guardrails import Guards
from agentfleet.runtime.hooks import GuardrailRecord
from tests.runtime.test_guardrails import ALL, PERSONAL, task_of, unheard


def test_a_warning_lets_the_text_pass_and_says_no_content() -> None:
    told: list[GuardrailRecord] = []
    rules = (Guardrail("Regex", "Warn", pattern=r"sk-\w+"), Guardrail("JSONSchema", "Warn", json_schema={}))
    out = Guards(Guardrails(output=rules), lambda _, record: told.append(record)).output(task_of())
    assert out.feed("sk-ab") + out.feed("cd sk-2") == "sk-abcd sk-2"  # not held back
    assert out.end() == ""
    assert told == [
        GuardrailRecord("output", 1, "Regex", "Warn", "it matches an expression that is not allowed, 2 times"),
        GuardrailRecord("output", 2, "JSONSchema", "Warn", "it is not JSON"),
    ]


def test_of_a_request_each_rule_tells_once_and_whose_it_was() -> None:
    told: list[tuple[str, GuardrailRecord]] = []
    guards = Guards(Guardrails(input=(PERSONAL,)), lambda task, record: told.append((task.id, record)))
    guards.input(task_of("ann@example.com", "hello", "bob@example.com"))
    found = f"it holds personal data ({', '.join(ALL)})"
    assert told == [("r1", GuardrailRecord("input", 1, "PII", "Mask", found, texts=2))]


def test_of_an_answer_that_breaks_off_is_told_what_was_found_in_what_went_out() -> None:
    told: list[GuardrailRecord] = []
    rules = (PERSONAL, Guardrail("Regex", "Warn", pattern="secret"))
    out = Guards(Guardrails(output=rules), lambda _, record: told.append(record)).output(task_of())
    out.feed("ann@example.com has a secret and")
    for _ in range(2):
        out.close()
    Guards(Guardrails(output=(Guardrail("JSONSchema", "Warn", json_schema={}),)), unheard).output(task_of()).close()
    assert [(record.index, record.action) for record in told] == [(1, "Mask"), (2, "Warn")]
