"""Event-camera recordings: files to structured arrays, and structured arrays to frames.

files.py reads and writes recordings, with the headers of headers.py; arrays.py reads NumPy's files.
stream.py has the data type of events and converts anything else to it, with the checks of
values.py. frames.py integrates events to frames, and camera.py simulates an event camera that looks
at still images. All of it needs NumPy only. Start at `integrate_by_number`. Data sets of recordings
are in `train/data/events/`.
"""

from pit_jax.events.arrays import read_npz
from pit_jax.events.camera import Camera
from pit_jax.events.files import SkippedWords, read_aedat2, read_aedat31, read_atis, write_aedat2
from pit_jax.events.frames import integrate_by_number, integrate_by_time
from pit_jax.events.stream import EVENT, convert_events, make_events

__all__ = [
    "EVENT",
    "Camera",
    "SkippedWords",
    "convert_events",
    "integrate_by_number",
    "integrate_by_time",
    "make_events",
    "read_aedat2",
    "read_aedat31",
    "read_atis",
    "read_npz",
    "write_aedat2",
]
