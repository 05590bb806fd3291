"""Digits as strokes, and small changes of them, as a hand would draw them in a field of side 1."""

import math
import random

Stroke = list[tuple[float, float]]


def arc(x: float, y: float, width: float, height: float, start: int, end: int) -> Stroke:
    """Return points of an ellipse; angles in degrees, 0 to the right and 90 downwards."""
    steps = max(2, abs(end - start) // 10)
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(x + width * math.cos(a), y + height * math.sin(a)) for a in angles]


DIGITS: dict[int, list[Stroke]] = {
    0: [arc(0.5, 0.5, 0.2, 0.3, -90, 270)],
    1: [[(0.38, 0.32), (0.52, 0.2), (0.52, 0.8)]],
    2: [[*arc(0.5, 0.36, 0.18, 0.16, -170, 30), (0.32, 0.8), (0.7, 0.8)]],
    3: [[*arc(0.48, 0.35, 0.17, 0.15, -150, 90), *arc(0.48, 0.65, 0.2, 0.15, -90, 150)]],
    4: [[(0.55, 0.2), (0.3, 0.58), (0.72, 0.58)], [(0.6, 0.42), (0.58, 0.82)]],
    5: [[(0.68, 0.2), (0.38, 0.2), (0.36, 0.47), *arc(0.48, 0.62, 0.2, 0.18, -120, 140)]],
    6: [[(0.6, 0.2), (0.44, 0.36), (0.35, 0.58), *arc(0.5, 0.64, 0.16, 0.16, 180, -180)]],
    7: [[(0.3, 0.2), (0.7, 0.2), (0.46, 0.82)], [(0.38, 0.52), (0.66, 0.52)]],
    8: [[*arc(0.5, 0.35, 0.15, 0.15, 90, -270), *arc(0.5, 0.66, 0.18, 0.16, -90, 270)]],
    9: [[*arc(0.5, 0.37, 0.16, 0.17, 0, -360), (0.66, 0.4), (0.62, 0.62), (0.5, 0.82)]],
}


def change(strokes: list[Stroke], seed: int) -> list[Stroke]:
    """Return the strokes with another size, place, slant and proportion, and a shaking hand."""
    rng = random.Random(seed)
    scale, slant = rng.uniform(0.5, 1.2), rng.uniform(-0.15, 0.25)
    wide, turn = rng.uniform(0.8, 1.2), math.radians(rng.uniform(-8, 8))
    x, y = rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1)

    def move(point: tuple[float, float]) -> tuple[float, float]:
        dx, dy = (point[0] - 0.5) * wide * scale, (point[1] - 0.5) * scale
        dx -= slant * dy
        dx, dy = (
            dx * math.cos(turn) - dy * math.sin(turn),
            dx * math.sin(turn) + dy * math.cos(turn),
        )
        shake = rng.uniform(-0.012, 0.012), rng.uniform(-0.012, 0.012)
        return 0.5 + x + dx + shake[0], 0.5 + y + dy + shake[1]

    return [[move(point) for point in stroke] for stroke in strokes]
