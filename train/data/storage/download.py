"""Downloads the official archive of a data set: announced, resumable and checked by hash."""

import re
import secrets
import sys
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from pit_jax.display import print_text
from pit_jax.reading import quote_error

from ...errors import UserError
from ...files import hash_file, move_aside, replace_file
from ...terminal import Terminal
from .lock import hold_lock

CHUNK = 1 << 20
TIMEOUT = 60  # Seconds without a byte.
PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|!--|html|head|\?xml)", re.IGNORECASE)
REASONS = {
    401: "the server asks for a login (401)",
    403: "the server refuses it (403)",
    404: "the server has no such file (404)",
    410: "the server no longer has the file (410)",
    429: "the server received too many requests (429)",
}


class NoFile(OSError):
    """An answer of a server that is not the file; another attempt would not help."""


class Remote(NamedTuple):
    """A file on a server and the hash that its authors publish."""

    url: str
    md5: str


def download(remote: Remote, target: Path) -> None:
    """Fetch `remote` to `target`; resume where an earlier attempt stopped.

    Another process that fetches the same file is waited for. A file with a wrong hash is kept as
    `target.bad`, `target.2.bad` and so on. Raises `UserError` for a wrong hash, and if the server
    or the disk fails.
    """
    # Our own suffix, not .part: browsers and curl leave unfinished files of that name, whose bytes
    # may be of another version of the file. Only ours are resumed.
    part = target.with_name(f".{target.name}.pit_jax.part")
    print_text(f"downloading {remote.url} to {target}", sys.stderr)
    try:
        if not target.parent.is_dir():  # An address that fails makes no folder.
            _open(remote.url, 0).close()
        with hold_lock(target, f"downloads {remote.url}") as locked:
            if target.exists():  # The other process has fetched it.
                return
            if not locked:
                part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.pit_jax.part")
            _fetch(remote.url, part)
            _publish(remote, part, target)
    except UserError:
        raise
    except (OSError, HTTPException, ValueError) as error:  # ValueError: an invalid redirect.
        message = f"{remote.url} could not be fetched to {target} ({_explain(error)}). "
        advice = _advise(error, target, part)
        if isinstance(error, HTTPError):
            error.close()  # The error is the answer of the server and holds the connection.
        raise UserError(message + advice) from error


def _publish(remote: Remote, part: Path, target: Path) -> None:
    # The file gets its name only after its hash is right, so whatever has it can be trusted.
    found = hash_file(part, "md5")
    if found != remote.md5:
        bad = move_aside(part, _name_bad_files(target))
        raise UserError(
            f"{remote.url}: expected a file with md5 {remote.md5}, got {found}. It is kept as "
            f"{bad}; try again, or put the official file at {target} by hand."
        )
    replace_file(part, target)


def _explain(error: Exception) -> str:
    """Return in a few words what failed: the server, the network or the disk."""
    if isinstance(error, HTTPError):
        if 300 <= error.code < 400:
            return f"the server redirects in a circle, or to no web address ({error.code})"
        return REASONS.get(error.code, f"the server answered {error.code} {error.reason}".strip())
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return f"the server did not answer for {TIMEOUT} seconds"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return quote_error(reason) if isinstance(reason, Exception) else str(reason)


def _advise(error: Exception, target: Path, part: Path) -> str:
    """Return what to do; a retry is suggested only for errors that may be temporary."""
    passing = not isinstance(error, HTTPError) or error.code == 429 or error.code >= 500
    if not passing or isinstance(error, NoFile):
        return f"Put the official file at {target} by hand."
    if part.is_file() and part.stat().st_size:
        return "Received bytes are kept; repeat the command to resume."
    return f"Repeat the command later, or put the official file at {target} by hand."


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
        error.close()
        return  # 416: the part is already as long as the file. The caller checks its hash.
    if response.status == 206 and not _resumes(response, start):
        response.close()
        response = _open(url, 0)
    with response:
        if response.status != 206:
            start = 0  # 200: the server ignored the range and sends the whole file.
        length = response.headers["Content-Length"] or ""
        # Without a number, the end of the connection is the end of the file; its hash decides.
        total = start + int(length) if re.fullmatch(r"[0-9]{1,15}", length) else None
        chunk = response.read(CHUNK)
        if start == 0 and not chunk:
            raise NoFile("the server sent an empty answer instead of the file")
        if start == 0 and PAGE.match(chunk):
            # Not saved: the next attempt would resume after the page.
            raise NoFile("the server sent a web page, such as a login, instead of the file")
        with part.open("ab" if start else "wb") as file, _make_bar() as bar:
            task = bar.add_task(url.rpartition("/")[2], completed=start, total=total)
            while chunk:
                file.write(chunk)
                bar.advance(task, len(chunk))
                chunk = response.read(CHUNK)
    # Not every version of Python raises an error for a connection that drops before its end.
    if total is not None and part.stat().st_size < total:
        raise OSError(f"the connection closed after {part.stat().st_size} of {total} bytes")


def _resumes(response: HTTPResponse, start: int) -> bool:
    """Return whether an answer with a part of the file begins at byte `start`."""
    given = response.headers["Content-Range"]
    return given is None or given.startswith(f"bytes {start}-")


def _open(url: str, start: int) -> HTTPResponse:
    headers = {"Range": f"bytes={start}-"} if start else {}
    return urlopen(Request(url, headers=headers), timeout=TIMEOUT)


def _make_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Terminal(stderr=True),
    )
