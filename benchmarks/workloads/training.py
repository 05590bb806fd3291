"""Training steps of networks, shared by W3 (resnet.py), W4 (sew_resnet.py) and W5 (vgg.py).

Ours run through `python -m train.main`, with its augmentation, logging and checkpoints; with
`through: "step"` in the task as a plain jitted step, which needs only pit_jax, Flax and optax. The
peers' steps have one batch, resident on the device, and no augmentation. All use SGD with momentum
0.9 and weight decay 5e-4, and cross-entropy of the mean over time.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.workload import MIB, Missing, Subject


def make(peer: str, task: dict[str, Any]) -> Subject:
    """Return the training steps of a peer."""
    if task.get("small"):
        task = {**task, "batch": 4, "steps_per_epoch": 2, **task.get("if_small", {"width": 4})}
    name, _, path = peer.partition("-")
    if name == "pit_jax" and task.get("through", "train.main") == "train.main":
        from benchmarks.workloads.train_main import TrainingRun

        return TrainingRun(task)
    if name == "pit_jax":
        return make_ours(task)
    if name == "flax":
        return make_flax(task)
    if name in ("pytorch", "spikingjelly"):
        return make_torch(task, compiled=path == "compiled")
    raise Missing(f"{peer} has no {task['network']}")


def make_ours(task: Mapping[str, Any]) -> Subject:
    """Return a plain jitted step of one of our networks."""
    import jax.numpy as jnp

    from pit_jax import models, neurons
    from pit_jax.tuning import compiler_options

    names = {"LIF": "LIF", "I-LIF": "ILIF", "PIT": "PIT", "ReLU": "ReLU", "IF": "IF"}
    fields = {"levels": task["levels"]} if "levels" in task else {}
    model = models.create(
        task["network"],
        num_classes=task["classes"],
        neuron=partial(neurons.NEURONS[names[task["neuron"]]], **fields),
        num_steps=task["steps"],
        dtype=jnp.dtype(task.get("dtype", "float32")),
        **{key: task[key] for key in ("width", "widths") if key in task},
    )
    return make_jax_subject(model, task, compiler_options("train"))


def make_flax(task: Mapping[str, Any]) -> Subject:
    """Return a jitted step of the same network in plain Flax."""
    from benchmarks.workloads.flax_networks import ResNet18

    return make_jax_subject(ResNet18(task["classes"], task.get("width", 64)), task, None)


def make_jax_subject(model: Any, task: Mapping[str, Any], options: Any) -> Subject:
    """Return training steps of a Flax module on one batch that stays on the device."""
    import jax
    import jax.numpy as jnp
    import optax

    images = jax.random.normal(jax.random.key(0), (task["batch"], *task["shape"]))
    labels = jax.random.randint(jax.random.key(1), (task["batch"],), 0, task["classes"])
    variables = jax.jit(partial(model.init, train=True))(jax.random.key(2), images)
    optimizer = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.1, momentum=0.9))
    rest = {name: value for name, value in variables.items() if name != "params"}

    def loss(params: Any, rest: Any, key: Any) -> Any:
        logits, changed = model.apply(
            {"params": params, **rest},
            images,
            train=True,
            mutable=list(rest),
            rngs={"dropout": key},
        )
        logits = logits.astype(jnp.float32)
        logits = logits.mean(1) if logits.ndim == 3 else logits
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), changed

    def step(state: Any) -> Any:
        params, rest, slots, key = state
        key, used = jax.random.split(key)
        (_, rest), grads = jax.value_and_grad(loss, has_aux=True)(params, rest, used)
        updates, slots = optimizer.update(grads, slots, params)
        return optax.apply_updates(params, updates), rest, slots, key

    params = variables["params"]
    state = [(params, rest, optimizer.init(params), jax.random.key(3))]
    details: dict[str, Any] = {"parameters": sum(x.size for x in jax.tree.leaves(params))}
    if options:
        from pit_jax.tuning import describe_tuning

        details["tuning"] = describe_tuning()
    jitted, programs = jax.jit(step, donate_argnums=0, compiler_options=options), []

    def run() -> None:
        if not programs:  # The first run compiles.
            programs.append(jitted.lower(state[0]).compile())
            analysis = programs[0].memory_analysis()
            if analysis is not None:
                details["temporary_mib"] = round(analysis.temp_size_in_bytes / MIB, 1)
        state[0] = programs[0](state[0])
        jax.block_until_ready(state[0][0])

    return Subject(run, work=float(task["batch"]), details=details)


def make_torch(task: Mapping[str, Any], *, compiled: bool) -> Subject:
    """Return training steps of a network in PyTorch."""
    import torch

    from benchmarks.workloads import torch_networks

    torch.manual_seed(0)
    network = torch_networks.make_network(task)
    # Channels before height and width; time before samples.
    shape = (task["batch"], *task["shape"])
    x = torch.randn(shape).movedim(-1, -3)
    x = x.movedim(1, 0) if x.ndim == 5 else x
    training = torch_networks.Training(
        network,
        x,
        task["classes"],
        dtype=task.get("dtype", "float32"),
        compiled=compiled,
        layout=task.get("layout", ""),
    )
    details = {
        "layout": training.layout,
        "parameters": torch_networks.count_parameters(network),
        "threads": torch.get_num_threads(),
    }
    return Subject(training.run, work=float(task["batch"]), details=details)
