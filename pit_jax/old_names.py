"""Old names of what was renamed, each with its new name: an old name works, and a note says so.

Old names are strings in these tables and nowhere else. To rename something add a line here; a
module whose own names are renamed ends with `serve_old_names(__name__)`, and a callable whose
keywords are renamed is decorated with `accept_old_keywords`.
"""

import functools
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T", bound=Callable[..., Any])

# Modules, and what they export.
PUBLIC = {
    "pit_jax.analysis.energy.Report": "pit_jax.analysis.energy.EnergyReport",
    "pit_jax.analysis.energy.layers.of_network": "pit_jax.analysis.energy.layers.price_layer",
    "pit_jax.analysis.energy.layers.of_twin": "pit_jax.analysis.energy.layers.price_twin",
    "pit_jax.analysis.energy.report.as_neurobench": (
        "pit_jax.analysis.energy.report.compute_neurobench"
    ),
    "pit_jax.analysis.energy.report.as_table10": "pit_jax.analysis.energy.report.compute_table10",
    "pit_jax.analysis.energy.report.as_table3": "pit_jax.analysis.energy.report.compute_table3",
    "pit_jax.analysis.landscape.along_themselves": "pit_jax.analysis.landscape.follow_weights",
    "pit_jax.analysis.landscape.losses_so_far": "pit_jax.analysis.landscape.evaluate_by_block",
    "pit_jax.analysis.landscape.moved": "pit_jax.analysis.landscape.list_moved",
    "pit_jax.analysis.landscape.still": "pit_jax.analysis.landscape.keep_still",
    "pit_jax.analysis.learning.first_reaching": "pit_jax.analysis.learning.find_first_epoch",
    "pit_jax.analysis.learning.reached": "pit_jax.analysis.learning.compare_curves",
    "pit_jax.analysis.membrane.of_membranes": "pit_jax.analysis.membrane.estimate_densities",
    "pit_jax.analysis.memory.Kept": "pit_jax.analysis.memory.Residual",
    "pit_jax.analysis.memory.Memory": "pit_jax.analysis.memory.TrainingMemory",
    "pit_jax.analysis.memory.kept": "pit_jax.analysis.memory.list_residuals",
    "pit_jax.analysis.oscillation.in_time": "pit_jax.analysis.oscillation.measure_changes",
    "pit_jax.analysis.oscillation.settled": "pit_jax.analysis.oscillation.average_later_half",
    "pit_jax.analysis.plots.information.by_layer": (
        "pit_jax.analysis.plots.information.plot_by_layer"
    ),
    "pit_jax.analysis.plots.information.compared": "pit_jax.analysis.plots.information.compare",
    "pit_jax.analysis.plots.membrane.flat": "pit_jax.analysis.plots.membrane.plot_from_above",
    "pit_jax.analysis.plots.memory.by_layer": "pit_jax.analysis.plots.memory.plot_by_layer",
    "pit_jax.analysis.plots.oscillation.over_epochs": (
        "pit_jax.analysis.plots.oscillation.plot_over_epochs"
    ),
    "pit_jax.analysis.plots.oscillation.over_time": (
        "pit_jax.analysis.plots.oscillation.plot_over_time"
    ),
    "pit_jax.analysis.plots.quantisation": "pit_jax.analysis.plots.quantization",
    "pit_jax.analysis.plots.quantization.against_levels": (
        "pit_jax.analysis.plots.quantization.plot_against_levels"
    ),
    "pit_jax.analysis.plots.quantization.on_membranes": (
        "pit_jax.analysis.plots.quantization.plot_on_membranes"
    ),
    "pit_jax.analysis.plots.rates.compared": "pit_jax.analysis.plots.rates.compare",
    "pit_jax.analysis.plots.rates.over_steps": "pit_jax.analysis.plots.rates.plot_over_steps",
    "pit_jax.analysis.plots.rates.together": "pit_jax.analysis.plots.rates.plot_synchrony",
    "pit_jax.analysis.plots.scales.over_steps": "pit_jax.analysis.plots.scales.plot_over_steps",
    "pit_jax.analysis.plots.style.COLOURS": "pit_jax.analysis.plots.style.COLORS",
    "pit_jax.analysis.plots.style.GREY": "pit_jax.analysis.plots.style.GRAY",
    "pit_jax.analysis.quantisation": "pit_jax.analysis.quantization",
    "pit_jax.analysis.quantization.Quantised": "pit_jax.analysis.quantization.Quantization",
    "pit_jax.analysis.quantization.Quantized": "pit_jax.analysis.quantization.Quantization",
    "pit_jax.analysis.quantization.rounded_count": "pit_jax.analysis.quantization.round_count",
    "pit_jax.analysis.rates.Firing": "pit_jax.analysis.rates.FiringStatistics",
    "pit_jax.analysis.rates.firing": "pit_jax.analysis.rates.measure_firing",
    "pit_jax.analysis.rates.of_counts": "pit_jax.analysis.rates.measure_counts",
    "pit_jax.analysis.recorded": "pit_jax.analysis.recorder",
    "pit_jax.analysis.recorder.Recorded": "pit_jax.analysis.recorder.LayerRecording",
    "pit_jax.analysis.scales.by_step": "pit_jax.analysis.scales.measure_spread_by_step",
    "pit_jax.analysis.scales.spread": "pit_jax.analysis.scales.measure_spread",
    "pit_jax.inference.ArtefactError": "pit_jax.inference.ArtifactError",
    "pit_jax.inference.artefact": "pit_jax.artifact",
    "pit_jax.inference.errors.ArtefactError": "pit_jax.artifact.ArtifactError",
    "pit_jax.inference.errors.ArtifactError": "pit_jax.artifact.ArtifactError",
    "pit_jax.inference.event_driven.crossover.from_file": (
        "pit_jax.inference.event_driven.crossover.load_crossover"
    ),
    "pit_jax.inference.event_driven.measured": "pit_jax.inference.event_driven.look_up_crossover",
    "pit_jax.inference.event_driven.runtime.Choice": (
        "pit_jax.inference.event_driven.runtime.LayerRun"
    ),
    "pit_jax.inference.fan_out.reach": "pit_jax.inference.fan_out.count_reached",
    "pit_jax.inference.proof": "pit_jax.inference.verify",
    "pit_jax.inference.reach": "pit_jax.inference.fan_out",
    "pit_jax.init": "pit_jax.initializers",
    "pit_jax.interop.completed": "pit_jax.interop.complete",
    "pit_jax.interop.of_neuron": "pit_jax.interop.is_of_neuron",
    "pit_jax.layers.encoding.with_time": "pit_jax.layers.encoding.add_time_axis",
    "pit_jax.layers.norm.standardise": "pit_jax.layers.norm.standardize",
    "pit_jax.models.count.layers": "pit_jax.models.count.count_layers",
    "pit_jax.models.count.layers_of": "pit_jax.models.count.count_traced_layers",
    "pit_jax.models.count.totals": "pit_jax.models.count.count_totals",
    "pit_jax.models.count.totals_of": "pit_jax.models.count.count_traced_totals",
    "pit_jax.models.inputs": "pit_jax.models.published_inputs",
    "pit_jax.models.plain": "pit_jax.models.feedforward",
    "pit_jax.neurons.complementary": "pit_jax.neurons.clif",
    "pit_jax.neurons.gated": "pit_jax.neurons.glif",
    "pit_jax.neurons.mpbn.folded_threshold": "pit_jax.neurons.mpbn.fold_threshold",
    "pit_jax.neurons.normed": "pit_jax.neurons.mpbn",
    "pit_jax.neurons.scan.over_time": "pit_jax.neurons.scan.run_over_time",
    "pit_jax.neurons.scan.widened": "pit_jax.neurons.scan.widen",
}
# Keywords of functions and fields of modules; a section of a config has the same.
KEYWORDS = {
    "normalise": "normalize",
    "parametrise": "parametrize",
}
# Keys of a config, with the sections that they are in: "optimizer.momentum".
CONFIG_KEYS = {
    "anew": "reinitialize",
}
# Analyses, as options of train.analyze and as folders that it wrote.
ANALYSES = {
    "quantisation": "quantization",
}
# Classes of saved programs: in files of format 1, and in the fingerprints of all programs.
SAVED_CLASSES = {
    "Sampled": "Pixels",
    "Summed": "Accumulator",
    "Fired": "Spikes",
    "Attended": "LinearAttention",
}


def accept_old_keywords(function: T) -> T:
    """Make `function`, or the constructor of a class, take its old keywords too."""
    wrapped: Any = function.__init__ if inspect.isclass(function) else function

    @functools.wraps(wrapped)
    def translate(*arguments: Any, **keywords: Any) -> Any:
        for old in KEYWORDS.keys() & keywords.keys():
            _warn(old, KEYWORDS[old])
            keywords[KEYWORDS[old]] = keywords.pop(old)
        return wrapped(*arguments, **keywords)

    if not inspect.isclass(function):
        return translate  # type: ignore[return-value]
    function.__init__ = translate  # type: ignore[method-assign]
    return function


def serve_old_names(module: str, otherwise: Callable[[str], Any] | None = None) -> None:
    """Give the module of this name the old names of what it exports; `otherwise` has new ones.

    The function is set from here, because a module that defines `__getattr__` has any attribute
    in the eyes of a type checker.
    """

    def read_attribute(name: str) -> Any:
        old = f"{module}.{name}"
        if old not in PUBLIC and otherwise is not None:
            return otherwise(name)
        if old not in PUBLIC:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(old, PUBLIC[old])
        return pkgutil.resolve_name(PUBLIC[old])

    vars(sys.modules[module])["__getattr__"] = read_attribute


class OldModules(MetaPathFinder, Loader):
    """Imports modules by their old names; the module is the same object under both."""

    def find_spec(
        self, fullname: str, path: Any, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an old name, else None."""
        return ModuleSpec(fullname, self) if fullname in PUBLIC else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module that has the new name in the place of `module`."""
        old = module.__name__
        _warn(old, PUBLIC[old])
        sys.modules[old] = import_module(PUBLIC[old])


def rename_keys(config: Any, section: str = "") -> None:
    """Rename the old keys of a config, a dict or an unlocked ConfigDict, and print a note of each.

    The value of an old key replaces that of the new one: a page that sets it means it.
    """
    for key in list(config):
        if hasattr(value := config[key], "items"):
            rename_keys(value, f"{section}{key}.")
        if (new := _translate_key(f"{section}{key}").rpartition(".")[2]) != key:
            print_note(f"config.{section}{key}", f"config.{section}{new}")
            config[new] = value
            del config[key]


def translate_flag(word: str) -> str:
    """Return a word of a command line, as the new key where it is `--config.KEY` of an old one."""
    flag, equals, value = word.partition("=")
    option, dot, key = flag.partition("config.")
    if not dot or option.strip("-") not in ("", "no") or (new := _translate_key(key)) == key:
        return word
    print_note(f"config.{key}", f"config.{new}")
    return f"{option}config.{new}{equals}{value}"


def translate_analysis(name: str) -> str:
    """Return the name of an analysis, from one that may be old."""
    if name in ANALYSES:
        print_note(name, ANALYSES[name])
    return ANALYSES.get(name, name)


@functools.cache
def print_note(old: str, new: str) -> None:
    """Print the new name of something, once in a process."""
    print(f"note: {describe(old, new)}", file=sys.stderr)


def describe(old: str, new: str) -> str:
    """Return the note of a name."""
    return f"{old} is now called {new}; the old name still works."


def _translate_key(key: str) -> str:
    section, dot, last = key.rpartition(".")
    return CONFIG_KEYS.get(key) or f"{section}{dot}{KEYWORDS.get(last, last)}"


def _warn(old: str, new: str) -> None:
    # Its caller's caller is the user's line; frames of the import system are not counted.
    warnings.warn(describe(old, new), FutureWarning, stacklevel=3)


sys.meta_path.append(OldModules())
