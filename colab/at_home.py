"""Run every page as on a Colab CPU runtime, on your own Linux machine: ``make colab-at-home``.

Colab's image is not available everywhere. The nearest thing is a folder with Debian 13, whose Python is Colab's 3.13,
and with the packages of ``runtime.txt`` in Colab's versions. ``debootstrap`` and pip build it once (9 GB), and again
when ``runtime.txt`` changes. Nothing of ours is installed in it.

Each page gets a fresh runtime: a layer over that folder, thrown away afterwards. There ``/content`` holds the notebook
alone, ``COLAB_RELEASE_TAG`` is set, and git takes the commit that is checked out here for the repository on GitHub, so
the first cell clones it and installs what Colab lacks. Mounts and processes live in namespaces of their own, which end
with the command, however it ends. A list shows, page by page, what a reader would see on stderr or as a warning.

Standard library only. Debian's packages come from debootstrap's own mirror, or from the one that ``DEBIAN_MIRROR``
names; Python's come from where pip is configured to look.
"""

import argparse
import ast
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from colab.steps import ROOT

FOLDER = ROOT / "build" / "colab-at-home"
RUNTIME = ROOT / "colab" / "runtime.txt"
DEBIAN = "trixie"  # 13, for its Python 3.13
PACKAGES = "ca-certificates,g++,git,python3,python3-dev,python3-venv"
VENV = "/opt/colab"
PYTHON = f"{VENV}/bin/python"
SPACE = 15  # GB, while it is built
RELEASE = "at-home"  # what the set-up cell calls this runtime
CERTIFICATE = "etc/pip-cert.pem"
GIT = ["git", "-c", "safe.directory=*", "-C", str(ROOT)]  # root is often not the checkout's owner

# What is mounted is gone with the last process of these namespaces.
LAYERED = """
mount -t overlay overlay -o lowerdir="$1",upperdir="$2",workdir="$3" "$4"
shift 3
"""
ENTER = """
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
exec chroot "$@"
"""

BAR = re.compile(r"\d+%\||\[\d[\d:]+[<,].*\]|^\s*$")  # tqdm's, with and without a total; and empty lines
WARNING = re.compile(r"\w*Warning\b|^(Not used|Missing|Verified: +not|torch cannot|This torch)\b")


class Result(NamedTuple):
    """What came of a page."""

    page: str
    seconds: float
    warnings: list[str]  # "cell 3: ...", each once
    error: str  # empty if it ran


def warnings(notebook: dict) -> list[str]:
    """The warnings in an executed notebook: all of stderr but progress bars, and other lines that look like warnings.

    An indented line continues the one before, and is left out.
    """
    found = {}
    for number, cell in enumerate(notebook["cells"], start=1):
        for output in cell.get("outputs", []):
            text = "".join(output.get("text") or output.get("data", {}).get("text/plain") or [])
            for line in re.split(r"[\r\n]+", text):
                said = not line.startswith((" ", "\t")) and not BAR.search(line)
                if said and (output.get("name") == "stderr" or WARNING.search(line)):
                    found[f"cell {number}: {line.strip()}"] = None
    return list(found)


def table(results: list[Result]) -> str:
    """A Markdown table of results, and below it every warning under the name of its page."""
    lines = ["| page | s | warnings | result |", "|---|---:|---:|---|"]
    for result in results:
        error = result.error.replace("|", "/") or "ok"
        lines.append(f"| {result.page} | {result.seconds:.0f} | {len(result.warnings)} | {error} |")
    said = [f"* {result.page}, {warning}" for result in results for warning in result.warnings]
    return "\n".join([*lines, "", *said] if said else lines)


def choose(wanted: list[str], folder: Path = ROOT / "notebooks") -> list[str]:
    """The names of the notebooks that begin with one of ``wanted``; if that is empty, all names.

    Raises:
        SystemExit: if no notebook begins with one of ``wanted``.
    """
    names = [path.name for path in sorted(folder.glob("*.ipynb"))]
    for start in wanted:
        if not any(name.startswith(start) for name in names):
            raise SystemExit(f"No page begins with {start}. There are: {', '.join(names)}")
    return [name for name in names if not wanted or name.startswith(tuple(wanted))]


def pip_environment(listed: str) -> dict[str, str]:
    """What ``pip config list`` prints, as environment variables for another pip, without ``file:`` addresses."""
    found = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):  # last: they override files
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in ("index-url", "extra-index-url", "proxy", "trusted-host", "timeout", "default-timeout", "cert"):
            value = " ".join(word for word in ast.literal_eval(value).split() if not word.startswith("file:"))
            found |= {f"PIP_{name.replace('-', '_').upper()}": value} if value else {}
    return found


def lacking(folder: Path) -> str | None:
    """Why this machine cannot run the pages, as a sentence, or None if it can."""
    if sys.platform != "linux":
        return f"This needs Linux: it runs Debian in a folder, and this machine runs {sys.platform}."
    if os.geteuid() != 0:
        return "This needs root, to mount folders and to change into one: sudo make colab-at-home"
    if not (ROOT / ".git").exists():
        return f"This needs a clone of the repository, for pages to clone it in turn, and {ROOT} is none."
    for command, package in (("debootstrap", "debootstrap"), ("git", "git"), ("unshare", "util-linux")):
        if not shutil.which(command):
            return f"This needs the command {command}. On Debian and Ubuntu: apt-get install {package}"
    free = shutil.disk_usage(folder).free / 1e9
    if not (folder / "ready").exists() and free < SPACE:
        return f"Building this takes {SPACE} GB of disk, and {folder} has {free:.0f} GB free."
    return None


class Home:
    """Debian in a folder with Colab's packages, and the command to run something in it.

    Args:
        folder: for Debian, its layers and the executed pages.
        log: an open file, for all that commands print.
    """

    def __init__(self, folder: Path, log):
        self.folder, self.log = folder, log
        self.root, self.layer, self.ready = folder / "root", folder / "layer", folder / "ready"
        self.bare = self.root / "opt" / "repository.git"
        pip = [sys.executable, "-m", "pip", "config", "list"]
        listed = subprocess.run(pip, capture_output=True, text=True, check=False).stdout  # no pip: nothing configured
        self.environment = pip_environment(listed)
        self.certificate = self.environment.get("PIP_CERT")
        if self.certificate:
            self.environment["PIP_CERT"] = f"/{CERTIFICATE}"
        self.environment |= {
            k: v for k, v in os.environ.items() if k.lower() in ("http_proxy", "https_proxy", "no_proxy")
        }
        self.environment |= {
            "COLAB_RELEASE_TAG": RELEASE,
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PATH": f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_CACHE_DIR": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }

    def _run(self, command):
        """Run a command in namespaces of its own; return its exit status. No process of it outlives this call."""
        own = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
        process = subprocess.Popen([*own, *command], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            return process.wait()
        finally:
            process.kill()
            process.wait()

    def run(self, command: list[str], layered: bool = True) -> int:
        """Run a command in Debian, on the layer or on the folder below it; return its exit status."""
        places = [self.root]
        if layered:
            places += [self.layer / "upper", self.layer / "work", self.layer / "merged"]
        inside = ["env", "-i", *(f"{key}={value}" for key, value in self.environment.items()), *command]
        return self._run(["sh", "-euc", LAYERED * layered + ENTER, "sh", *places, *inside])

    def fresh(self) -> None:
        """Replace the layer by an empty one."""
        shutil.rmtree(self.layer, ignore_errors=True)
        for name in ("upper/content", "upper/opt", "work", "merged"):
            (self.layer / name).mkdir(parents=True)

    def build(self) -> None:
        """Build the folder, unless it is there and up to date.

        Raises:
            SystemExit: if a step fails.
        """
        recipe = RUNTIME.read_bytes() + f"{DEBIAN} {PACKAGES} {PYTHON}".encode()
        digest = hashlib.sha256(recipe).hexdigest()
        if not self.ready.exists() or self.ready.read_text() != digest:
            print(f"Building {self.root}, once: about ten minutes, and 9 GB.", flush=True)
            self.ready.unlink(missing_ok=True)
            shutil.rmtree(self.root, ignore_errors=True)
            mirror = filter(None, [os.environ.get("DEBIAN_MIRROR")])
            if self._run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", DEBIAN, self.root, *mirror]):
                raise SystemExit(f"debootstrap failed: see {self.log.name}")
            self._connect()
            shutil.copy(RUNTIME, self.root / "opt")
            pip = [PYTHON, "-m", "pip", "install", "--progress-bar", "off"]
            steps = [
                ["python3", "-m", "venv", VENV],
                [*pip, *(line for line in RUNTIME.read_text().split() if line.startswith("pip=="))],
                [*pip, "-r", f"/opt/{RUNTIME.name}"],
            ]
            for step in steps:
                if self.run(step, layered=False):
                    raise SystemExit(f"{shlex.join(step)} failed: see {self.log.name}")
            self.ready.write_text(digest)
        self._connect()

    def _connect(self):
        """Give Debian this machine's name resolution, and pip's certificate."""
        for name in ("etc/resolv.conf", "etc/hosts"):
            if Path("/", name).exists():
                shutil.copy(Path("/", name), self.root / name)
        if self.certificate:
            shutil.copy(self.certificate, self.root / CERTIFICATE)

    def publish(self) -> str:
        """Let git in Debian find the commit that is checked out here in place of GitHub's; return its name."""
        setting = json.loads((ROOT / "colab" / "links.json").read_text(encoding="utf-8"))
        self.ref = setting["ref"]
        shutil.rmtree(self.bare, ignore_errors=True)
        subprocess.run(["git", "init", "--quiet", "--bare", self.bare], check=True)
        subprocess.run(["git", "--git-dir", self.bare, "config", "receive.shallowUpdate", "true"], check=True)
        subprocess.run([*GIT, "push", "--quiet", self.bare, f"HEAD:refs/heads/{self.ref}"], check=True)
        (self.root / "root" / ".gitconfig").write_text(
            f'[url "file:///opt/{self.bare.name}"]\n\tinsteadOf = https://github.com/{setting["repository"]}\n'
        )
        changed = subprocess.run([*GIT, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
        head = [*GIT, "rev-parse", "--short", "HEAD"]
        name = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
        return f"commit {name}{', without uncommitted changes' if changed else ''}"

    def page(self, name: str, without: list[str]) -> Result:
        """Run a page in a fresh runtime; keep the executed notebook, whole or up to the cell that failed."""
        self.fresh()
        for earlier in (self.folder / "pages").glob(f"{Path(name).stem}.*"):
            earlier.unlink()
        for place, file in (("content", name), ("opt", "run.py")):
            show = ["git", "--git-dir", self.bare, "show", f"{self.ref}:notebooks/{file}"]
            text = subprocess.run(show, capture_output=True, check=True).stdout
            (self.layer / "upper" / place / file).write_bytes(text)
        removed = " ".join(f"rm -rf $site/{shlex.quote(package)};" for package in without)
        site = f"site=$({PYTHON} -c \"import sysconfig; print(sysconfig.get_path('purelib'))\")"
        run = f"exec {PYTHON} /opt/run.py /content/{shlex.quote(name)} --output /opt/pages"
        began, start = time.monotonic(), os.stat(self.log.name).st_size
        status = self.run(["sh", "-euc", f"{site}; {removed} cd /content; {run}"])
        seconds, executed, error = time.monotonic() - began, self.layer / "upper" / "opt" / "pages" / name, ""
        if status:
            executed = executed.with_suffix(".failed.ipynb")
            said = Path(self.log.name).read_bytes()[start:].decode(errors="replace")
            error = next(filter(None, map(str.strip, reversed(said.splitlines()))), f"exit status {status}")
        found = []
        if executed.exists():
            (self.folder / "pages").mkdir(exist_ok=True)
            shutil.copy(executed, self.folder / "pages")
            found = warnings(json.loads(executed.read_text(encoding="utf-8")))
        return Result(Path(name).stem, seconds, found, error)


def main(arguments=None) -> int:
    """Run the command; returns its exit status: 0 if every page ran."""
    parser = argparse.ArgumentParser(prog="python -m colab.at_home", description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="*", help="how their names begin, such as 04 A1 (default: all)")
    parser.add_argument("--without", nargs="+", default=[], metavar="PACKAGE",
                        help="packages to hide from the pages, such as triton, which CPU runtimes lack")  # fmt: skip
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="for Debian and the executed pages (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    names, folder = choose(options.pages), options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if why := lacking(folder):
        print(why, file=sys.stderr)
        return 1
    import fcntl  # Unix alone has it

    for number in (signal.SIGINT, signal.SIGTERM):  # as an exception: what was started is ended with it
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    results = []
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # what is started inherits the lock
        except OSError:
            print(f"Another run is at work in {folder}.", file=sys.stderr)
            return 1
        log.truncate(0)
        home = Home(folder, log)
        try:
            home.build()
            print(f"Pages of {home.publish()}, each in a fresh runtime; the log is {log.name}.", flush=True)
            for name in names:
                results.append(home.page(name, options.without))
                print(f"{results[-1].page}: {results[-1].seconds:.0f} s, {results[-1].error or 'ok'}", flush=True)
        finally:
            shutil.rmtree(home.layer, ignore_errors=True)
        print(f"\n{table(results)}")
        log.write(f"\n{table(results)}\n")
    return 0 if all(not result.error for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
