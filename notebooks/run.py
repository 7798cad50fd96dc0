"""Execute the notebooks, in order, for real: ``python notebooks/run.py``.

Each is executed from its first cell to its last in a fresh kernel, and saved into an output folder; the committed ones
stay as they are. The first cell that fails ends the run with its notebook, its number and its traceback.
"""

import argparse
import math
import re
import shutil
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

HERE = Path(__file__).resolve().parent
# What tqdm writes: a bar up to its times, as in "[00:01<00:02, 9.7it/s]"; spaces over one that is done; a step up.
BAR = re.compile(r"\r[^\r\n]*?\[\d[\d:]*[<,][^\r\n\]]*\]|\r *(?=[\r\n]|$)|\x1b\[A")


class Client(NotebookClient):
    """Executes a notebook, keeps one line on the terminal up to date, and leaves progress bars out of the outputs."""

    label = ""
    current = 0  # the cell that runs now, counted from 1, Markdown included

    def say(self, text: str) -> None:
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            print("\r" + f"{self.label} {text}"[:width].ljust(width), end="", flush=True)

    async def async_execute_cell(self, cell, cell_index, *args, **kwargs):
        self.current = cell_index + 1
        self.say(f"cell {self.current} of {len(self.nb.cells)}")
        return await super().async_execute_cell(cell, cell_index, *args, **kwargs)

    def output(self, outs, msg, display_id, cell_index):
        content = msg["content"]
        if msg["msg_type"] == "stream" and content["name"] == "stderr" and (bars := BAR.findall(content["text"])):
            self.say(f"cell {self.current} of {len(self.nb.cells)}: {bars[-1].strip()}")
            content["text"] = BAR.sub("", content["text"])  # a warning can stand between two of them
            if not content["text"].strip():
                return None
        return super().output(outs, msg, display_id, cell_index)


def tidy(notebook) -> None:
    """Drop what differs from run to run and says nothing: times of execution, the kernel's patch version."""
    for_colab = {key: notebook.metadata[key] for key in ("accelerator", "colab") if key in notebook.metadata}
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        **for_colab,
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def results(notebook) -> str:
    """What the cells tagged ``result`` printed."""
    cells = [cell for cell in notebook.cells if "result" in cell.metadata.get("tags", [])]
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


def execute(path: Path, target: Path, label: str, timeout: float, minutes: float = math.inf) -> str:
    """Execute one notebook into ``target``; return its results, or exit with what went wrong.

    Args:
        path, target: of the notebook, and of the executed one.
        label: the beginning of the line on the terminal.
        timeout: seconds that a cell may take.
        minutes: that all cells together may take.
    """
    notebook = nbformat.read(path, as_version=4)
    began = time.perf_counter()
    client = Client(
        notebook,
        timeout_func=lambda cell: max(1.0, min(timeout, 60 * minutes - (time.perf_counter() - began))),
        kernel_name="python3",
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],  # the kernel's own warnings are not the notebook's
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )
    client.label = label
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        failed = target.with_suffix(".failed.ipynb")
        nbformat.write(notebook, failed)
        sys.exit(f"\n{label} failed in cell {client.current} of {len(notebook.cells)}; so far: {failed}\n\n{error}")
    tidy(notebook)
    nbformat.write(notebook, target)
    client.say("")
    print(f"\r{label} {time.perf_counter() - began:.0f} s", flush=True)
    return results(notebook)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all in this folder, in order of their names")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--output", type=Path, default=Path("build/notebooks"), help="folder (default: %(default)s)")
    where.add_argument("--in-place", action="store_true", help="overwrite the notebooks: for authors")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds a cell may take (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="minutes a notebook may take (default: no limit)"
    )
    arguments = parser.parse_args()

    paths = arguments.notebooks or sorted(HERE.glob("*.ipynb"))
    for path in paths:
        if not path.is_file():
            parser.error(f"there is no file {path}; give a path, such as notebooks/A2_your_own_sequence.ipynb")
    if not arguments.in_place:
        arguments.output.mkdir(parents=True, exist_ok=True)
    notebooks = "a notebook" if len(paths) == 1 else f"{len(paths)} notebooks"
    print(f"Executing {notebooks}, from the first cell to the last: minutes, most of them in training.")
    began, summary = time.perf_counter(), ""
    for number, path in enumerate(paths, start=1):
        target = path if arguments.in_place else arguments.output / path.name
        summary += execute(path, target, f"[{number}/{len(paths)}] {path.stem}:", arguments.timeout, arguments.minutes)
    where = HERE if arguments.in_place else arguments.output.resolve()
    minutes = (time.perf_counter() - began) / 60
    print(f"{notebooks.capitalize()} executed, in {minutes:.1f} minutes. In {where}")
    print(summary, end="")


if __name__ == "__main__":
    main()
