"""The numbers of a run for TensorBoard: `tensorboard --logdir WORKDIR`."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# Not SummaryWriter: after its writer thread has died of a full disk, it blocks forever.
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from .jsonl import collect_scalars


class TensorBoard:
    """One event file in `folder`, rewritten from the `lines` of metrics.jsonl so far."""

    def __init__(self, folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
        folder.mkdir(exist_ok=True)
        # Absolute, because tensorboardX would send a relative path in `s3:` or `gs:` to a server.
        folder = folder.absolute()
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._file = EventsWriter(str(folder / "events"))
        # START makes a TensorBoard that is running drop the points of the old file, which follow
        # again.
        self._write(step=0, session_log=SessionLog(status=SessionLog.START))
        for line in lines:
            self.write_step(line)
        self._file.flush()

    def write_step(self, record: Mapping[str, Any]) -> None:
        """Write a point for each number; it is on disk when the epoch ends."""
        values = [
            Summary.Value(tag=name, simple_value=number)
            for name, number in collect_scalars(record).items()
        ]
        self._write(step=record["step"], summary=Summary(value=values))

    def write_epoch(self, record: Mapping[str, Any]) -> None:
        """Write a point for each number and wait until all points are on disk."""
        self.write_step(record)
        self._file.flush()

    def close(self) -> None:
        """Write the remaining points."""
        self._file.close()

    def _write(self, **fields: Any) -> None:
        self._file.write_event(Event(wall_time=time.time(), **fields))
