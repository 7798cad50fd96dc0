"""What goes into a training is checked before it can do harm: a batch, and the loader that it comes from."""

from torch.utils.data import TensorDataset


def check_batch(pixels, labels) -> None:
    """Check a batch on the CPU, before anything is computed with it.

    Raises:
        ValueError: if the labels are not a list of whole numbers, or a number in the sequences is not finite.
    """
    if labels.dim() != 1 or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"labels must be whole numbers, one for each answer, (n,), got {tuple(labels.shape)}, {labels.dtype}"
        )
    if pixels.is_floating_point() and not pixels.isfinite().all():
        raise ValueError(
            "sequences have numbers that are not finite (NaN or infinity). A gap in the data does that, and so does a"
            " constant channel that was divided by its standard deviation, 0: leave such a channel out"
        )


def check_labels(labels, classes: int) -> None:
    """Raise ValueError if a label is not one of ``classes``, counted from 0."""
    if not len(labels):  # the share of one of several processes can be empty
        return
    least, most = labels.min().item(), labels.max().item()
    if least < 0 or most >= classes:
        raise ValueError(f"labels must be 0 to {classes - 1} with {classes} classes, got {least} to {most}")


def check_loader(loader, name: str) -> None:
    """Raise ValueError if a loader is known to have no batches, or its data lie in memory and cannot be used."""
    if hasattr(loader, "__len__") and not len(loader):
        raise ValueError(f"{name} has no batches: is there any data in it, and at least one whole batch?")
    dataset = getattr(loader, "dataset", None)
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        check_batch(*dataset.tensors)


def endless(loader):
    """The batches of a loader, again and again.

    Raises:
        ValueError: if it gives none.
    """
    while True:
        number = -1
        for number, batch in enumerate(loader):  # noqa: B007
            yield batch
        if number < 0:
            raise ValueError(
                "loader has no more batches. An iterator or a generator can be gone through only once:"
                " give a DataLoader, or a list of batches"
            )


def length_of(loader) -> int:
    """How many batches an epoch has.

    Raises:
        ValueError: if the loader does not say.
    """
    try:
        return len(loader)
    except TypeError as error:
        raise ValueError(f"loader must have a length, or the config must say how many steps, got {loader!r}") from error
