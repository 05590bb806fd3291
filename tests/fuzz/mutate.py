"""Damage the bytes of a file: bits, runs of bytes, numbers, ends, and members of containers."""

import gzip
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

# Numbers of damaged or hostile headers: 0, all bits set, the largest of each width, and one more.
NUMBERS = (
    0,
    1,
    -1,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
)
TOKENS = (
    *(b"-1", b"0", b"1e999", b"-1e999", b"0.5", b"NaN", b"null", b"true", b"[]", b"{}", b'""'),
    *(b"99999999999999999999", b"1000000000000", b"[" * 5000, b'{"a":' * 3000, b'"\\ud800"'),
)
Random = np.random.Generator


def mutate(content: bytes, random: Random) -> bytes:
    """Return `content` with one to three damages, sometimes inside the container that it is."""
    if random.random() < 0.5 and (inner := _mutate_inside(content, random)) is not None:
        return inner
    for _ in range(int(random.integers(1, 4))):
        content = CHANGES[random.integers(len(CHANGES))](content, random)
    return content


def _flip_bits(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 5)) if changed else 0):
        changed[_choose(changed, random)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _truncate(content: bytes, random: Random) -> bytes:
    return content[: int(random.integers(len(content) + 1))]


def _delete(content: bytes, random: Random) -> bytes:
    start, end = _choose_slice(content, random)
    return content[:start] + content[end:]


def _repeat(content: bytes, random: Random) -> bytes:
    start, end = _choose_slice(content, random)
    return content[:end] + content[start:end] * int(random.integers(1, 4)) + content[end:]


def _insert(content: bytes, random: Random) -> bytes:
    at = _choose(content, random)
    return content[:at] + random.bytes(int(random.integers(1, 65))) + content[at:]


def _zero(content: bytes, random: Random) -> bytes:
    start, end = _choose_slice(content, random)
    return content[:start] + bytes(end - start) + content[end:]


def _overwrite_number(content: bytes, random: Random) -> bytes:
    width = 2 ** int(random.integers(4))
    order = ("little", "big")[int(random.integers(2))]
    number = NUMBERS[random.integers(len(NUMBERS))] % 2 ** (8 * width)
    at = _choose(content, random)
    return content[:at] + number.to_bytes(width, order) + content[at + width :]


def _overwrite_token(content: bytes, random: Random) -> bytes:
    """Replace a number or a quoted text by another token, as in JSON and headers of text."""
    found = list(re.finditer(rb'-?\d+(\.\d+)?|"[^"\n]{0,40}"|true|false|null', content[:200_000]))
    if not found:
        return _flip_bits(content, random)
    match = found[random.integers(len(found))]
    token = TOKENS[random.integers(len(TOKENS))]
    return content[: match.start()] + token + content[match.end() :]


def _append(content: bytes, random: Random) -> bytes:
    return content + random.bytes(int(random.integers(1, 100)))


def _empty(content: bytes, random: Random) -> bytes:
    del random
    return content[:0]


CHANGES: list[Callable[[bytes, Random], bytes]] = [
    *(_flip_bits, _flip_bits, _truncate, _truncate, _delete, _repeat, _insert, _zero),
    *(_overwrite_number, _overwrite_number, _overwrite_token, _overwrite_token, _append, _empty),
]


def _choose(content: bytes | bytearray, random: Random) -> int:
    """Return an index; half of the time among the first bytes, where headers are."""
    end = min(len(content), 512) if random.random() < 0.5 else len(content)
    return int(random.integers(max(end, 1)))


def _choose_slice(content: bytes, random: Random) -> tuple[int, int]:
    start = _choose(content, random)
    return start, min(len(content), start + int(2 ** random.integers(1, 12)))


def _mutate_inside(content: bytes, random: Random) -> bytes | None:
    """Return a gzip, zip or tar with intact checksums and damaged content; None for other files."""
    try:
        if content[:2] == b"\x1f\x8b":
            return gzip.compress(mutate(gzip.decompress(content), random), 1, mtime=0)
        if content[:4] == b"PK\x03\x04":
            return _mutate_zip(content, random)
        if content[257:262] == b"ustar":
            return _mutate_tar(content, random)
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, tarfile.TarError):
        pass  # A container that is already damaged is mutated as bytes.
    return None


def _mutate_zip(content: bytes, random: Random) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(made, "w") as target:
        members = source.infolist()
        chosen = int(random.integers(len(members)))
        for at, member in enumerate(members):
            raw = source.read(member)
            target.writestr(member, mutate(raw, random) if at == chosen else raw)
    return made.getvalue()


def _mutate_tar(content: bytes, random: Random) -> bytes:
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content)) as source,
        tarfile.open(fileobj=made, mode="w") as target,
    ):
        members = source.getmembers()
        chosen = int(random.integers(len(members)))
        for at, member in enumerate(members):
            file = source.extractfile(member)
            raw = file.read() if file else b""
            raw = mutate(raw, random) if at == chosen and file else raw
            member.size = len(raw)
            target.addfile(member, io.BytesIO(raw))
    return made.getvalue()
