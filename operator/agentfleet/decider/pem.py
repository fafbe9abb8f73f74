"""Checks public keys before HAProxy sees them: one that it cannot read keeps it from starting at all. Pure."""

import base64
import binascii
import re

_BLOCK = re.compile(r"-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END PUBLIC KEY-----\s*")
_SEQUENCE, _OBJECT_ID, _BIT_STRING, _INTEGER = 0x30, 0x06, 0x03, 0x02
_RSA = bytes.fromhex("2a864886f70d010101")
_EC = bytes.fromhex("2a8648ce3d0201")
_CURVES = {
    bytes.fromhex("2a8648ce3d030107"): 32,  # P-256
    bytes.fromhex("2b81040022"): 48,  # P-384
    bytes.fromhex("2b81040023"): 66,  # P-521
}
_SMALLEST_RSA = 2048 // 8
_UNCOMPRESSED = 4


def check(text: str) -> None:
    """ValueError where the text is not one public key, RSA from 2,048 bits on or EC P-256, P-384 or P-521, in PEM.

    It reads the structure (RFC 5280 SubjectPublicKeyInfo), not the mathematics: a point off its curve passes.
    """
    found = _BLOCK.fullmatch(text.strip() + "\n")
    if not found:
        raise ValueError("it is not one public key in PEM (-----BEGIN PUBLIC KEY-----)")
    try:
        info = _only(base64.b64decode("".join(found[1].split()), validate=True), _SEQUENCE)
        algorithm, rest = _take(info, _SEQUENCE)
        kind, parameters = _take(algorithm, _OBJECT_ID)
        bits = _only(rest, _BIT_STRING)
    except (binascii.Error, IndexError) as error:
        raise ValueError("it is damaged: what is inside is no public key") from error
    sound = _is_rsa(bits[1:]) if kind == _RSA else kind == _EC and _is_point(parameters, bits[1:])
    if not sound or bits[:1] != b"\0":
        raise ValueError("it must be an RSA key of at least 2,048 bits or an EC key on P-256, P-384 or P-521")


def _is_rsa(key: bytes) -> bool:
    try:
        numbers = _only(key, _SEQUENCE)
        modulus, rest = _take(numbers, _INTEGER)
        exponent = _only(rest, _INTEGER)
    except IndexError:
        return False
    return len(modulus.lstrip(b"\0")) >= _SMALLEST_RSA and modulus[-1] % 2 == 1 and exponent[-1] % 2 == 1


def _is_point(parameters: bytes, point: bytes) -> bool:
    try:
        size = _CURVES.get(_only(parameters, _OBJECT_ID))
    except IndexError:
        return False
    return size is not None and len(point) == 1 + 2 * size and point[0] == _UNCOMPRESSED


def _only(data: bytes, tag: int) -> bytes:
    content, rest = _take(data, tag)
    if rest:
        raise IndexError("there is more than one element")
    return content


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The content of the first DER element, and what follows it; IndexError where it is not what it should be."""
    if data[0] != tag:
        raise IndexError(f"element {data[0]} where {tag} must be")
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if not 0 < length <= len(data) - start:
        raise IndexError("an element is longer than what holds it")
    return data[start : start + length], data[start + length :]
