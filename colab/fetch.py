"""Fetch one wheel, in a process of its own: ``python -m colab.fetch FOLDER NAME ADDRESS INDEX SHA256``.

Prints where the file is. A file that is incomplete, not an archive or not what its hash says is not left behind.
"""

import fnmatch
import hashlib
import html.parser
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

from colab.steps import Deadline, Failed, python, run
from colab.wheels import Wheel

PATIENCE = 60  # seconds for one wheel, of some hundred MB
SILENCE = 15  # seconds without a byte


def fetch(wheel: Wheel, folder: Path, deadline: Deadline) -> Path:
    """Fetch a wheel into a folder.

    Raises:
        colab.steps.Failed: if it is not there, slow, incomplete or not what its hash says.
    """
    arguments = (folder, wheel.name, wheel.address or "", wheel.index or "", wheel.sha256 or "")
    return Path(run(python("-m", "colab.fetch", *arguments), deadline, PATIENCE))


class _Links(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found += [value for key, value in attributes if tag == "a" and key == "href" and value]


def listed(index: str, pattern: str) -> tuple[str, str, str | None]:
    """The address, name and published SHA-256 of the first file on an index page whose name fits the pattern."""
    with urllib.request.urlopen(index, timeout=SILENCE) as page:
        links = _Links(page.read().decode(errors="replace")).found
    for link in links:
        address, _, hash = urllib.parse.urljoin(index, link).partition("#")
        name = urllib.parse.unquote(address.rpartition("/")[2])
        if fnmatch.fnmatchcase(name, pattern):
            return address, name, hash.removeprefix("sha256=") if hash.startswith("sha256=") else None
    raise Failed(f"{urllib.parse.urlsplit(index).hostname} does not list it")


def download(address: str, target: Path, sha256: str | None) -> None:
    """Write what is at ``address`` to ``target``, whole and genuine, or nothing."""
    part = target.with_suffix(".part")
    digest, size = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(address, timeout=SILENCE) as response, open(part, "wb") as file:
            expected = response.headers["Content-Length"]
            while chunk := response.read(1 << 20):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        if expected is not None and size != int(expected):
            raise Failed(f"the download is incomplete: {size} of {expected} bytes")
        if sha256 and digest.hexdigest() != sha256:
            raise Failed(f"its SHA-256 is {digest.hexdigest()[:8]}..., not the published {sha256[:8]}...")
        if not zipfile.is_zipfile(part):
            raise Failed("the download is damaged: not a wheel")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def main(folder: str, name: str, address: str, index: str, sha256: str) -> int:
    try:
        if index:
            address, name, published = listed(index, name)
            sha256 = sha256 or published
        else:
            address += urllib.parse.quote(name)
        Path(folder).mkdir(parents=True, exist_ok=True)
        download(address, Path(folder, name), sha256)
        print(Path(folder, name))
        return 0
    except urllib.error.HTTPError as error:
        why = "there is no such file (404)" if error.code == 404 else f"the server says {error.code} {error.reason}"
    except (Failed, OSError) as error:  # OSError: no network, no name, no space, silence
        why = str(error)
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
