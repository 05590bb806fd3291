"""Several hosts in one process: threads that JAX takes for processes, with its collectives."""

import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

# Only a test that fails waits this long: for a host that has ended without the collective.
PATIENCE_SECONDS = 60


def call_on_hosts(count: int, function: Callable[[int], Any]) -> list[Any]:
    """Call `function(index)` in a thread for each host; return their results or exceptions.

    All hosts must call the same collectives in the same order.
    """
    here = threading.local()
    barrier = threading.Barrier(count, timeout=PATIENCE_SECONDS)
    sent: list[tuple[str, Any]] = [("", None)] * count
    results: list[Any] = [None] * count

    def exchange(collective: str, value: Any) -> list[Any]:
        sent[here.index] = collective, value
        barrier.wait()
        received = list(sent)
        barrier.wait()  # No host sends again before all have received.
        assert {name for name, _ in received} == {collective}, received
        return [each for _, each in received]

    def call(index: int) -> None:
        here.index = index
        try:
            results[index] = function(index)
        except Exception as error:
            results[index] = error

    collectives: dict[str, Callable[[Any], Any]] = {
        "process_allgather": lambda x: np.stack(exchange("allgather", np.asarray(x))),
        "broadcast_one_to_all": lambda x: exchange("broadcast", np.asarray(x))[0],
        "sync_global_devices": lambda name: exchange(f"sync {name}", None),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "process_count", lambda: count)
        patch.setattr(jax, "process_index", lambda: here.index)
        for name, collective in collectives.items():
            patch.setattr(multihost_utils, name, collective)
        threads = [threading.Thread(target=call, args=(index,)) for index in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results
