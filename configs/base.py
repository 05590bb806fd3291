"""The keys that every config has and most leave as they are.

Learning rate, batch size, epochs, optimizer, model, neuron and augmentation are in each config.
"""

from ml_collections import ConfigDict


def base() -> ConfigDict:
    """A config with these keys; a file of this folder adds the rest."""
    config = ConfigDict()
    config.seed = 0
    # Virtual devices, on CPUs only; why one is the default says docs/theory/decisions.md.
    config.cpu_devices = 1
    # A folder of another run, or one that pit_jax.interop wrote: the run starts from its weights,
    config.pretrained = ""
    # but for these layers, by how their names or a part of them begin: ("head", "PIT").
    config.reinitialize = ()
    # Layers that keep their weights, named so too: ("stem", "stage1").
    config.freeze = ()
    # A batch passes the network in so many parts, to save memory; norms see one part at a time.
    config.accumulate = 1
    # Above 0, tests are made with an exponential average of the weights that keeps this part of
    # itself at each step, e.g. 0.9998.
    config.averaging = 0.0
    # Steps of a run that are left out because their loss or gradient is not finite; one more, and
    # the run stops and says where it began.
    config.skip = 0
    # metrics.jsonl gets a line for each epoch, and for one of every so many steps; 0 is none.
    config.log_every = 50
    # The same for TensorBoard, in the folder tensorboard/ of the run.
    config.tensorboard = True
    # The same for Weights & Biases, if a project is named and `pip install wandb` was done.
    config.wandb = {"project": ""}
    # Every so many epochs, 0 is never, the scales, firing and rounding of every layer are measured
    # on so many training samples; what is out of its range is said in a line.
    config.health = {"images": 64, "every_epochs": 1}
    # The first and the last step of a trace for XProf, e.g. (20, 25).
    config.profile_steps = ()
    # Kept beside the best and that of step 0: the newest few, and one every so many epochs. The
    # newest is that of an epoch, or one of every so many steps within it. 0 is never. Epochs that
    # end sooner after the latest written one than so many seconds wait in memory.
    config.checkpoints = {"last": 2, "every_epochs": 0, "every_steps": 0, "seconds_apart": 30.0}
    return config
