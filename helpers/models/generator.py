"""A model of the next pixel: what it has read so far in, a distribution over gray levels out.

The likelihood of a digit is the product of what the model gave to each of its pixels, before it saw it: nothing is
approximated. So two models can be compared by the bits that a pixel costs them (van den Oord, Kalchbrenner and
Kavukcuoglu, "Pixel Recurrent Neural Networks", arXiv 1601.06759, sections 2 and 3.3), whatever they are made of.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import trange

from helpers.models.backbone import Backbone, check_sizes


class PixelGenerator(Backbone):
    """Predicts each gray level of a digit from those before it, and draws digits pixel by pixel.

    At every position it reads the level of the pixel *before*, and at the first one a start token. What it predicts
    for a pixel can therefore not depend on that pixel, nor on a later one.

    Args:
        mixer, d_model, n_layer, dropout, positional_encoding, glu: as of a :class:`Backbone`.
        levels: gray levels, black is 0.
        classes: classes that it can be told in place of the start token, such as 10; 0 for none.
        **options: of the mixer, such as ``d_state``.

    Raises:
        ValueError: naming the argument, what it was and what it must be.
    """

    def __init__(
        self,
        mixer="mamba",
        d_model=32,
        n_layer=2,
        *,
        levels=256,
        classes=0,
        dropout=0.0,
        positional_encoding=None,
        glu=False,
        **options,
    ):
        sizes = {"d_model": (d_model, 1), "n_layer": (n_layer, 1), "levels": (levels, 2), "classes": (classes, 0)}
        check_sizes(mixer, **sizes)
        embedding = nn.Embedding(levels + 1 + classes, d_model)  # the levels, the start token, the classes
        super().__init__(embedding, mixer, d_model, n_layer, dropout, positional_encoding, glu, **options)
        self.levels, self.classes = levels, classes
        self.head = nn.Linear(d_model, levels)

    def forward(self, levels, labels=None):
        """Predict every pixel of digits from the pixels before it.

        In training, half of the labels are hidden from the model, so that it learns to do without.

        Args:
            levels: whole numbers ``(batch, length)``, 0 to ``self.levels - 1``, of any integer dtype.
            labels: classes ``(batch,)`` that the model is told, or None.

        Returns:
            Logits ``(batch, length, self.levels)``.

        Raises:
            ValueError: naming the argument, what it was and what it must be.
        """
        if levels.dim() != 2 or levels.is_floating_point() or not levels.shape[1]:
            shape = f"{tuple(levels.shape)}, {levels.dtype}"
            raise ValueError(f"levels must be whole numbers (batch, length), got {shape}")
        tokens = torch.cat([self.start(len(levels), labels)[:, None], levels[:, :-1].long()], 1)
        return self.head(self.norm(self.read(tokens)))

    def start(self, batch: int, labels=None):
        """The tokens that come before the first pixels, int64 ``(batch,)``: the start token, or that of a class."""
        token = torch.full((batch,), self.levels, device=self.head.weight.device)
        if labels is None:
            return token
        if not self.classes:
            raise ValueError("labels must be None for a generator with classes = 0")
        told = token + 1 + labels
        return torch.where(torch.rand(batch, device=token.device) < 0.5, token, told) if self.training else told

    def bits(self, levels, labels=None):
        """What each pixel costs, in bits, given those before it: ``(batch, length)``. Arguments as in ``forward``."""
        logits = self(levels, labels)
        nats = F.cross_entropy(logits.flatten(0, 1), levels.long().flatten(), reduction="none")
        return nats.view(levels.shape) / math.log(2)

    @torch.inference_mode()
    def draw(self, count=1, *, given=None, length=784, labels=None, temperature=1.0, seed=0, progress=False):
        """Draw digits, pixel by pixel, each from what the model predicts after those before it.

        Args:
            count: how many.
            given: the first pixels, ``(count, n)`` or ``(n,)`` for all, which are kept; the others are drawn.
            length: pixels of a whole digit.
            labels: classes, ``(count,)`` or one for all; None for any.
            temperature: what the logits are divided by. Below 1 the likely becomes likelier; 0: always the likeliest.
            seed: of what is drawn.
            progress: whether to show a bar.

        Returns:
            uint8 ``(count, length)``, on the CPU.

        Raises:
            ValueError: naming the argument, what it was and what it must be.
        """
        if temperature < 0:
            raise ValueError(f"temperature must be 0 or more, got {temperature}")
        device = self.head.weight.device
        generator = torch.Generator(device).manual_seed(seed)
        if labels is not None:
            labels = torch.as_tensor(labels, device=device).expand(count)
        given = torch.zeros(count, 0, dtype=torch.int64) if given is None else torch.as_tensor(given).expand(count, -1)
        tokens = torch.cat([self.start(count, labels)[:, None], given.to(device, torch.int64)], 1)
        x, memory = self.read(tokens, return_memory=True)
        x, drawn = x[:, -1], [tokens[:, 1:]]
        for position in trange(given.shape[1], length, unit="pixel", leave=False, disable=not progress):
            logits = self.head(self.norm(x)).float()
            if temperature:
                level = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)  # (count, 1)
            else:
                level = logits.argmax(-1, keepdim=True)
            drawn.append(level)
            if position < length - 1:
                x, memory = self.step(level[:, 0], memory)
        return torch.cat(drawn, 1).to("cpu", torch.uint8)
