"""A worker whose times are computed, not measured: `fake_worker.py SEED FACTOR [FAULT]`.

A turn takes FACTOR times what a machine would that slows down by half over time, with a noise of
three percent that depends on SEED. FAULT is "missing", "raises" or "dies".
"""

import json
import math
import random
import sys


def main() -> None:
    seed, factor, fault = int(sys.argv[1]), float(sys.argv[2]), (*sys.argv[3:], "")[0]
    noise, turns = random.Random(seed), 0
    for line in sys.stdin:
        request = json.loads(line)
        match request["do"], fault:
            case "prepare", "missing":
                answer = {"ok": False, "missing": True, "reason": "fake is not installed"}
            case "prepare", _:
                answer = {"ok": True, "first_seconds": 1.0, "seconds": 0.01, "work": 2.0}
                answer["repeats"] = 0
                answer |= {"versions": {"fake": "1"}, "details": {"parameters": 3}}
            case "measure", "raises":
                answer = {"ok": False, "reason": "RuntimeError: the fake raised"}
            case "measure", "dies":
                sys.exit("the fake died")
            case "measure", _:
                machine = 0.01 * (1.5 + 0.5 * math.sin(turns))
                seconds = factor * machine * math.exp(noise.gauss(0, 0.03))
                answer = {"ok": True, "seconds": seconds, "repeats": request["repeats"]}
                turns += 1
            case _:
                answer = {"ok": True, "peak_mib": 100.0}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
