"""The keys that every config has, with values that most configs keep.

Each config adds learning rate, batch size, epochs, optimizer, model, neuron and augmentation.
"""

from ml_collections import ConfigDict


def base() -> ConfigDict:
    """Return a config with the keys that all configs share; each page adds the others."""
    config = ConfigDict()
    config.seed = 0
    # Virtual devices, on CPUs only. docs/theory/decisions.md explains why one is the default.
    config.cpu_devices = 1
    # The folder of another run, or one written by pit_jax.interop, whose weights are the start.
    config.pretrained = ""
    # Layers that `pretrained` does not set, by prefixes of parts of their names: ("head", "PIT").
    config.reinitialize = ()
    # Layers whose weights stay fixed, by prefixes too: ("stem", "stage1").
    config.freeze = ()
    # The number of parts in which a batch passes the network, to save memory. Norms see one part at
    # a time.
    config.accumulate = 1
    # Above 0, tests use an exponential average of the weights with this decay, such as 0.9998.
    config.averaging = 0.0
    # How many training steps may be skipped because loss or gradient is not finite. One more stops
    # the run, with the layer where it began.
    config.skip = 0
    # Training steps from one line in metrics.jsonl to the next; 0 writes one for each epoch only.
    config.log_every = 50
    # Epochs from one evaluation to the next. The last epoch is always evaluated; with 0, only it.
    config.evaluate_every = 1
    # Also write these records for TensorBoard, to tensorboard/ in the folder of the run.
    config.tensorboard = True
    # The project in Weights & Biases that receives the records; needs `pip install wandb`.
    config.wandb = {"project": ""}
    # Training samples on which scales, firing and rounding of every layer are measured, and epochs
    # from one measurement to the next; 0 never measures.
    config.health = {"images": 64, "every_epochs": 1}
    # The first and the last training step of a trace for XProf, such as (20, 25).
    config.profile_steps = ()
    # The checkpoints to keep in addition to the first and the best: the newest `last` and one of
    # every `every_epochs`. One is saved after each epoch and every `every_steps` within it; 0 never
    # does. A checkpoint that follows another within `seconds_apart` waits in memory.
    config.checkpoints = {"last": 2, "every_epochs": 0, "every_steps": 0, "seconds_apart": 30.0}
    return config
