"""Built-in patterns: nothing is missed however it is written, and HAProxy finds what Python finds."""

import itertools
import json
from pathlib import Path

import pytest

from agentfleet.gateway.patterns import check
from agentfleet.gateway.sensitivity import BUILTINS, builtin, classify, ordered
from agentfleet.gateway.types import SENSITIVITIES, Sensitivity
from tests.gateway import labels, matching

EVERYTHING = ordered(builtin(BUILTINS))
CONTEXTS = (
    "{}",
    "It is {}, thanks.",
    "({})",
    '"{}"',
    "号码是{}谢谢",
    "número:{}.",
    "a\n{}\nb",
    "nombor saya {} ya",
    "#{}",
    "1. {}",
)
SEPARATORS = ("", " ", "-", ".", "/", "  ", " - ", "\u00a0", "\u2009", "\u2011", "\u2013", "\u2014", "\u3000")
FULL_WIDTH = str.maketrans("0123456789-", "０１２３４５６７８９－")  # noqa: RUF001
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
PERSIAN = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
TAMIL = str.maketrans("0123456789", "௦௧௨௩௪௫௬௭௮௯")
DEVANAGARI = str.maketrans("0123456789", "०१२३४५६७८९")


def level(text: str) -> Sensitivity:
    return classify(text.encode(), EVERYTHING)


def test_every_pattern_is_safe_and_fits_a_map_file() -> None:
    for regex, _ in EVERYTHING:
        check(regex, max_length=4096)


def test_highest_first_each_once_else_as_they_came() -> None:
    mixed: list[tuple[str, Sensitivity]] = [("a", "Internal"), ("b", "Restricted"), ("c", "Internal")]
    found = ordered([*mixed, ("a", "Confidential"), ("b", "Public")])
    assert found == [("b", "Restricted"), ("a", "Confidential"), ("c", "Internal")]
    assert [SENSITIVITIES.index(each) for _, each in EVERYTHING] == sorted(
        (SENSITIVITIES.index(each) for _, each in EVERYTHING), reverse=True
    )


def test_only_what_is_asked_for_is_looked_for() -> None:
    text = b"mail a@example.com or 4111 1111 1111 1111"
    assert classify(text, ordered(builtin(["Email"]))) == "Confidential"
    assert classify(text, ordered(builtin(["CreditCard", "Email"]))) == "Restricted"
    assert classify(text, []) == "Public"
    with pytest.raises(KeyError):
        builtin(["Nonsense"])


def grouped(digits: str, groups: tuple[int, ...]) -> list[str]:
    ends = list(itertools.accumulate(groups))
    parts = [digits[end - size : end] for end, size in zip(ends, groups, strict=True)]
    return [separator.join(parts) for separator in SEPARATORS]


CARDS = [
    *grouped("4111111111111111", (4, 4, 4, 4)),
    *grouped("5500000000000004", (4, 4, 4, 4)),
    *grouped("2223003122003222", (4, 4, 4, 4)),
    *grouped("378282246310005", (4, 6, 5)),
    *grouped("6011000990139424", (4, 4, 4, 4)),
    *grouped("3530111333300000", (4, 4, 4, 4)),
    *grouped("30569309025904", (4, 6, 4)),
    *grouped("6222021234567890128", (4, 4, 4, 4, 3)),
    " ".join("4111111111111111"),
    "-".join("4111111111111111"),
]
WRITTEN: dict[str, list[str]] = {
    "CreditCard": CARDS,
    "SSN": [*grouped("078051120", (3, 2, 4))[1:], "SSN 078051120", "0 7 8 0 5 1 1 2 0"],
    "NationalId": [
        *grouped("880412145678", (6, 2, 4)),
        *grouped("11010519491231002X", (6, 8, 4)),
        *grouped("234567890124", (4, 4, 4))[1:],
        *("S1234567D", "s1234567d", "T-0123456-G", "900101-1234567", "123.456.789-09", "1-2345-67890-12-3"),
        *("12345678Z", "X1234567L", "QQ 12 34 56 C", "ab123456c", "RSSMRA85T10A562S", "1 85 05 78 006 084"),
        "3174012505900001",
        *("passport A12345678", "Passport no. is K 1234567", "护照号码E12345678", "IC: 12345678"),
        "driver's licence 1234567",
    ],
    "IBAN": [
        *grouped("DE89370400440532013000", (4, 4, 4, 4, 4, 2)),
        *grouped("GB82WEST12345698765432", (4, 4, 4, 4, 4, 2)),
        *grouped("FR1420041010050500013M02606", (4, 4, 4, 4, 4, 4, 3)),
        *("gb82west12345698765432", "NL91ABNA0417164300", "MT84MALT011000012345MTLCAST001S"),
        *("account number 1234 5678 90", "no. akaun 5621-0498-7712", "银行账号62100012345", "Rekening: 123 456 7890"),
    ],
    "MedicalRecord": [
        *("MRN 00-38-112", "patient id: 4471923", "NHS number 943 476 5919", "住院号 0012345", "rekod pesakit 7781"),
    ],
    "ApiKey": [
        *("sk-" + "a1" * 24, "sk-proj-" + "Zz9_" * 8, "ghp_" + "0aB" * 12, "AKIAIOSFODNN7EXAMPLE", "AIza" + "x" * 35),
        *("xoxb-" + "1" * 12 + "-abc", "hf_" + "q" * 30, "glpat-" + "k" * 20),
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        *("Authorization: Bearer 0123456789abcdef0", "api_key=abc12345", "API-Key: 'zz-99-yy'", '"secret": "hunter2!"'),
        *("password is Blue-Kettle-77", "my password: hunter2", "postgres://app:s3cr3t@db/x", "密码是abc12345"),
        *("kata laluan: rahsia99", "contraseña: luna2024", "Passwort ist Katze!99", "mot de passe : soleil-12"),
    ],
    "PrivateKey": [
        *("-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----", "-----BEGIN OPENSSH PRIVATE KEY-----"),
        *("-----BEGIN ENCRYPTED PRIVATE KEY-----", "PuTTY-User-Key-File-3: ssh-ed25519"),
    ],
    "Email": [
        *("lena.fischer@example.com", "A@B.CO", "o'neil+tag@mail.example.co.uk", "用户@例子.公司", "li@example.cn"),
        "lena\uff20example.com",
        *("lena [at] example [dot] com", "lena(at)example.com", "lena at example dot com", "lena@sub-domain.example"),
    ],
    "Phone": [
        *grouped("2125550187", (3, 3, 4))[1:],
        *grouped("+60123456789", (3, 2, 3, 4)),
        *grouped("0123456789", (3, 3, 4)),
        *grouped("13812345678", (3, 4, 4)),
        *grouped("9876543210", (5, 5)),
        *("+44 20 7946 0958", "+1 (212) 555-0187", "(212) 555-0187", "0044 20 7946 0958", "06 39 98 12 34"),
        *("(03) 2161 0000", "call me on 555 0187", "电话 8888 6666", "+49 (0)30 901820"),
    ],
    "IPAddress": [
        *("10.24.8.15", "192.168.40.12:8443", "2001:db8:0:1:1:1:1:1", "fd00::1:2", "db1.prod.internal", "wiki.corp"),
    ],
    "Marking": [
        *("Internal use only", "CONFIDENTIAL", "nur intern", "SULIT", "内部资料", "机密文件", "company internal"),
        *("社外秘", "strictly confidential", "kegunaan dalaman"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_nothing_is_missed_however_it_is_written(name: str) -> None:
    """Each form, in each surrounding, by its own built-in alone."""
    own = ordered(builtin([name]))
    least = min(SENSITIVITIES.index(each) for _, each in own)
    missed = [
        written
        for form in WRITTEN[name]
        for written in (context.format(form) for context in CONTEXTS)
        if SENSITIVITIES.index(classify(written.encode(), own)) < max(least, 1)
    ]
    assert not missed


@pytest.mark.parametrize("digits", [FULL_WIDTH, ARABIC, PERSIAN, DEVANAGARI, TAMIL])
@pytest.mark.parametrize("form", [*CARDS, "880412-14-5678", "078-05-1120"])
def test_digits_of_other_scripts(form: str, digits: dict[int, str]) -> None:
    assert level(f"nr {form.translate(digits)} ok") == "Restricted"


def test_json_escapes_are_resolved_before() -> None:
    """The caller's part: what the patterns get is text, not JSON."""
    body = json.dumps({"messages": [{"content": "lena@example.com \n 号"}]})
    assert level(json.loads(body.replace("@", "\\u0040"))["messages"][0]["content"]) == "Confidential"


@pytest.mark.parametrize(
    "text",
    [
        "Order 88213 came on 2026-11-21 at 10:30, 3 of 12 pieces, total 1,299.00 EUR.",
        '{"model":"auto","max_tokens":4096,"temperature":0.70000000000000001,"seed":1234567,"user":"u-48213"}',
        '{"id":"call_f3a9c0d1e2b4","created":1732212345,"created_ms":1732212345678}',
        '{"input":[0.0123456789012345,-0.4539148803436467,0.5]}',
        "Ports 80, 443 and 8080; retries 3; 640 by 480; version 3.2.26; 1 2 3 4 5 6 7 8",
        "From 2019 to 2022: 410, 433, 429, 471, 502, 498 visitors.",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0ab22cd15d6c15b0f00a08",
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "I forgot my password and the reset mail never arrives. The token is wrong, it says.",
        "meet me at the cafe @ noon, or email me",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E",
        "The internal combustion engine, a secret garden, confidence intervals.",
        "5 + 7 = 12; x = 3.14159265358979; the year 1962",
    ],
)
def test_ordinary_text_stays_public(text: str) -> None:
    assert level(text) == "Public"


def test_labelled_requests() -> None:
    """Missing is not allowed, with either split; of finding too much the documentation tells."""
    missed = [
        each.id
        for split in ("train", "test")
        for each in labels.requests(split)
        if SENSITIVITIES.index(classify(each.body, EVERYTHING)) < SENSITIVITIES.index(each.sensitivity)
    ]
    assert not missed


def test_haproxy_finds_what_python_finds(tmp_path: Path) -> None:
    texts = [each.body for split in ("train", "test") for each in labels.requests(split)]
    texts += ["\n".join(forms).encode() for forms in WRITTEN.values()]
    texts += [form.encode() for forms in WRITTEN.values() for form in forms]
    texts += [
        unit * 4000
        for unit in (b"4 ", b"4-", b"a@", b"eyJ.", b"+1 (", b"password ", b"a.b:", b"\xe2\x80\x93", b"BEGIN ")
    ]
    with matching.first(tmp_path, EVERYTHING) as found:
        differing = [text[:80] for text in texts if found(text).replace("none", "Public") != classify(text, EVERYTHING)]
    assert not differing
