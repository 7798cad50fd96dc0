"""The trainings that this tutorial reports, by name, and the command that runs them: ``python -m helpers.train``.

``epochs`` and the learning rate were chosen on validation images. ``validation=0`` trains on all 60,000 images, where
nothing is chosen.
"""

import argparse
import ast
import json
import os
import shlex
import signal
import sys
import threading
from pathlib import Path

import torch
from lightning_fabric import Fabric

from helpers import measure, mnist, models, train
from helpers.checkpoint import BEST, LAST, CheckpointError, load, publishable
from helpers.scan import backends

PERMUTATION = 92916  # the seed of the fixed order in which permuted MNIST is read


def _classifier(mixer, epochs, lr, batch_size=32, weight_decay=0.05, **arguments):
    arguments = {"mixer": mixer, **arguments}
    return {
        "model": "PixelClassifier",
        "arguments": arguments,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "weight_decay": weight_decay,
    }


def _clocked(epochs, **arguments):
    """What is published: a Mamba with a clock, asked for answers after rows, from the tenth on, while it learns."""
    arguments = {"d_model": 64, "n_layer": 3, "d_state": 8, "dropout": 0.1, "pooling": "sum", **arguments}
    return {**_classifier("rotary", epochs, 5e-3, **arguments), "ssm_lr": 1e-3, "early": 0.3}


def _permuted(epochs):
    """The same size for an order without neighbours: every position is told where it is, and the last one answers.

    Muon trains the matrices in the blocks, as in the small ones.
    """
    run = _clocked(epochs, pooling="last", permutation=PERMUTATION, places=True)
    return {**run, "lr": 3e-3, "muon": 0.02, "ssm_lr": 0.0}


def _small(mixer, muon, lr, d_model=32, **arguments):
    """Two layers and some 17,400 parameters, whatever mixes; the best of four pairs of learning rates."""
    return {**_classifier(mixer, 1, lr, d_model=d_model, n_layer=2, **arguments), "muon": muon}


def _recipe(**arguments):
    """The common recipe, to the letter: 10 epochs of Adam at 1e-4, in batches of 32, without clipping."""
    return {
        "model": "FlattenedClassifier",
        "arguments": arguments,
        "epochs": 10,
        "batch_size": 32,
        "lr": 1e-4,
        "weight_decay": 0.0,
        "constant": True,
        "clip": 0.0,
        "validation": 0,
    }


RUNS = {
    "smnist": _clocked(20),
    "psmnist": _permuted(16),
    "small-mamba": _small("mamba", 0.02, 3e-3, d_state=8),
    "small-rotary": _small("rotary", 0.02, 3e-3, d_state=8),
    "small-memoryless": _small("memoryless", 0.02, 3e-3, d_state=8),
    "small-s4d": _small("s4d", 0.02, 3e-3, d_model=40, d_state=64),
    "small-lstm": _small("lstm", 0.0, 1e-2),
    "small-attention": _small("attention", 0.006, 3e-3, n_head=2),
    "recipe": _recipe(mixer="mamba"),
    "recipe-frozen": _recipe(mixer="frozen"),
    "recipe-identity": _recipe(mixer="identity"),
    "recipe-permuted": _recipe(mixer="mamba", permutation=PERMUTATION),
}


# --- the command ------------------------------------------------------------------------------------------------------


def faster_in_bfloat16(device) -> bool:
    """Whether this hardware multiplies matrices of a block's size at least 1.3 times as fast in bfloat16, measured."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return False  # it can, but in software
    took = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, w = (torch.ones(shape, dtype=dtype, device=device) for shape in ((8192, 64), (64, 256)))
        took[dtype] = min(measure.once(lambda x=x, w=w: x @ w) for _ in range(10))
    return took[torch.float32] > 1.3 * took[torch.bfloat16]


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m helpers.train",
        description="Train one of the classifiers that the tutorial reports. Where it was stopped, or cut off, the same"
        " command takes it up again and ends with the same result. Exit status: 0 done, 1 failed, 130 stopped.",
    )
    parser.add_argument("name", choices=RUNS, metavar="NAME", help=f"one of {', '.join(RUNS)}")
    parser.add_argument("--output", type=Path, help="folder of this training (default: build/train/NAME-SEED)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and dropout (default: %(default)s)")
    parser.add_argument("--test", action="store_true", help="in the end, measure the best weights on the test digits")
    parser.add_argument("--devices", type=int, metavar="N", help="processes (default: a GPU each, or a CPU core each)")
    parser.add_argument("--precision", choices=["auto", "32-true", "bf16-mixed"], default="auto",
                        help="of matrix products; auto: bfloat16 where that is measured to be faster")  # fmt: skip
    parser.add_argument("--every", type=int, default=0, metavar="STEPS", help="between two lines of the log (an epoch)")
    parser.add_argument("--save-every", type=int, default=100, metavar="STEPS", help="between two checkpoints (100)")
    other = parser.add_argument_group("other values than the tutorial's")
    other.add_argument("--epochs", type=float)
    other.add_argument("--lr", type=float)
    other.add_argument("--muon", type=float, metavar="LR", help="Muon's, for the matrices in the blocks (0: AdamW's)")
    other.add_argument("--ssm-lr", type=float, metavar="LR", help="of the step size, A, B and C (0: the same as --lr)")
    other.add_argument("--early", type=float, metavar="WEIGHT", help="of the answers after each row from the tenth on")
    other.add_argument("--batch-size", type=int)
    other.add_argument("--weight-decay", type=float)
    option = {"action": "append", "type": _pair, "default": [], "metavar": "ARGUMENT=VALUE"}
    other.add_argument("--set", **option, help="of the model, such as d_model=32; may be given several times")
    return parser


def _pair(text):
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"must be ARGUMENT=VALUE, such as d_model=32, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value  # a word, such as a mixer's name


def _asked(options) -> dict:
    """The training that was asked for: what the name stands for, and what the options change of it."""
    run = {"validation": 5_000, "constant": False, "clip": 1.0, **RUNS[options.name]}
    for name in ("epochs", "lr", "muon", "ssm_lr", "early", "batch_size", "weight_decay"):
        if getattr(options, name) is not None:
            run[name] = getattr(options, name)
    run["arguments"] = run["arguments"] | dict(options.set)
    return run


def main(arguments=None) -> int:
    """Run the command; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    run = _asked(options)
    folder = options.output or Path("build/train") / f"{options.name}-{options.seed}"
    asked = threading.Event()
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _train(options, run, folder, asked.is_set, arguments)
    except (CheckpointError, FloatingPointError, OSError, ValueError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except train.Stopped as stopped:
        command = _command(arguments)
        if int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))) == 0:
            print(f"\nIt {stopped} To go on:\n    {command}", file=sys.stderr)
        return 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _without_output(arguments):
    """Where the files went is nobody's business but the machine's."""
    arguments = list(arguments)
    if "--output" in arguments:
        del arguments[(at := arguments.index("--output")) : at + 2]
    return [argument for argument in arguments if not argument.startswith("--output=")]


def _command(arguments):
    return shlex.join(["python", "-m", "helpers.train", *arguments])


def _train(options, run, folder, stop, arguments):
    if run.get("early") and run["model"] != "PixelClassifier":
        raise ValueError(f"--early asks for answers before the end, which {options.name} ({run['model']}) cannot give")
    cuda = torch.cuda.is_available()
    inside = "LOCAL_WORLD_SIZE" in os.environ  # torchrun has started us, and says how many we are
    devices = int(os.environ["LOCAL_WORLD_SIZE"]) if inside else options.devices
    devices = devices or (torch.cuda.device_count() if cuda else torch.get_num_threads())
    nodes = int(os.environ["WORLD_SIZE"]) // devices if inside else 1
    device = torch.device("cuda" if cuda else "cpu")
    precision = options.precision
    if precision == "auto":
        precision = "bf16-mixed" if faster_in_bfloat16(device) else "32-true"
    fabric = Fabric(
        accelerator=device.type,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        precision=precision,
    )
    fabric.launch()
    if not cuda:
        torch.set_num_threads(max(1, torch.get_num_threads() // devices))
    torch.manual_seed(options.seed)
    model = models.build(run["model"], run["arguments"])
    loaders = mnist.dataloaders(
        run["batch_size"],
        seed=options.seed,
        validation=run["validation"],
        share=(fabric.global_rank, fabric.world_size),
    )
    epoch = len(loaders[0])
    records = train.fit(
        model,
        loaders[0],
        round(run["epochs"] * epoch),
        lr=run["lr"],
        muon=run.get("muon", 0.0),
        ssm_lr=run.get("ssm_lr", 0.0),
        weight_decay=run["weight_decay"],
        constant=run["constant"],
        clip=run["clip"],
        early=run.get("early", 0.0),
        every=options.every or epoch,
        validation=loaders[1] if run["validation"] else None,
        seed=options.seed,
        fabric=fabric,
        folder=folder,
        settings={"run": options.name, "seed": options.seed, **run},
        save_every=options.save_every,
        stop=stop,
    )
    if fabric.global_rank:
        return
    weights = load(folder / (BEST if run["validation"] else LAST))
    model.load_state_dict(weights if run["validation"] else weights["model"])
    last = records[-1]
    best = max(records, key=lambda r: (r["validation_accuracy"], -r["validation_loss"])) if run["validation"] else last
    about = {
        "model": run["model"],
        "arguments": run["arguments"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "command": _command(_without_output(arguments)),
        "settings": {name: value for name, value in run.items() if name not in ("model", "arguments")},
        "seed": options.seed,
        "machine": (torch.cuda.get_device_name() if cuda else measure.processor())
        + f", {fabric.world_size} processes of {torch.get_num_threads()} threads",
        "precision": precision,
        "scan": backends(device)[0],
        "versions": measure.versions(("torch", "numba", "lightning-fabric")),
        "step": best["step"],
        "images_per_second": round(last["images"] / last["seconds"]),
        "seconds_per_epoch": round(last["seconds"] / run["epochs"], 1),
        **{name: best[name] for name in best if name.startswith("validation")},
    }
    if options.test:
        test = train.evaluate(model, loaders[2])
        about |= {
            "test_loss": test.loss,
            "test_accuracy": test.accuracy,
            "test_interval": train.interval(test.accuracy, 10_000),
        }
        print(f"test accuracy {test}")
    publishable(options.name, folder, model, about)
    print(json.dumps(about, indent=2))
