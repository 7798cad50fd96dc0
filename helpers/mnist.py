"""MNIST as sequences: 28 x 28 digits in, 784 pixels out, one after another.

The four archives travel with this package (``helpers/data``), so no network is needed. torchvision's own ``MNIST``
class reads them; this module only makes sure that the files which the class finds are whole and genuine. It looks for
them in this order: extracted files on disk, the archives in ``helpers/data``, torchvision's mirrors.

Source of the data: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
"""

import gzip
import hashlib
import http.client
import math
import os
import socket
import tempfile
import zlib
from pathlib import Path

import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler, SequentialSampler, TensorDataset
from torchvision import datasets

from helpers import files

ARCHIVES = Path(__file__).parent / "data"

MEAN, STD = 0.1307, 0.3081  # of the 60,000 training images, in units of full white

# SHA-256 of the contents, the same for every distribution of MNIST however it was compressed.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class DataError(RuntimeError):
    """MNIST is not available; the message says which file is missing, why, and what to do."""


def load(train: bool, root: str | os.PathLike | None = None) -> datasets.MNIST:
    """Load the 60,000 training or the 10,000 test images with torchvision's ``MNIST`` class.

    Args:
        train: the training images if true, the test images if false.
        root: where the extracted files are kept (55 MB, in ``<root>/MNIST/raw``). Default: the environment variable
            ``MNIST_ROOT``, or else ``helpers/data``.

    Returns:
        torchvision's dataset: ``data`` is uint8 ``(n, 28, 28)``, ``targets`` is int64 ``(n,)``.

    Raises:
        DataError: if a file is missing or damaged and neither the archive nor a mirror can replace it, or if the
            extracted files cannot be written. Nothing half-written is left behind under a final name.
    """
    root = Path(root or os.environ.get("MNIST_ROOT") or ARCHIVES)
    raw = root / "MNIST" / "raw"
    invalid = [name for name in SHA256 if not _valid(raw / name)]
    if invalid:
        _provide(invalid, raw)
    return datasets.MNIST(root, train=train)


def sequences(dataset: datasets.MNIST) -> tuple[torch.Tensor, torch.Tensor]:
    """Flatten every digit into the sequence of its pixels, row by row from the top left.

    Returns:
        ``pixels``, float32 ``(n, 784, 1)``, normalized with mean 0.1307 and standard deviation 0.3081 (a black pixel
        is -0.424, a white one 2.821), and ``labels``, int64 ``(n,)``.
    """
    pixels = dataset.data.reshape(len(dataset.data), -1, 1).to(torch.float32)
    pixels.div_(255).sub_(MEAN).div_(STD)
    return pixels, dataset.targets


def levels(dataset: datasets.MNIST) -> tuple[torch.Tensor, torch.Tensor]:
    """Flatten every digit into the sequence of its gray levels, row by row from the top left.

    Returns:
        ``levels``, uint8 ``(n, 784)``, from 0, black, to 255, and ``labels``, int64 ``(n,)``.
    """
    return dataset.data.reshape(len(dataset.data), -1), dataset.targets


def dataloaders(
    batch_size: int, *, seed: int = 0, validation: int = 5_000, share: tuple[int, int] = (0, 1), read=sequences
) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Batches of ``(pixels, labels)`` for training, validation and test.

    What is chosen (a learning rate, a size, an epoch) is chosen on the validation set, the last ``validation`` of the
    60,000 training images; the test set is read once, at the end.

    Args:
        batch_size: sequences in a batch, at least 1.
        seed: of the order of the training batches. The order is new in every epoch; the last, smaller batch of an
            epoch is kept.
        validation: how many training images to set aside, 0 to 59,999. With 0 the validation loader is empty.
        share: the number of this process, and of all processes that train together. Each gets its share of every
            training batch.
        read: what turns a data set into sequences, :func:`sequences` or :func:`levels`.

    Returns:
        Three loaders over tensors in memory, whose batches are ``(batch, 784, 1)``, or ``(batch, 784)`` of levels, and
        ``(batch,)``.

    Raises:
        ValueError: if ``batch_size`` or ``validation`` is out of range.
        DataError: as :func:`load` does.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    pixels, labels = read(load(train=True))
    if not 0 <= validation < len(pixels):
        raise ValueError(f"validation must be between 0 and {len(pixels) - 1}, got {validation}")
    kept = len(pixels) - validation
    training = TensorDataset(pixels[:kept], labels[:kept])
    return (
        DataLoader(training, sampler=Shuffled(kept, batch_size, seed, *share), batch_size=None),
        _in_order(TensorDataset(pixels[kept:], labels[kept:]), batch_size),
        _in_order(TensorDataset(*read(load(train=False))), batch_size),
    )


class Shuffled(Sampler):
    """The batches of one epoch after another, as indices, in an order that depends on nothing but seed and epoch.

    So a training can resume in the middle of an epoch: set ``step``, the number of batches drawn since the beginning.

    Args:
        n: examples in an epoch, all of which are drawn once.
        batch_size: examples in a batch; the last of an epoch may have fewer.
        seed: of the order.
        process, processes: of several processes each takes its own share of every batch.
    """

    def __init__(self, n: int, batch_size: int, seed: int, process: int = 0, processes: int = 1):
        self.n, self.batch_size, self.seed, self.process, self.processes = n, batch_size, seed, process, processes
        self.step = 0

    def __len__(self):
        return math.ceil(self.n / self.batch_size)

    def __iter__(self):
        epoch, first = divmod(self.step, len(self))
        order = torch.randperm(self.n, generator=torch.Generator().manual_seed(1_000_003 * self.seed + epoch))
        for batch in order.split(self.batch_size)[first:]:
            self.step += 1
            yield batch[self.process :: self.processes]


def _in_order(dataset, batch_size):
    # One indexing operation fetches a whole batch; the usual way fetches, and then stacks, single images.
    sampler = BatchSampler(SequentialSampler(dataset), batch_size, drop_last=False)
    return DataLoader(dataset, sampler=sampler, batch_size=None)


def _valid(path: Path) -> bool:
    try:
        return _sha256(path.read_bytes()) == SHA256[path.name]
    except OSError:
        return False


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _from_archive(name: str) -> bytes:
    try:
        content = gzip.decompress((ARCHIVES / f"{name}.gz").read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{ARCHIVES / name}.gz cannot be read: {error}") from error
    if _sha256(content) != SHA256[name]:
        raise DataError(f"{ARCHIVES / name}.gz does not hold MNIST's file")
    return content


def _from_mirrors(names: list[str]) -> dict[str, bytes]:
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # torchvision itself would wait for ever
    try:
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(datasets.MNIST(folder, download=True).raw_folder)
            contents = {name: (raw / name).read_bytes() for name in names}
    except (OSError, EOFError, RuntimeError, zlib.error, http.client.HTTPException) as error:
        raise DataError(f"torchvision's mirrors failed: {error}") from error
    finally:
        socket.setdefaulttimeout(patience)
    for name, content in contents.items():
        if _sha256(content) != SHA256[name]:
            raise DataError(f"torchvision's mirrors sent another file than MNIST's {name}")
    return contents


def _provide(names: list[str], raw: Path) -> None:
    """Put the named files into ``raw``, from the archives or else from torchvision's mirrors."""
    contents, problems = {}, []
    for name in names:
        try:
            contents[name] = _from_archive(name)
        except DataError as error:
            problems.append(str(error))
    if problems:
        try:
            contents |= _from_mirrors([name for name in names if name not in contents])
        except DataError as error:
            raise DataError(
                "MNIST is not available.\n  "
                + "\n  ".join([*problems, str(error)])
                + "\nRestore the archives (in a clone: git checkout -- helpers/data), or try again with a network."
            ) from error
    for name, content in contents.items():
        try:
            files.write(raw / name, content)
        except OSError as error:
            if _valid(raw / name):  # another process was faster, and Windows does not replace a file that is open
                continue
            raise DataError(
                f"MNIST could not be extracted: {error}. It needs 55 MB in {raw}. Free some space there, or name a"
                " folder that can be written in the environment variable MNIST_ROOT."
            ) from error
