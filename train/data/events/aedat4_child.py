"""Decodes AEDAT 4 recordings for `aedat4.py`, in a process that damaged files may crash.

Standard input has a line of JSON for each recording: its path, and the most seconds and bytes of
memory that it may take. The answer is a whole number and that many events, or -1 and an error.
"""

import json
import os
import struct
import sys
from collections.abc import Callable
from typing import Any

from pit_jax.reading import limit_process


def main() -> None:
    """Answer until the standard input ends, which it does when the parent ends."""
    from aedat import Decoder  # Before any limit: a first import from a slow disk takes long.

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Nothing that the decoder prints may mix with the answers.
    for line in sys.stdin:
        path, seconds, memory = json.loads(line)
        limit_process(seconds, memory)
        try:
            parts = decode(Decoder, path)
        except BaseException as error:  # Also a PanicException, which is not an Exception.
            limit_process(0, memory)
            message = (str(error) or type(error).__name__).encode(errors="replace")[:1000]
            answers.write(struct.pack("<qq", -1, len(message)) + message)
        else:
            # Neither a parent that is slow to read nor a wait for the next recording may end this
            # process: that recording would be called damaged.
            limit_process(0, memory)
            answers.write(struct.pack("<q", sum(map(len, parts))))
            for part in parts:
                answers.write(part.data.cast("B") if len(part) else b"")
        answers.flush()


def decode(open_file: Callable[[str], Any], path: str) -> list[Any]:
    """Return the events of the stream with the lowest number, an array for each packet."""
    decoder = open_file(path)
    streams = decoder.id_to_stream().items()
    chosen = min((number for number, of in streams if of["type"] == "events"), default=None)
    if chosen is None:
        raise ValueError("there is no stream of events")
    return [packet["events"] for packet in decoder if packet["stream_id"] == chosen]


if __name__ == "__main__":
    main()
