r"""How hard a request is, by words and sizes. Pure.

HAProxy does exactly this on each request: `map_reg` over the text of the last user message with HEURISTIC, first match
wins, then comparisons of whole numbers. So there is no scoring here, only expressions and sizes, and where they do not
tell, there is no answer: the caller takes its default.
"""

from agentfleet.gateway.patterns import compiled
from agentfleet.gateway.types import Complexity

SHORT_TEXT = 72
"""Bytes of the last user text up to which it asks for little, if no word says otherwise."""
LONG_TEXT = 4_000
"""Bytes of the last user text from which it is taken for work on a document."""
SHORT_PROMPT = 1_000
"""Tokens of the whole request up to which a short text stands for itself; above, it refers to what came before."""
LONG_PROMPT = 16_000
"""Tokens of the whole request from which it is taken for work on documents."""

_OPENING = r"(?i)^[^\n]{0,200}"
"""Words tell what a request is for where it begins, not in a text that is pasted below."""


def _one_of(phrases: str) -> str:
    """Alternatives from phrases that commas part; a space stands for any white space."""
    return "(?:" + "|".join(phrase.strip().replace(" ", r"\s") for phrase in phrases.split(",")) + ")"


HEURISTIC: tuple[tuple[str, Complexity], ...] = (
    # The task words of the document that this product implements, in its order.
    (_OPENING + r"\b(?:simple|route|classify)\b", "Simple"),
    (_OPENING + r"\b(?:complex|analysis|research)\b", "Complex"),
    # Work in several steps, with judgement. English.
    (
        r"(?i)^[^\n]{0,12}\b"
        + _one_of("""analyse, analyze, assess, evaluate, investigate, design, architect, refactor, prove, derive,
                  model the, critically""")
        + r"\b",
        "Complex",
    ),
    (
        r"(?i)\b"
        + _one_of("""trade-offs?, tradeoffs?, trade offs?, traded off, root causes?, hypothes[ie]s, scenarios,
                  best and worst case, best and a worst case, step by step and prove, prove that, prove each, redesign,
                  bottlenecks, likely culprits, competitor analysis, weigh the, weigh up the, lay out the, set out the,
                  propose how, verdict, rules? out, ruled? out, rule them out, roll back, derive, argue for,
                  argue which, argue that, argue why, migration path, race conditions?, deadlocks?, timetable, draw up,
                  work through, work out""")
        + r"\b",
        "Complex",
    ),
    (r"(?i)\bcompare\b[^\n]{0,200}\b" + _one_of("recommend, then, and tell me which, and say") + r"\b", "Complex"),
    (
        r"(?i)\b(?:complete|full|whole|entire)\s(?:\w{1,20}\s){0,2}"
        + _one_of("documentation, handbook, manual, architecture, system")
        + r"\b",
        "Complex",
    ),
    # The same in other languages.
    (r"分析[^\n]{0,120}(?:比较|风险|方案|建议|设计|评估|比較|評価)|設計して|証明して", "Complex"),
    ("深入|综合|(?:请|并)(?:研究|评估|设计|重新设计|证明)|死锁|取舍|权衡", "Complex"),
    (r"(?i)^" + _one_of("kaji, reka bentuk, analisis, nilaikan, rancang, buktikan") + r"\b", "Complex"),
    (
        r"(?i)^"
        + _one_of("""analiza, analice, investiga, eval(?:u|ú)a, diseña, demuestra, analysiere, untersuche, bewerte,
                  entwirf, beweise, analyse[zr]?, (?:é|É)value[zr]?, conçois, concevez, démontre[zr]?""")
        + r"\b",
        "Complex",
    ),
    # One answer of some length, or one thing to write.
    (
        r"(?i)^[^\n]{0,24}\b"  # noqa: S608 words, not SQL
        + _one_of("""write, implement, put together, tidy up, make this, given a, given an, given the, given two, draft,
                  create, document, compare, explain, summari[sz]e, review, debug, port, suggest, rewrite, break down,
                  plan a, plan an, plan the, plan our, arrange, reschedule, give me a, give me an, give me some,
                  overview, turn these, make a, update the, set up""")
        + r"\b",
        "Moderate",
    ),
    (
        r"(?i)\b"
        + _one_of("""why, how come, differ, stands out, anything odd, pros and cons, what caused, how to, what should,
                  troubleshoot, error:, exception, traceback, typeerror, unit tests?, regex, dockerfile, trend, mock,
                  which of, ideas, cheapest, overview""")
        + r"\b",
        "Moderate",
    ),
    (r"(?i)\bhow\sdo(?:es)?\s[\w-]{4,20}\b|\bwhich\s(?:\w{1,20}\s){1,3}(?:most|fastest|best|least)\b", "Moderate"),
    ("写|编写|怎样|如何|实现|整理|影响|比较|总结|介绍|趋势|报错|调试|优化|为什么|解释|原因|投诉|安排", "Moderate"),
    ("書いて|教えて|読み取|作成して|直して|比較|説明して|なぜ|どうすれば", "Moderate"),
    (
        r"(?i)(?:^buat\s|\b"
        + _one_of("""tulis, tuliskan, buatkan, sediakan, bandingkan, terangkan, jelaskan, cadangkan, betulkan, perbaiki,
                  ringkaskan, kenapa, mengapa, aturkan, trend, aduan, pepijat, kebaikan""")
        + r"\b)",
        "Moderate",
    ),
    (
        r"(?i)(?:^|\s|¿)"
        + _one_of("""escribe, redacta, explica, compara, resume, por qué, schreibe?n?, erkläre?, vergleiche, warum,
                  behebe, (?:é|É)cri(?:s|vez), rédige[zr]?, explique[zr]?, compare[zr]?, pourquoi, comment faire""")
        + r"(?:\s|$)",
        "Moderate",
    ),
    (r"लिखो|लिखें|समझाओ|क्यों|எழுது|விளக்கு|เขียน|อธิบาย|viết|giải\sthích", "Moderate"),
    # Scripts of South and South-East Asia need three bytes for a letter: 45 letters are a short text.
    (r"^[\x20-\x7e]{0,8}\xe0[\x80-\xbf]{2}(?:\xe0[\x80-\xbf]{2}|[\x20-\x7e]){0,44}$", "Simple"),
)
"""Regular expression → how hard, in order."""


def classify(last: bytes, prompt_tokens: int) -> Complexity | None:
    """How hard a request is, from the text of its last user message and the size of all of it; None is unsure."""
    for regex, complexity in HEURISTIC:
        if compiled(regex).search(last):
            return complexity
    if len(last) >= LONG_TEXT or prompt_tokens >= LONG_PROMPT:
        return "Complex"
    if len(last) <= SHORT_TEXT and prompt_tokens <= SHORT_PROMPT:
        return "Simple"
    return None
