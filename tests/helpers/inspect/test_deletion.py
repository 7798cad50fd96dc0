"""What pixels contribute, against the explicit product of all matrices; and what a deletion deletes."""

import pytest
import torch

from helpers import inspect
from helpers.models import PixelClassifier
from helpers.testing import relative_error

LENGTH, PAPER = 31, -0.4


def classifier(mixer="mamba-rope", **options):
    torch.manual_seed(0)
    model = PixelClassifier(mixer, 8, 2, length=LENGTH, d_state=4, classes=5, **options).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("A_log", "_bias", "dt_proj.weight", "norm.weight")):
                parameter.add_(torch.randn_like(parameter))
    pixels = torch.randn(3, LENGTH, 1, dtype=torch.float64).clamp(min=PAPER)
    return model, pixels


def product_of_matrices(model, pixels):
    """The weight of each pixel for each answer, ``(classes, length)``, of one digit: all that is chosen is in there."""
    order = torch.arange(LENGTH) if model.order is None else model.order
    x = model._embed(pixels[:, order])[0]  # (length, d_model)
    total = torch.einsum("ts,di->tdsi", torch.eye(LENGTH).double(), model.embedding.weight)  # d x / d pixels
    center = torch.eye(x.shape[1]).double() - 1 / x.shape[1]
    eye = torch.eye(LENGTH).double()
    for number, (norm, block) in enumerate(zip(model.norms, model.blocks, strict=True)):
        scale = 1 / torch.sqrt(x.var(-1, correction=0) + norm.eps)  # (length,)
        normed = norm(x)
        N = torch.einsum("t,d,de->tde", scale, norm.weight, center)  # the norm, position by position
        chosen = inspect.selection(block, normed[None])
        M = inspect.implicit_matrix(chosen, list(range(block.d_inner)))[0]
        M = M + torch.einsum("c,ts->cts", chosen.D, eye)
        before = block.conv1d(block.in_proj(normed)[:, : block.d_inner].T[None])[0, :, :LENGTH]  # (d_inner, length)
        kernel = block.conv1d.weight[:, 0]  # (d_inner, d_conv)
        taps = sum(
            torch.einsum("c,ts->cts", kernel[:, -1 - lag], torch.diag(torch.ones(LENGTH - lag), -lag).double())
            for lag in range(block.d_conv)
        )
        scan = torch.einsum("ctr,cr,crs->cts", M, torch.sigmoid(before), taps)
        inward = torch.einsum("ce,sef->csf", block.in_proj.weight[: block.d_inner], N)
        outward = torch.einsum("dc,tc->tdc", block.out_proj.weight, chosen.gate[0])
        layer = torch.einsum("tdc,cts,csf->tdsf", outward, scan, inward)
        y = block(normed[None])[0]
        if model.gates:
            phi = 0.5 * (1 + torch.erf(y / 2**0.5))
            value, gate = model.gates[number][1](phi * y).chunk(2, -1)
            weight = model.gates[number][1].weight.chunk(2, 0)[0]
            layer = torch.einsum("td,de,te,tesf->tdsf", torch.sigmoid(gate), weight, phi, layer)
            y = value * torch.sigmoid(gate)
        total = total + torch.einsum("tdsf,sfri->tdri", layer, total)
        x = x + y
    everywhere = torch.ones(LENGTH).double()
    pooled = {"sum": everywhere, "mean": everywhere / LENGTH, "last": eye[-1]}[model.pooling]
    if model.pooling == "sum":
        summed = pooled @ x
        scale = 1 / torch.sqrt(summed.var(correction=0) + model.norm.eps)
        found = torch.einsum("kd,d,de,t,tesi->ks", model.head.weight, scale * model.norm.weight, center, pooled, total)
    else:
        scale = 1 / torch.sqrt(x.var(-1, correction=0) + model.norm.eps)
        found = torch.einsum("kd,d,t,de,t,tesi->ks", model.head.weight, model.norm.weight, scale, center, pooled, total)
    in_place = torch.empty_like(found)
    in_place[:, order] = found
    return in_place


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "sum"},
        {"pooling": "mean", "mixer": "mamba"},
        {"pooling": "last", "glu": True},
        {"pooling": "last", "permutation": 7, "positional_encoding": True},
    ],
)
def test_contributions_are_those_of_the_product_of_all_matrices(options):
    model, pixels = classifier(**options)
    answers = torch.tensor([1, 4, 0])
    found = inspect.contributions(model, pixels, answers, PAPER)
    with torch.no_grad():
        for digit, answer in enumerate(answers):
            weights = product_of_matrices(model, pixels[[digit]])
            weights = weights[answer] - weights.mean(0)
            expected = weights * (pixels[digit, :, 0] - PAPER)
            assert relative_error(found[digit], expected) < 1e-10
    assert (found[pixels[..., 0] == PAPER] == 0).all()


def test_without_holding_it_is_the_gradient():
    model, pixels = classifier()
    answers = torch.tensor([1, 4, 0])
    found = inspect.contributions(model, pixels, answers, PAPER, held=False)
    a_bit = 1e-6
    with torch.no_grad():
        for place in (0, 5, LENGTH - 1):
            centered = []
            for sign in (-1, 1):
                moved = pixels.clone()
                moved[:, place] += sign * a_bit
                logits = model(moved)
                centered.append((logits - logits.mean(1, keepdim=True)).gather(1, answers[:, None])[:, 0])
            slope = (centered[1] - centered[0]) / (2 * a_bit)
            torch.testing.assert_close(found[:, place], slope * (pixels[:, place, 0] - PAPER), rtol=1e-5, atol=1e-9)
    held = inspect.contributions(model, pixels, answers, PAPER)
    assert relative_error(held, found) > 1e-3, "to hold what was chosen makes a difference"


def test_deletes_the_most_important_ink_and_nothing_else():
    pixels = torch.tensor([[1.0, PAPER, 2.0, 3.0, 0.5], [PAPER, 1.0, PAPER, PAPER, 2.0]]).unsqueeze(-1)
    importance = torch.tensor([[0.0, 9.0, -1.0, 2.0, 1.0], [9.0, 1.0, 9.0, 9.0, 2.0]])
    half = inspect.delete(pixels, importance, 0.5, PAPER)[..., 0]
    assert half.tolist() == torch.tensor([[1.0, PAPER, 2.0, PAPER, PAPER], [PAPER, 1.0, PAPER, PAPER, PAPER]]).tolist()
    assert torch.equal(inspect.delete(pixels, importance, 0.0, PAPER), pixels)
    assert (inspect.delete(pixels, importance, 1.0, PAPER) == PAPER).all()


def test_answers_kept_for_each_order():
    model, _ = classifier(pooling="sum")
    model, pixels = model.float(), torch.randn(200, LENGTH, 1).clamp(min=PAPER)
    with torch.no_grad():
        model.embedding.bias.zero_()  # so that answers hang on the pixels
        model.norms[0].bias.zero_()
        answers = model(pixels).argmax(1)
    shares = (0.15, 1.0, 0.0)
    kept = inspect.answers_kept(model, pixels, shares, PAPER)
    random = torch.rand(200, LENGTH, generator=torch.Generator().manual_seed(0))
    orders = {
        "matrices, composed": inspect.contributions(model, pixels, answers, PAPER),
        "gradient × input": inspect.contributions(model, pixels, answers, PAPER, held=False),
        "looked at most": inspect.looked_at(model, pixels),
        "at random": random,
    }
    assert list(kept) == list(orders)
    for name, importance in orders.items():
        for found, share in zip(kept[name], shares, strict=True):
            with torch.no_grad():
                left = model(inspect.delete(pixels, importance, share, PAPER)).argmax(1)
            assert torch.equal(found, left == answers)
    some = torch.stack([found[0] for found in kept.values()])
    assert len(some.unique(dim=0)) == 4, "the orders differ"
