"""Event-camera recordings: files to structured arrays, and structured arrays to frames.

files.py reads and writes recordings, stream.py has their data type, frames.py integrates events to
frames, and camera.py simulates an event camera that looks at still images. All of it needs NumPy
only. Start at `integrate_by_number`. Data sets of recordings are in `train/data/events/`.
"""

from pit_jax.events.camera import Camera
from pit_jax.events.files import read_aedat2, read_aedat31, read_atis, write_aedat2
from pit_jax.events.frames import integrate_by_number, integrate_by_time
from pit_jax.events.stream import EVENT, make_events

__all__ = [
    "EVENT",
    "Camera",
    "integrate_by_number",
    "integrate_by_time",
    "make_events",
    "read_aedat2",
    "read_aedat31",
    "read_atis",
    "write_aedat2",
]
