"""MNIST is loaded, or one error says what to do: whatever is wrong with the files, the folder or the network."""

import gzip
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import torch
from repository import run_python
from torchvision import datasets

from helpers import mnist

IMAGES = "t10k-images-idx3-ubyte"


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """A copy of the archives that a test may damage."""
    copy = tmp_path / "archives"
    copy.mkdir()
    for archive in mnist.ARCHIVES.glob("*.gz"):
        shutil.copy(archive, copy)
    monkeypatch.setattr(mnist, "ARCHIVES", copy)
    return copy


@pytest.fixture
def no_network(monkeypatch):
    # Port 9 of this machine, where nobody listens: the connection is refused at once.
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])


def assert_whole(root):
    test = mnist.load(train=False, root=root)
    assert test.data.shape == (10_000, 28, 28) and test.targets.bincount().tolist()[:3] == [980, 1135, 1032]
    raw = root / "MNIST" / "raw"
    assert sorted(p.name for p in raw.iterdir()) == sorted(mnist.SHA256)
    for name, expected in mnist.SHA256.items():
        assert hashlib.sha256((raw / name).read_bytes()).hexdigest() == expected


def test_archives_match_their_checksums_and_state_a_licence():
    lines = (mnist.ARCHIVES / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == 4
    for line in lines:
        expected, name = line.split()
        assert hashlib.sha256((mnist.ARCHIVES / name).read_bytes()).hexdigest() == expected
    assert "Attribution-ShareAlike 3.0" in (mnist.ARCHIVES / "README.md").read_text()


def test_load():
    training, test = mnist.load(train=True), mnist.load(train=False)
    assert type(training) is datasets.MNIST
    assert training.data.shape == (60_000, 28, 28) and test.data.shape == (10_000, 28, 28)
    assert training.targets[:5].tolist() == [5, 0, 4, 1, 9]


def test_root_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    mnist.load(train=False)
    assert_whole(tmp_path)


def test_valid_files_on_disk_need_no_archives(tmp_path, archives, no_network):
    mnist.load(train=False, root=tmp_path / "root")
    shutil.rmtree(archives)
    assert_whole(tmp_path / "root")


def damage_file(path, damage, other=b""):
    """Change a bit of a file, cut it in half, remove it, or put something else in its place."""
    content = bytearray(path.read_bytes())
    if damage == "removed":
        path.unlink()
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else other)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "removed", "emptied"])
def test_damaged_file_on_disk_is_replaced(tmp_path, no_network, damage):
    mnist.load(train=False, root=tmp_path)
    damage_file(tmp_path / "MNIST" / "raw" / IMAGES, damage)
    assert_whole(tmp_path)


OTHER = gzip.compress(bytes(7_840_016))  # black images
DAMAGES = ["flipped", "truncated", "another file", "removed"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_archive_without_network_is_one_clear_error(tmp_path, archives, no_network, damage):
    damage_file(archives / f"{IMAGES}.gz", damage, OTHER)
    with pytest.raises(mnist.DataError) as caught:
        mnist.load(train=False, root=tmp_path / "root")
    message = str(caught.value)
    assert f"{IMAGES}.gz" in message and "mirrors failed" in message and "git checkout" in message
    assert not list((tmp_path / "root").rglob("*-ubyte*"))


class Mirror(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """torchvision's mirrors, served from this machine."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    resources = []
    for archive in mnist.ARCHIVES.glob("*.gz"):
        shutil.copy(archive, folder)
        resources.append((archive.name, hashlib.md5(archive.read_bytes()).hexdigest()))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Mirror(*a, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    yield folder
    server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_archive_is_replaced_by_a_mirror(tmp_path, mirror, archives, damage):
    damage_file(archives / f"{IMAGES}.gz", damage, OTHER)
    assert_whole(tmp_path / "root")


@pytest.mark.slow
def test_mirror_that_sends_another_file(tmp_path, mirror, archives, monkeypatch):
    (mirror / f"{IMAGES}.gz").write_bytes(OTHER)
    sums = {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in mirror.iterdir()}
    monkeypatch.setattr(datasets.MNIST, "resources", list(sums.items()))
    (archives / f"{IMAGES}.gz").unlink()
    with pytest.raises(mnist.DataError, match="sent another file"):
        mnist.load(train=False, root=tmp_path / "root")


def error_of_load(root, archives, before):
    """Load in a process of its own, after some code that makes it hard; return the error, or "loaded"."""
    code = f"""
import os
from pathlib import Path
from helpers import mnist
mnist.ARCHIVES = Path({str(archives)!r})
{before}
try:
    mnist.load(train=False, root={str(root)!r})
    print("loaded")
except mnist.DataError as error:
    print(error)
"""
    run = run_python("-c", code)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX users and limits")


@pytest.mark.slow
@needs_posix
def test_read_only_folder():
    # root may write anywhere, so as root we become nobody, who may not read what pytest puts in tmp_path
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        archives, root = Path(folder, "archives"), Path(folder, "root")
        shutil.copytree(mnist.ARCHIVES, archives)
        root.mkdir(mode=0o555)
        message = error_of_load(root, archives, "if os.geteuid() == 0: os.seteuid(65534)")
    assert "Permission denied" in message and "MNIST_ROOT" in message and str(root) in message


@pytest.mark.slow
@needs_posix
def test_full_disk_leaves_nothing_half_written(tmp_path, archives):
    # The kernel refuses to let a file grow beyond 20 MB, in the middle of a write, as a full disk does.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, resource.RLIM_INFINITY))"
    message = error_of_load(tmp_path / "root", archives, limit)
    assert "could not be extracted" in message and "Free some space" in message
    raw = tmp_path / "root" / "MNIST" / "raw"
    assert all(path.stat().st_size < 20_000_000 and path.suffix != ".part" for path in raw.iterdir())
    assert error_of_load(tmp_path / "root", archives, "") == "loaded"
    assert_whole(tmp_path / "root")


@pytest.mark.slow
def test_killed_in_the_middle_of_a_write(tmp_path):
    code = f"""
import os
from helpers import mnist
def die(part, path): os.kill(os.getpid(), 9)
mnist.os.replace = die
mnist.load(train=False, root={str(tmp_path)!r})
"""
    assert run_python("-c", code).returncode != 0
    leftovers = list((tmp_path / "MNIST" / "raw").iterdir())
    assert [path.suffix for path in leftovers] == [".part"]
    assert mnist.load(train=False, root=tmp_path).data.shape == (10_000, 28, 28)


@pytest.mark.slow
def test_two_processes_at_once(tmp_path):
    code = f"""
from helpers import mnist
print(mnist.load(train=True, root={str(tmp_path)!r}).data.sum().item())
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate() for process in processes]
    assert {out for out, _ in answers} == {f"{mnist.load(train=True).data.sum().item()}\n"}, answers
    assert_whole(tmp_path)


def test_sequences():
    dataset = mnist.load(train=False)
    pixels, labels = mnist.sequences(dataset)
    assert pixels.shape == (10_000, 784, 1) and pixels.dtype == torch.float32
    assert labels.shape == (10_000,) and labels.dtype == torch.int64
    expected = (float(dataset.data[7, 10, 15]) / 255 - 0.1307) / 0.3081
    assert expected > 0 and abs(pixels[7, 10 * 28 + 15, 0].item() - expected) < 1e-6
    assert dataset.data.dtype == torch.uint8, "the data set itself stays as it is"
    assert (round(pixels.min().item(), 3), round(pixels.max().item(), 3)) == (-0.424, 2.821)


def test_sequences_are_normalized_over_the_training_set():
    pixels, _ = mnist.sequences(mnist.load(train=True))
    assert abs(pixels.mean().item()) < 1e-3 and abs(pixels.std().item() - 1) < 1e-3


def test_dataloaders():
    train, validation, test = mnist.dataloaders(batch_size=512, seed=1)
    assert [len(loader.dataset) for loader in (train, validation, test)] == [55_000, 5_000, 10_000]
    pixels, labels = mnist.sequences(mnist.load(train=True))
    seen, answers = (torch.cat(parts) for parts in zip(*train, strict=True))
    assert seen.shape == (55_000, 784, 1) and not torch.equal(answers, labels[:55_000])
    assert torch.equal(answers.bincount(), labels[:55_000].bincount())
    x, y = (torch.cat(parts) for parts in zip(*validation, strict=True))
    assert torch.equal(x, pixels[55_000:]) and torch.equal(y, labels[55_000:])
    assert [len(y) for _, y in test][-1] == 10_000 % 512


def test_order_of_batches_follows_the_seed():
    first, same, other = (next(iter(mnist.dataloaders(64, seed=seed)[0]))[1] for seed in (3, 3, 4))
    assert torch.equal(first, same) and not torch.equal(first, other)
    train, _, _ = mnist.dataloaders(64, seed=3)
    epochs = [next(iter(train))[1] for _ in range(2)]
    assert torch.equal(epochs[0], first) and not torch.equal(epochs[1], first), "each epoch has its own order"


def test_no_validation():
    train, validation, _ = mnist.dataloaders(1000, validation=0)
    assert len(train.dataset) == 60_000 and list(validation) == []


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"batch_size": 8, "validation": 60_000}])
def test_dataloaders_name_what_was_wrong(arguments):
    with pytest.raises(ValueError, match=rf"{list(arguments)[-1]} must be .* got {list(arguments.values())[-1]}"):
        mnist.dataloaders(**arguments)


def test_order_can_be_taken_up_in_its_middle():
    whole = mnist.Shuffled(1000, 64, seed=3)
    batches = [batch for _ in range(2) for batch in whole]
    assert len(batches) == 2 * len(whole) == 32 and len(batches[15]) == 1000 - 15 * 64
    for step in (0, 7, 16, 20):
        other = mnist.Shuffled(1000, 64, seed=3)
        other.step = step
        rest = [batch for _ in range(2 - step // 16) for batch in other]
        assert len(rest) == 32 - step and all(map(torch.equal, rest, batches[step:]))
    assert torch.equal(torch.cat(batches[:16]).sort().values, torch.arange(1000)), "every example once"


def test_processes_share_every_batch():
    whole = list(mnist.Shuffled(100, 15, seed=0))
    shares = [list(mnist.Shuffled(100, 15, 0, process, 4)) for process in range(4)]
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert sorted(torch.cat(parts).tolist()) == sorted(batch.tolist())
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    train, _, _ = mnist.dataloaders(15, share=(1, 4))
    assert len(next(iter(train))[0]) == 4
