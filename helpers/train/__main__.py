"""Train one of the models that the tutorial reports: ``python -m helpers.train --help``."""

import argparse
import ast
import dataclasses
import json
import math
import os
import shlex
import signal
import sys
from pathlib import Path

import torch

from helpers import machine, mnist, models, train
from helpers.checkpoint import BEST, CheckpointError, load, load_weights, write_published
from helpers.scan import backends
from helpers.train.config import TrainingConfig
from helpers.train.objectives import objective_of
from helpers.train.presets import PRESETS, Preset

# Fields of TrainingConfig that have an option of their own elsewhere, or none.
_NOT_OFFERED = ("steps", "seed", "log_every", "save_every")


def make_parser() -> argparse.ArgumentParser:
    """The command's options. Those of a training are the fields of TrainingConfig."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.train",
        description="Train one of the models that the tutorial reports. If it was interrupted, the same"
        " command resumes it and ends with the same result. Exit status: 0 done, 1 failed, 2 cannot be done as asked,"
        " 130 stopped.",
    )
    parser.add_argument("name", choices=PRESETS, metavar="NAME", help=f"one of {', '.join(PRESETS)}")
    parser.add_argument("--output", type=Path, help="folder of this training (default: build/train/NAME-SEED)")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn at random (default: %(default)s)")
    parser.add_argument("--test", action="store_true", help="at the end, measure the best weights on the test digits")
    parser.add_argument(
        "--devices", type=_positive, metavar="N", help="processes (default: a GPU each, or a CPU core each)"
    )
    parser.add_argument("--precision", choices=["auto", "32-true", "bf16-mixed"], default="auto",
                        help="of matrix products; auto: bfloat16 where that is measured to be faster")  # fmt: skip
    parser.add_argument(
        "--log-every", type=_positive, metavar="STEPS", help="between two lines of the log (default: an epoch)"
    )
    parser.add_argument(
        "--save-every", type=int, default=100, metavar="STEPS", help="between two checkpoints (default: 100)"
    )
    other = parser.add_argument_group("other values than the tutorial's")
    for option in dataclasses.fields(TrainingConfig):
        if option.name not in _NOT_OFFERED:
            name = f"--{option.name.replace('_', '-')}"
            if isinstance(option.default, bool):
                kind = {"action": argparse.BooleanOptionalAction}
            else:
                kind = {"type": type(option.default), "metavar": "VALUE"}
            other.add_argument(name, default=None, help=option.metadata["help"], **kind)
    other.add_argument("--batch-size", type=_positive, metavar="N", help="examples in a batch, over all processes")
    option = {"action": "append", "type": _pair, "default": [], "metavar": "ARGUMENT=VALUE"}
    other.add_argument(
        "--set", **option, help="an argument of the model, such as d_model=32; may be given several times"
    )
    return parser


def _positive(text):
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, got {text!r}")
    return int(text)


def _pair(text):
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"must be ARGUMENT=VALUE, such as d_model=32, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value  # a word, such as a mixer's name


def resolve_preset(options) -> Preset:
    """The training that was asked for: what the name stands for, and what the options change of it."""
    preset = PRESETS[options.name]
    offered = [option.name for option in dataclasses.fields(TrainingConfig) if hasattr(options, option.name)]
    given = {name: getattr(options, name) for name in offered if getattr(options, name) is not None}
    return dataclasses.replace(
        preset,
        arguments=preset.arguments | dict(options.set),
        batch_size=options.batch_size or preset.batch_size,
        config=dataclasses.replace(preset.config, **given),
    )


def settings_of(preset: Preset) -> dict:
    """What a record says of a training, besides the model and its seed."""
    config = {name: value for name, value in preset.config.identity().items() if name not in ("seed", "steps")}
    return {"batch_size": preset.batch_size, "validation": preset.validation, **config}


def main(arguments=None) -> int:
    """Run the command; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        preset = resolve_preset(options)
        _check(preset, options.name)
    except (ValueError, RuntimeError, OSError) as error:  # before anything is trained, or written
        parser.error(str(error))
    folder = options.output or Path("build/train") / f"{options.name}-{options.seed}"
    asked = _Request()
    try:
        _train(options, preset, folder, asked, arguments)
    except (CheckpointError, FloatingPointError, OSError, ValueError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except (train.Stopped, KeyboardInterrupt) as stopped:
        if _speaks():
            said = f"It {stopped}" if isinstance(stopped, train.Stopped) else f"Stopped. What was kept is in {folder}."
            again = shlex.join([sys.orig_argv[0], *_command(arguments)[1:]])  # with the same Python
            print(f"\n{said} To resume:\n    {again}", file=sys.stderr)
        return 130
    return 0


class _Request:
    """Ctrl-C, or SIGTERM, while a training runs: the first asks it to stop after a step, the second stops at once."""

    def __init__(self):
        self._asked = False

    def __call__(self) -> bool:
        return self._asked

    def __enter__(self):
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, *_):
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        if _speaks():
            print("\nIt stops after this step. Once more stops at once.", file=sys.stderr)


def _speaks():
    """Whether this process, of those that train together, is the one that says something."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))) == 0


def _check(preset, name):
    """Raise an error if the data cannot be had, or the model cannot read digits and answer with one of ten."""
    if preset.config.deep_supervision and preset.model != "PixelClassifier":
        raise ValueError(
            f"--deep-supervision asks for answers before the end, which {name} ({preset.model}) cannot give"
        )
    mnist.load(train=True)
    model = models.build(preset.model, preset.arguments)
    if preset.model == "PixelGenerator":
        if preset.config.augment:
            raise ValueError("--augment is for classifiers: a generator is to learn the digits as they are")
        if (model.levels, model.classes) not in ((256, 0), (256, 10)):
            found = f"{model.levels} and {model.classes}"
            raise ValueError(f"levels must be 256, and classes 0 or 10, as the digits have them, got {found}")
        return
    with torch.inference_mode():
        answers = model(torch.zeros(1, 784, 1)).shape[-1]
    if answers != 10:
        raise ValueError(f"classes must be 10, as many as there are digits, got {answers}")


def _without_output(arguments):
    """Drop ``--output``: the recorded command must not depend on the machine."""
    arguments = list(arguments)
    if "--output" in arguments:
        del arguments[(at := arguments.index("--output")) : at + 2]
    return [argument for argument in arguments if not argument.startswith("--output=")]


def _command(arguments):
    return ["python", "-m", "helpers.train", *arguments]


def _launch(options):
    """A Fabric with all its processes started."""
    cuda = torch.cuda.is_available()
    inside = "LOCAL_WORLD_SIZE" in os.environ  # torchrun has started us, and says how many we are
    devices = int(os.environ["LOCAL_WORLD_SIZE"]) if inside else options.devices
    devices = devices or (torch.cuda.device_count() if cuda else torch.get_num_threads())
    nodes = int(os.environ["WORLD_SIZE"]) // devices if inside else 1
    precision = options.precision
    if precision == "auto":
        precision = "bf16-mixed" if machine.faster_in_bfloat16(machine.device()) else "32-true"
    strategy = "ddp" if devices * nodes > 1 else "auto"
    fabric = train.make_fabric(precision, devices=devices, num_nodes=nodes, strategy=strategy)
    fabric.launch()
    if not cuda:
        torch.set_num_threads(max(1, torch.get_num_threads() // devices))
    return fabric, precision


def _train(options, preset, folder, asked, arguments):
    fabric, precision = _launch(options)
    torch.manual_seed(options.seed)
    model = models.build(preset.model, preset.arguments)
    generates = isinstance(model, models.PixelGenerator)
    training, validation, test = mnist.dataloaders(
        preset.batch_size,
        seed=options.seed,
        validation=preset.validation,
        share=(fabric.global_rank, fabric.world_size),
        read=mnist.levels if generates else mnist.sequences,
    )
    settings = {"preset": options.name, "model": preset.model, "arguments": preset.arguments, **settings_of(preset)}
    with asked:  # afterwards all is kept, and Ctrl-C does what it always does
        records = train.fit(
            model,
            training,
            dataclasses.replace(preset.config, log_every=options.log_every or len(training)),
            validation=validation if preset.validation else None,
            fabric=fabric,
            folder=folder,
            settings=settings,
            stop=asked,
        )
    if fabric.global_rank:
        return
    if preset.validation:  # the model has the weights of the last step
        load_weights(model, load(folder / BEST)[0], folder / BEST)
    last = best = records[-1]
    if preset.validation:
        rank = objective_of(model).rank
        best = max(records, key=lambda r: rank(r["validation_accuracy"], r["validation_loss"]))
    record = {
        "model": preset.model,
        "arguments": preset.arguments,
        "parameters": sum(p.numel() for p in model.parameters()),
        "command": shlex.join(_command(_without_output(arguments))),
        "settings": settings_of(preset),
        "seed": options.seed,
        "machine": (torch.cuda.get_device_name() if torch.cuda.is_available() else machine.processor())
        + f", {fabric.world_size} processes of {torch.get_num_threads()} threads",
        "precision": precision,
        "scan": backends(machine.device())[0],
        "versions": machine.versions(("torch", "numba", "lightning-fabric")),
        "step": best["step"],
        "images_per_second": round(last["images"] / max(last["seconds"], 0.1)),
        "seconds_per_epoch": round(last["seconds"] / preset.config.epochs, 1),
        **{name: best[name] for name in best if name.startswith("validation")},
    }
    if generates and preset.validation:
        record["validation_bits"] = best["validation_loss"] / math.log(2)
    if options.test:
        result = train.evaluate(model, test)
    if options.test and generates:
        record |= {"test_loss": result.loss, "test_bits": result.loss / math.log(2)}
        print(f"{record['test_bits']:.4f} bits a pixel on the test digits")
    elif options.test:
        interval = train.wilson_interval(result.accuracy, len(result.labels))
        record |= {"test_loss": result.loss, "test_accuracy": result.accuracy, "test_interval": interval}
        print(f"test accuracy {result}")
    write_published(options.name, folder, model, record)
    print(json.dumps(record, indent=2))
    print(f'Its weights: helpers.models.load_checkpoint("{options.name}", "{folder}")', file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
