"""Downloads the official archive of a data set: announced, resumable and checked by hash."""

import sys
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from ...errors import UserError
from ...files import hash_file, move_aside, replace_file

CHUNK = 1 << 20


class Remote(NamedTuple):
    """A file on a server and the hash that its authors publish."""

    url: str
    md5: str


def download(remote: Remote, target: Path) -> None:
    """Fetch `remote` to `target`; resume where an earlier attempt stopped.

    A file with a wrong hash is kept as `target.bad`, `target.2.bad` and so on. Raises `UserError`
    for a wrong hash, and if the server or the disk fails.
    """
    # Our own suffix, not .part: browsers and curl leave unfinished files of that name, whose bytes
    # may be of another version of the file. Only ours are resumed.
    part = target.with_name(f".{target.name}.pit_jax.part")
    print(f"downloading {remote.url} to {target}", file=sys.stderr)
    try:
        _fetch(remote.url, part)
        # The file gets its name only after its hash is right, so whatever has it can be trusted.
        found = hash_file(part, "md5")
        if found != remote.md5:
            bad = move_aside(part, _name_bad_files(target))
            raise UserError(
                f"{remote.url}: expected a file with md5 {remote.md5}, got {found}. It is kept as "
                f"{bad}; try again, or put the official file at {target} by hand."
            )
        replace_file(part, target)
    except (OSError, HTTPException) as error:
        raise UserError(
            f"{remote.url} could not be fetched to {target} ({error}). Received bytes are kept; "
            "repeat the command to resume."
        ) from error


def _name_bad_files(target: Path) -> Iterator[Path]:
    yield target.with_name(f"{target.name}.bad")
    for number in count(2):
        yield target.with_name(f"{target.name}.{number}.bad")


def _fetch(url: str, part: Path) -> None:
    start = part.stat().st_size if part.exists() else 0
    try:
        response = _open(url, start)
    except HTTPError as error:
        if error.code != 416:
            raise
        return  # 416: the part is already as long as the file. The caller checks its hash.
    part.parent.mkdir(parents=True, exist_ok=True)  # Not before the server answers.
    with response:
        if response.status != 206:
            start = 0  # 200: the server ignored the range and sends the whole file.
        length = response.headers["Content-Length"]
        total = start + int(length) if length else None
        with part.open("ab" if start else "wb") as file, _make_bar() as bar:
            task = bar.add_task(url.rpartition("/")[2], completed=start, total=total)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.advance(task, len(chunk))
    # Not every version of Python raises an error for a connection that drops before its end.
    if total is not None and part.stat().st_size < total:
        raise OSError(f"the connection closed after {part.stat().st_size} of {total} bytes")


def _open(url: str, start: int) -> HTTPResponse:
    headers = {"Range": f"bytes={start}-"} if start else {}
    return urlopen(Request(url, headers=headers), timeout=60)


def _make_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
