"""Small text files of data sets, in the encodings that editors of Windows and macOS leave."""

import codecs
import csv
from collections import Counter
from pathlib import Path

from ...errors import UserError

LARGEST = 1 << 26  # Bytes; the largest of these lists, ImageNet's, has 2 MB.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(file: Path, advice: str) -> str:
    """Return the text of `file`: UTF-8, or UTF-16 as PowerShell writes it, with any line ends.

    Raises UserError with `advice` for anything else.
    """
    with file.open("rb") as opened:
        content = opened.read(LARGEST + 1)
    return decode_text(content, file, advice)


def decode_text(content: bytes, place: object, advice: str) -> str:
    """Return the text that `content`, the bytes of the file `place`, encodes."""
    encoding = next((of for mark, of in _MARKS.items() if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and content[1:2] == b"\0":
        encoding = "utf-16-le"  # UTF-16 without a byte order mark.
    try:
        if len(content) > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        text = content.decode(encoding)
        if "\0" in text:
            raise ValueError("it has zero bytes")
    except ValueError as error:
        raise UserError(f"{place} is not UTF-8 text: {error}; {advice}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_table(file: Path, advice: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file by its header, whose names lose spaces and case.

    Commas separate columns, or the semicolons and tabs of spreadsheets. Empty rows are skipped.
    """
    lines = [line for line in read_text(file, advice).split("\n") if line.strip(" ,;\t")]
    separator = max(",;\t", key=lines[0].count) if lines else ","
    try:
        rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=True))
    except csv.Error as error:
        raise UserError(f"{file}: {error}; {advice}") from error
    names = [name.strip().casefold() for name in rows[0]] if rows else []
    for name, count in Counter(names).items():
        if name and count > 1:
            raise UserError(f"{file} has {count} columns {name[:200]!r}; {advice}")
    return [dict(zip(names, row, strict=False)) for row in rows[1:]]
