"""Fetches the official archive of a data set: said first, resumed after a stop, checked by hash."""

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
    """A file on a server and the hash that its authors give for it."""

    url: str
    md5: str


def download(remote: Remote, target: Path) -> None:
    """Fetch `remote` to `target`; resume where an earlier attempt stopped.

    Until its hash is found right it has a name that no other program gives; with another hash it is
    kept as `target.bad`, or `target.2.bad` and so on. Raises `UserError` for that, and where server
    or disk fail.
    """
    part = target.with_name(f".{target.name}.pit_jax.part")
    print(f"downloading {remote.url} to {target}", file=sys.stderr)
    try:
        _fetch(remote.url, part)
        found = hash_file(part, "md5")
        if found != remote.md5:
            bad = move_aside(part, _names_of_bad(target))
            raise UserError(
                f"{remote.url}: expected a file with md5 {remote.md5}, got {found}. It is kept as "
                f"{bad}; try again, or put the official file at {target} by hand."
            )
        replace_file(part, target)
    except (OSError, HTTPException) as error:
        raise UserError(
            f"{remote.url} could not be fetched to {target} ({error}). What came is kept; the same "
            "command goes on with it."
        ) from error


def _names_of_bad(target: Path) -> Iterator[Path]:
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
        return  # Nothing is left to fetch: the hash will tell.
    part.parent.mkdir(parents=True, exist_ok=True)  # Not before the server has answered.
    with response:
        if response.status != 206:
            start = 0  # A server that cannot resume sends all of it.
        length = response.headers["Content-Length"]
        total = start + int(length) if length else None
        with part.open("ab" if start else "wb") as file, _make_bar() as bar:
            task = bar.add_task(url.rpartition("/")[2], completed=start, total=total)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.advance(task, len(chunk))
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
