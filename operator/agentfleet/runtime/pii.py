"""What counts as personal data: email addresses, telephone numbers, payment cards, US social security numbers. Pure.

guardrails.py and redaction.py mask what is found here. The gateway's expressions (gateway/sensitivity.py) tell only
*whether* something is there, and rather too often: a wrong yes costs a cloud's answer. Here the whole of a number has
to be found, and nothing else, since text is lost: so there are check digits (Luhn), and areas never given out.

A text is searched as it reads, not as it is written: digits of other scripts count as digits, wide letters as letters,
any hyphen or space as one of ASCII's, and invisible characters are gaps. `fold` does that, one character for one.
"""

import re
import unicodedata
from typing import Final

from agentfleet.runtime.config import Builtin
from agentfleet.runtime.scanning import CONTEXT, Detector, Masker, Trim, run_of, whole

_HIDDEN = "\x7f"
"""What characters without width become."""
_GAP_CHARACTERS = rf"\- \t./_{_HIDDEN}"
_GAP = rf"[{_GAP_CHARACTERS}]{{0,5}}"
_SOME_GAP = rf"[{_GAP_CHARACTERS}]{{1,5}}"
_PHONE_GAP = rf"[{_GAP_CHARACTERS}()]{{0,6}}"
_ALONE = r"(?<!\d)(?<!\d\.)"
"""Not within a number, nor in its decimals."""
_END = r"(?!\d)"
_CARD_START = r"(?:4\d{3}|5[0-8]\d\d|6\d{3}|3[04-9]\d\d|2(?:2[2-9]|[3-6]\d|7[0-2])\d)"
_CARD_LENGTHS = range(19, 12, -1)
_LOCAL = r"[^ \t-\r@<>()\[\],;:\x22'`=&/?]"
_HOST = r"[^ \t-\r@<>()\[\],;:\x22'`./=?&]"
_AT = r"[ ]?[\[({][ ]?at[ ]?[\])}][ ]?"
_DOT = r"(?:\.|[ ]?[\[({][ ]?dot[ ]?[\])}][ ]?)"


def fold(text: str) -> str:
    """The text as it reads; of the same length."""
    return text if text.isascii() else text.translate(_FOLDED)


class _Fold(dict[int, str]):
    """Filled as characters come; of the basic plane alone, so that it stays small."""

    def __missing__(self, code: int) -> str:
        folded = _folded(chr(code))
        if code < 0x10000:
            self[code] = folded
        return folded


def _folded(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":
        return _HIDDEN
    if category == "Zs":
        return " "
    if category == "Pd":
        return "-"
    if category == "Nd":
        return str(unicodedata.decimal(character))
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 else character


_FOLDED: Final = _Fold()


def luhn(digits: str) -> bool:
    """Whether the check digit, the last, is right."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + index % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _card(text: str, begin: int, end: int) -> tuple[bool, int]:
    """The longest beginning of 13 to 19 digits whose check digit is right, and that ends where a group of digits does:
    a card may be followed by its security code."""
    ends = [index + 1 for index in range(begin, end) if text[index].isdigit()]
    for count in _CARD_LENGTHS:
        if count > len(ends):
            continue
        last = ends[count - 1]
        digits = _digits(text[begin:last])
        if not text[last : last + 1].isdigit() and luhn(digits) and len(set(digits)) > 1:
            return True, last
    return False, begin + 1


def _ssn(text: str, begin: int, end: int) -> tuple[bool, int]:
    """Areas 000, 666 and from 900, group 00 and serial 0000 were never given out."""
    digits = _digits(text[begin:end])
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    never = area in ("000", "666") or area >= "900" or group == "00" or serial == "0000"
    return (False, begin + 1) if never else (True, end)


def _named(name: re.Pattern[str]) -> Trim:
    """Counts after such a name, without another digit between: so if the first digit does not, none of a run does."""

    def trim(text: str, begin: int, end: int) -> tuple[bool, int]:
        return bool(name.search(text, max(0, begin - CONTEXT), begin)), end

    return trim


def _national(text: str, begin: int, end: int) -> tuple[bool, int]:
    """A day with what follows it is no telephone number."""
    return (False, begin + 1) if _DAY.match(text, begin, end) else (True, end)


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


_DAY = re.compile(r"\(?\d\d([-./ ])\d\d\1(?:19|20)\d\d")
_PHONE_NAME = re.compile(
    r"(?i)(?:\b(?:(?:tele|smart)?phone|mobile|cell|whatsapp|telefon|handy|tel\b|call[ ]me|ring[ ]me)|\bt\u00e9l|"
    r"电话|手机|電話)[^\d\n]{0,20}\Z",
)
_SSN_NAME = re.compile(r"(?i)(?:\bssn\b|social.?security)[^\d\n]{0,40}\Z")


def _found(label: str, pattern: str, longest: int, trim: Trim = whole) -> Detector:
    """Of numbers: nothing but digits and what may stand between them."""
    return Detector(label, re.compile(pattern, re.ASCII), longest, _NUMBER, trim)


def _address(pattern: str, tail: str, longest: int, needs: str = "") -> Detector:
    flags = re.ASCII | re.IGNORECASE
    incomplete = re.compile(tail, flags)

    def begins(text: str, floor: int) -> int:
        found = incomplete.search(text, floor)
        return found.start() if found else len(text)

    return Detector("[EMAIL]", re.compile(pattern, flags), longest, begins, needs=needs)


_NUMBER = run_of(lambda character: character in "0123456789-+() \t./_" + _HIDDEN)
_EMAIL = (
    Detector(
        "[EMAIL]",
        re.compile(rf"{_LOCAL}{{1,64}}@(?:{_HOST}{{1,63}}\.){{1,4}}[^\W\d_]{{2,63}}"),  # letters of any script
        450,
        run_of(lambda character: character not in " \t\n\v\f\r<>()[],;:\"'`=&/?"),
        needs="@",
    ),
    # name [at] host [dot] tld, and name at host dot tld
    _address(
        rf"[\w.+-]{{1,64}}{_AT}(?:[\w-]{{1,63}}{_DOT}){{1,3}}[a-z]{{2,24}}",
        r"[\w.+-]{0,64}[ ]?(?:[\[({][ \w\[\](){}.-]{0,400})?\Z",
        400,
    ),
    _address(
        r"[\w.+-]{1,64}[ ]at[ ](?:[\w-]{1,63}[ ]dot[ ]){1,3}[a-z]{2,24}",
        r"[\w.+-]{0,64}(?:[ ](?:a(?:t(?:[ ][\w .-]{0,400})?)?)?)?\Z",
        400,
    ),
)
_PHONE = (
    _found("[PHONE]", rf"(?:\+|{_ALONE}00)[1-9](?:{_PHONE_GAP}\d){{6,14}}{_END}", 110),
    _found("[PHONE]", rf"{_ALONE}\(?0\d(?:{_PHONE_GAP}\d){{7,9}}{_END}", 80, _national),
    _found(
        "[PHONE]",  # North America
        rf"{_ALONE}(?:1{_SOME_GAP})?\(?[2-9]\d\d(?:\){_GAP}|{_SOME_GAP})\d{{3}}{_SOME_GAP}\d{{4}}{_END}",
        40,
    ),
    _found("[PHONE]", rf"{_ALONE}1[3-9]\d{_GAP}\d{{4}}{_GAP}\d{{4}}{_END}", 30),  # China
    _found("[PHONE]", rf"{_ALONE}[6-9]\d{{4}}{_GAP}\d{{5}}{_END}", 20),  # India
    _found("[PHONE]", rf"{_ALONE}\(?\d(?:{_PHONE_GAP}\d){{6,14}}{_END}", 120, _named(_PHONE_NAME)),
)
_CREDIT_CARD = (
    _found("[CREDIT_CARD]", rf"{_ALONE}{_CARD_START}(?:{_GAP}\d){{9,15}}{_END}", 110, _card),
    _found("[CREDIT_CARD]", rf"{_ALONE}[2-6](?:{_SOME_GAP}\d){{12,18}}{_END}", 120, _card),
)
_SSN = (
    _found("[SSN]", rf"{_ALONE}\d{{3}}{_SOME_GAP}\d\d{_SOME_GAP}\d{{4}}{_END}", 25, _ssn),
    _found("[SSN]", rf"{_ALONE}\d{{3}}{_GAP}\d\d{_GAP}\d{{4}}{_END}", 25, _named(_SSN_NAME)),
)

DETECTORS: dict[Builtin, tuple[Detector, ...]] = {
    "Email": _EMAIL,
    "Phone": _PHONE,
    "CreditCard": _CREDIT_CARD,
    "SSN": _SSN,
}


def masked(text: str) -> str:
    """The text with all of it masked: for logs."""
    return Masker([detector for each in DETECTORS.values() for detector in each], fold).whole(text)
