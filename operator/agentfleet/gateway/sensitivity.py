r"""How sensitive the text of a request is: built-in patterns and how they are put in order. Pure.

HAProxy looks for the same expressions, in the same order, in the body of each request (`map_reg`), with JSON escapes
resolved. Missing something sends it to a cloud; finding too much costs a cloud's answer. So the expressions are wide:
no check digits, any usual separator. They tell only *whether* something is there, so they match as little of it as
shows it (an address is a letter, an @ and a domain), which also keeps them fast.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agentfleet.gateway.patterns import compiled
from agentfleet.gateway.types import SENSITIVITIES, Sensitivity


@dataclass(frozen=True)
class Builtin:
    """What a word in `classify.sensitivity.patterns` stands for."""

    description: str
    patterns: tuple[tuple[str, Sensitivity], ...]
    """Regular expression → class."""


def _each(
    words: Iterable[str], level: Sensitivity, *, before: str = r"(?i)\b", after: str = ""
) -> tuple[tuple[str, Sensitivity], ...]:
    """An expression for each of these words: PCRE2 finds one after the other faster than any of several."""
    return tuple((f"{before}{word}{after}", level) for word in words)


_GAP_BYTES = r"\-\x20\t./_\xc2\xa0\xe2\xe3\x80-\x95\xaf"
"""Between digits of one number: spaces, also no-break, thin and ideographic ones, and hyphens and dashes. Bytes, as
UTF-8 has them, so that one byte tells a separator from a digit."""
_GAP = rf"[{_GAP_BYTES}]{{0,5}}"
_SOME_GAP = rf"[{_GAP_BYTES}]{{1,5}}"
_PHONE_GAP = rf"[{_GAP_BYTES}()]{{0,6}}"
_NOT_IN_NUMBER = r"(?<![\d.])"
_FOREIGN_DIGIT = r"(?:\xef\xbc[\x90-\x99]|\xd9[\xa0-\xa9]|\xdb[\xb0-\xb9]|\xe0(?:\xa5[\xa6-\xaf]|\xaf[\xa6-\xaf]))"
"""Full-width, Arabic, Persian, Devanagari and Tamil digits."""
_FOREIGN_UNIT = (
    r"(?:[-\x20./]|\xef\xbc[\x8d\x90-\x99]|\xd9[\xa0-\xa9]|\xdb[\xb0-\xb9]|\xe0(?:\xa5[\xa6-\xaf]|\xaf[\xa6-\xaf])"
    r"|\xe3\x80\x80|\xe2\x80[\x80-\xaf]|\xc2\xa0)"
)
_CARD_START = r"(?:4\d{3}|5[0-8]\d\d|6\d{3}|3[04-9]\d\d|2(?:2[2-9]|[3-6]\d|7[0-2])\d)"
_IBAN_COUNTRIES = (
    "A[DELOTZ]|B[AEFGHRIJY]|C[HRYZ]|D[EJKO]|E[EGS]|F[IOKR]|G[BEILRT]|H[NRU]|I[ELQST]|JO|K[WZ]|L[BCITUVY]|"
    "M[CDEKNRTU]|N[ILO]|OM|P[KLST]|QA|R[OSU]|S[ACDEIKMNOTV]|T[LNR]|UA|V[AG]|XK|YE"
)
_IBAN_REST = rf"(?:{_GAP}[A-Za-z]){{0,4}}(?:{_GAP}\d){{5}}(?:{_GAP}[A-Za-z\d]){{4}}"
_MONTH_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"

_EMAIL: tuple[tuple[str, Sensitivity], ...] = (
    (r"(?<=[^\s@<>\x22',;:()])@[\w\x80-\xff-]{1,63}\.[A-Za-z\x80-\xff]", "Confidential"),
    (r"\xef\xbc\xa0[\w\x80-\xff-]{1,63}\.[A-Za-z\x80-\xff]", "Confidential"),  # full-width @
    (
        r"(?i)[\[({]\s?at\s?[\])}]\s{0,3}[a-z\d-]{1,63}\s{0,3}(?:\.|[\[({]\s?dot\s?[\])}]|\sdot\s)\s{0,3}[a-z]",
        "Confidential",
    ),
    (r"(?i)(?<=\w)\sat\s[a-z\d-]{1,63}\sdot\s[a-z]", "Confidential"),
)
_PHONE: tuple[tuple[str, Sensitivity], ...] = (
    (rf"(?:\+|\xef\xbc\x8b|{_NOT_IN_NUMBER}00)[1-9](?:{_PHONE_GAP}\d){{7}}", "Confidential"),
    (rf"{_NOT_IN_NUMBER}0\d(?:{_PHONE_GAP}\d){{7,9}}\b", "Confidential"),
    (rf"{_NOT_IN_NUMBER}[2-9]\d\d\)?{_SOME_GAP}\d{{3}}{_SOME_GAP}\d{{4}}\b", "Confidential"),  # North America
    (rf"{_NOT_IN_NUMBER}1[3-9]\d{_GAP}\d{{4}}{_GAP}\d{{4}}\b", "Confidential"),  # China
    (rf"{_NOT_IN_NUMBER}[6-9]\d{{4}}{_GAP}\d{{5}}\b", "Confidential"),  # India
    (rf"{_FOREIGN_DIGIT}{_FOREIGN_UNIT}{{7}}", "Confidential"),
    (
        r"(?i)\b(?:(?:tele|smart)?phone|mobile|cell|whatsapp|telefon|t\xc3\xa9l|tel\b|handy|call\sme|ring\sme)"
        rf"[^\d\n]{{0,20}}\d(?:{_GAP}\d){{6}}",
        "Confidential",
    ),
    (
        r"(?:\xe7\x94\xb5\xe8\xaf\x9d|\xe6\x89\x8b\xe6\x9c\xba|\xe9\x9b\xbb\xe8\xa9\xb1)[^\d\n]{0,20}"
        rf"\d(?:{_GAP}\d){{6}}",
        "Confidential",
    ),
)
_CREDIT_CARD: tuple[tuple[str, Sensitivity], ...] = (
    (rf"{_NOT_IN_NUMBER}{_CARD_START}(?:{_GAP}\d){{9,15}}\b", "Restricted"),
    (rf"{_NOT_IN_NUMBER}[2-6](?:{_SOME_GAP}\d){{12,18}}\b", "Restricted"),
    (rf"{_FOREIGN_DIGIT}{_FOREIGN_UNIT}{{8}}", "Restricted"),
)
_SSN: tuple[tuple[str, Sensitivity], ...] = (
    (rf"{_NOT_IN_NUMBER}\d{{3}}{_SOME_GAP}\d\d{_SOME_GAP}\d{{4}}\b", "Restricted"),
    (r"(?i)(?:\bssn\b|social.?security)[^\d\n]{0,40}\d{3}" + rf"{_GAP}\d\d{_GAP}\d{{4}}", "Restricted"),
    (rf"{_NOT_IN_NUMBER}\d(?:{_SOME_GAP}\d){{8}}\b", "Restricted"),
    (rf"{_FOREIGN_DIGIT}{_FOREIGN_UNIT}{{8}}", "Restricted"),
)
_IBAN: tuple[tuple[str, Sensitivity], ...] = (
    (rf"(?i)\b[a-z]{{2}}\d\d{_IBAN_REST}", "Restricted"),
    (rf"\b(?:{_IBAN_COUNTRIES}){_GAP}\d{_GAP}\d{_IBAN_REST}", "Restricted"),
    (
        r"(?i)\b(?:(?:account|compte|conta)\s?(?:no\b|number|nr\b|num|n\xc2\xb0|#|:|is\b)|akaun|rekening|konto|cuenta)"
        rf"[^\d\n]{{0,20}}\d(?:{_GAP}\d){{7}}",
        "Restricted",
    ),
    (
        r"(?:\xe5\x8d\xa1\xe5\x8f\xb7|\xe8\xb4\xa6\xe5\x8f\xb7|\xe8\xb4\xa6\xe6\x88\xb7|\xe5\x8f\xa3\xe5\xba\xa7)"
        rf"[^\d\n]{{0,20}}\d(?:{_GAP}\d){{6}}",
        "Restricted",
    ),
)
_NATIONAL_ID: tuple[tuple[str, Sensitivity], ...] = (
    (rf"{_NOT_IN_NUMBER}\d\d{_MONTH_DAY}{_GAP}\d\d{_GAP}\d{{4}}\b", "Restricted"),  # Malaysia
    (r"(?i)\b[stfgm]" + _GAP + r"\d{7}" + _GAP + r"[a-z]\b", "Restricted"),  # Singapore
    (rf"{_NOT_IN_NUMBER}[1-9]\d{{5}}{_GAP}(?:19|20)\d\d{_MONTH_DAY}{_GAP}\d{{3}}[\dXx]\b", "Restricted"),  # China
    (rf"{_NOT_IN_NUMBER}\d{{4}}{_SOME_GAP}\d{{4}}{_SOME_GAP}\d{{4}}\b", "Restricted"),  # India, Japan
    (rf"{_NOT_IN_NUMBER}\d{{6}}[0-7]\d(?:0[1-9]|1[0-2])\d{{6}}\b", "Restricted"),  # Indonesia
    (rf"{_NOT_IN_NUMBER}\d{{6}}{_SOME_GAP}[1-8]\d{{6}}\b", "Restricted"),  # Korea
    (rf"{_NOT_IN_NUMBER}\d{{3}}\.\d{{3}}\.\d{{3}}{_GAP}\d\d\b", "Restricted"),  # Brazil
    (rf"{_NOT_IN_NUMBER}\d-\d{{4}}-\d{{5}}-\d\d-\d\b", "Restricted"),  # Thailand
    (
        rf"{_NOT_IN_NUMBER}[12]{_GAP}\d\d{_GAP}(?:0[1-9]|1[0-2]){_GAP}\d[\dAB]{_GAP}\d{{3}}{_GAP}\d{{3}}\b",
        "Restricted",
    ),  # France
    (r"(?i)\b(?:\d{8}|[xyz]\d{7})[-\s]?[a-hj-np-tv-z]\b", "Restricted"),  # Spain
    (r"(?<=[A-Za-z\s])\d\d\s?\d\d\s?\d\d\s?[A-Da-d]\b", "Restricted"),  # United Kingdom
    (r"(?i)(?<=[a-z])\d\d[abcdehlmprst]\d\d[a-z]\d{3}[a-z]\b", "Restricted"),  # Italy
    (
        r"(?i)\b(?:pas(?:sport|port|por|aporte|seport)|reisepass|aadhaar|mykad|n(?:ric|ik\b)|ic\b|d(?:ni\b|"
        r"river.?s?\slicen[cs]e))[^\d\n]{0,30}\d(?:[-\s]?\d){5}",
        "Restricted",
    ),
    (
        r"(?:\xe6\x8a\xa4\xe7\x85\xa7|\xe8\xba\xab\xe4\xbb\xbd\xe8\xaf\x81|\xe3\x83\x91\xe3\x82\xb9\xe3\x83\x9d)"
        r"[^\d\n]{0,30}\d(?:[-\s]?\d){5}",
        "Restricted",
    ),
)
_RECORDS = (
    *(r"mrn\b", r"medical\srecord", r"patient\s?(?:id|no|number)", r"nhs\s(?:no|number)", r"rekod\sperubatan"),
    *(r"rekod\spesakit", r"rekam\smedis", r"historia\scl.{1,2}nica", "patientennummer", r"health\scard"),
)
_MEDICAL_RECORD: tuple[tuple[str, Sensitivity], ...] = (
    *_each(_RECORDS, "Restricted", after=r"[^\d\n]{0,30}\d(?:[-\s.]?\d){3}"),
    (
        r"(?:\xe7\x97\x85\xe5\x8e\x86|\xe7\x97\x85\xe6\xa1\x88|\xe4\xbd\x8f\xe9\x99\xa2|\xe3\x82\xab\xe3\x83\xab\xe3\x83\x86)"
        r"[^\d\n]{0,30}\d(?:[-\s.]?\d){3}",
        "Restricted",
    ),
)
_KEYS = (
    *("sk-", "sk_live_", "rk_live_", "sk_test_", "ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "glpat-", "hf_"),
    *("xox[abeoprs]-", "npm_", "pypi-", "dop_v1_", "shpat_", "AIza", r"ya29\.", r"SG\."),
)
_SECRETS = (
    *(r"api[-_\s]?key", r"access[-_\s]?key", "secret", r"passw(?:or)?d", r"\bpwd", "passphrase", r"kata\s?laluan"),
    *(r"kata\s?sandi", r"contrase\xc3\xb1a", "passwort", "kennwort", r"mot\sde\spasse", "senha", r"\btoken"),
)
_SAID_TO_BE = (
    r"\w{0,8}[\x22']?(?:\s{0,3}[:=]|\s(?:is|ist|es|est|ialah|adalah)\s)\s{0,3}[\x22'`]?"
    r"(?:[^\s\x22'`,;.]{3,10}[\d!#-&*+=?@^_~-]|[^\s\x22'`,;.]{16})"
)
_API_KEY: tuple[tuple[str, Sensitivity], ...] = (
    *_each(_KEYS, "Restricted", before=r"\b", after=r"[\w-]{10}"),
    *_each(("AKIA", "ASIA", "AROA", "AIDA"), "Restricted", before=r"\b", after="[A-Z0-9]{12}"),
    (r"\beyJ[\w-]{8,1000}\.[\w-]{4}", "Restricted"),  # JSON Web Token
    *_each(("bearer", "basic"), "Restricted", after=r"\s[\w+/=.~-]{16}"),
    (r"(?i)://[^\s/:@]{1,64}:[^\s/@]{1,128}@", "Restricted"),  # user and password in a URL
    *_each(_SECRETS, "Restricted", before="(?i)", after=_SAID_TO_BE),
    (
        r"(?:\xe5\xaf\x86\xe7\xa0\x81|\xe5\x8f\xa3\xe4\xbb\xa4|\xe3\x83\x91\xe3\x82\xb9\xe3\x83\xaf\xe3\x83\xbc\xe3\x83\x89)"
        r"(?:\xe6\x98\xaf|\xe4\xb8\xba|\xe3\x81\xaf|\xef\xbc\x9a|[:=\x20]){1,3}[\x21-\x7e]{4}",
        "Restricted",
    ),
)
_PRIVATE_KEY: tuple[tuple[str, Sensitivity], ...] = (
    (r"(?i)-----BEGIN\s[a-z0-9\s]{0,40}PRIVATE\sKEY", "Restricted"),
    (r"PuTTY-User-Key-File|AGE-SECRET-KEY-1", "Restricted"),
)
_IP_ADDRESS: tuple[tuple[str, Sensitivity], ...] = (
    (r"(?<![\w.])\d{1,3}\.(?:\d{1,3}\.){2}\d{1,3}\b", "Internal"),
    (r"(?i)(?<=[\da-f])(?::[\da-f]{1,4}){3}:", "Internal"),
    (r"(?i)\bf[cde][\da-f]{2}:[\da-f:]{0,30}:", "Internal"),
    (r"(?i)\w\.(?:internal|corp|intranet|local|localdomain|lan|home\.arpa)\b", "Internal"),
)
_MOST_SECRET = (r"strictly\sconfidential", r"top\ssecret", r"highly\sconfidential", r"eyes\sonly")
_CONFIDENTIAL = (
    *("confidential", "vertraulich", r"confidentiel(?:le)?", "confidencial", r"in\sconfidence", r"under\snda"),
    r"do\snot\s(?:distribute|forward)",
)
_INTERNAL = (
    *(r"internal\s(?:use\s)?only", r"internal\suse", r"company\sinternal", r"not\sfor\s(?:external|public)"),
    *(r"nur\sintern", r"usage\sinterne", r"uso\sinterno", r"kegunaan\sdalaman", r"internal\sperusahaan"),
)
_MARKING: tuple[tuple[str, Sensitivity], ...] = (
    *_each(_MOST_SECRET, "Restricted", after=r"\b"),
    (r"\xe7\xbb\x9d\xe5\xaf\x86|\xe6\xa5\xb5\xe7\xa7\x98", "Restricted"),
    *_each(_CONFIDENTIAL, "Confidential", after=r"\b"),
    *_each(("SULIT", "RAHSIA", "RAHASIA"), "Confidential", before=r"\b", after=r"\b"),
    (r"\xe6\x9c\xba\xe5\xaf\x86|\xe4\xbf\x9d\xe5\xaf\x86|\xe7\xa7\x98\xe5\xaf\x86", "Confidential"),
    *_each(_INTERNAL, "Internal", after=r"\b"),
    (r"\xe5\x86\x85\xe9\x83\xa8\xe8\xb5\x84\xe6\x96\x99|\xe7\xa4\xbe\xe5\xa4\x96\xe7\xa7\x98", "Internal"),
)

BUILTINS: Mapping[str, Builtin] = {
    "Email": Builtin("Email addresses, also written as name [at] host [dot] tld", _EMAIL),
    "Phone": Builtin("Telephone numbers: international, usual national forms, and numbers named as such", _PHONE),
    "IPAddress": Builtin("IP addresses, and names of internal hosts (.internal, .corp, .local, .lan …)", _IP_ADDRESS),
    "CreditCard": Builtin("Numbers of payment cards by their first digits and length; no check digit", _CREDIT_CARD),
    "SSN": Builtin("Social security numbers of the United States", _SSN),
    "IBAN": Builtin("International bank account numbers, and numbers named as an account", _IBAN),
    "NationalId": Builtin("Identity numbers of thirteen countries, and passports named as such", _NATIONAL_ID),
    "MedicalRecord": Builtin("Numbers of patients and medical records, named as such", _MEDICAL_RECORD),
    "ApiKey": Builtin("API keys, tokens, and passwords named as such", _API_KEY),
    "PrivateKey": Builtin("Private keys in PEM, PuTTY and age form", _PRIVATE_KEY),
    "Marking": Builtin("Words such as confidential and internal use only, in several languages", _MARKING),
}

Patterns = Iterable[tuple[str, Sensitivity]]


def builtin(names: Iterable[str]) -> list[tuple[str, Sensitivity]]:
    """The expressions of built-ins by name; a name that is none is a KeyError.

    Those of numbers are one: the text is then searched once for where they may begin. What begins with a word stays
    apart: PCRE2 finds one word after the other faster than any of several.
    """
    found: dict[tuple[str, Sensitivity], list[str]] = {}
    for name in names:
        for regex, level in BUILTINS[name].patterns:
            # Nothing of what follows is an alternative of all of it.
            beginning = _NOT_IN_NUMBER if regex.startswith(_NOT_IN_NUMBER) else regex
            found.setdefault((beginning, level), []).append(regex.removeprefix(beginning))
    return [
        (f"{beginning}(?:{'|'.join(rest)})" if len(rest) > 1 else beginning + rest[0], level)
        for (beginning, level), rest in found.items()
    ]


def ordered(patterns: Patterns) -> list[tuple[str, Sensitivity]]:
    """The highest class first, each expression once, else as they came: the first that matches tells the class."""
    first: dict[str, Sensitivity] = {}
    for regex, level in sorted(patterns, key=lambda pattern: -SENSITIVITIES.index(pattern[1])):
        first.setdefault(regex, level)
    return list(first.items())


def classify(text: bytes, patterns: Patterns) -> Sensitivity:
    """The class of the first of `patterns`, as `ordered` gives them, that is in the text; else Public."""
    return next((level for regex, level in patterns if compiled(regex).search(text)), "Public")
