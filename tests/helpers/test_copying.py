"""Selective copying: what is asked, and reading it in pieces."""

import pytest
import torch
from scan_cases import error

from helpers.copying import COPIES, GROWTH, QUESTION, CopyingModel, InPieces, copying, copying_batches, growing_batches


def test_answers_are_the_tokens_in_order():
    sequences, answers = copying(50, False, 0, noise=40)
    assert sequences.shape == (50, 43) and answers.shape == (50, COPIES)
    for sequence, answer in zip(sequences, answers, strict=True):
        read = [token for token in sequence.tolist() if token]
        assert read == [*(answer + 1).tolist(), *[QUESTION] * COPIES]
    assert (sequences[:, 40:] == QUESTION).all()


def test_fixed_places_are_the_same_in_all():
    sequences, _ = copying(20, True, 0)
    assert ((sequences > 0) == (sequences[0] > 0)).all()


def test_sequences_grow():
    batches = growing_batches(0)
    assert len(batches) == sum(count for _, count, _ in GROWTH)
    lengths = [len(sequences[0]) for sequences, _ in batches]
    assert lengths == sorted(lengths) and set(lengths) == {length for length, _, _ in GROWTH}
    assert all(len(answers) == COPIES * len(sequences) for sequences, answers in batches)


@pytest.mark.parametrize("mixer", ["mamba", "mamba-rope", "mamba2", "mamba3", "s4d", "lstm", "attention"])
def test_pieces_give_the_outputs_and_gradients_of_the_whole(mixer):
    torch.manual_seed(0)
    model = CopyingModel(mixer, 16, **({"headdim": 16} if mixer in ("mamba2", "mamba3") else {})).double()
    sequences, _ = copying_batches(4, 40, 0, 4)[0]
    whole = model(sequences)
    weight = torch.randn_like(whole)
    for piece in (8, 12):
        y = InPieces(model, piece)(sequences)
        assert error(y, whole) < 1e-10
        for ours, theirs in zip(
            torch.autograd.grad((y * weight).sum(), list(model.parameters()), allow_unused=True),
            torch.autograd.grad((whole * weight).sum(), list(model.parameters()), retain_graph=True, allow_unused=True),
            strict=True,
        ):
            assert (ours is None) == (theirs is None)
            assert ours is None or error(ours, theirs) < 1e-9


@pytest.mark.parametrize("truncate", [False, True])
def test_truncated_gradients_end_where_a_piece_begins(truncate):
    torch.manual_seed(0)
    model = CopyingModel("mamba", 16).double()
    sequences, _ = copying_batches(2, 32, 0, 2)[0]
    read = []
    model.embedding.register_forward_hook(lambda module, given, x: read.append(x) or x.retain_grad())
    InPieces(model, 8, truncate)(sequences).square().sum().backward()
    reached = [x.grad is not None and bool(x.grad.abs().sum() > 0) for x in read]
    assert reached == ([False, False, False, True] if truncate else [True] * 4)


def test_a_last_piece_without_all_questions_is_refused():
    sequences, _ = copying_batches(2, 33, 0, 2)[0]
    with pytest.raises(ValueError, match="last piece must hold all 3 questions, got 1"):
        InPieces(CopyingModel("mamba", 16), 8)(sequences)
