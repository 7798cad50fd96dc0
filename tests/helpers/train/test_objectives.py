"""What is asked of a classifier and of a generator, and which of two is the better."""

import torch

from helpers import models, train
from helpers.train.monitor import Monitor
from helpers.train.objectives import Classification, NextPixel, objective_of


def test_a_classifier_is_asked_once_and_a_generator_for_every_pixel():
    levels, labels = torch.randint(0, 256, (3, 20), dtype=torch.uint8), torch.tensor([1, 2, 3])
    generator = models.PixelGenerator(d_model=8, n_layer=1, classes=10).eval()
    assert objective_of(generator) is NextPixel
    told, untold = (NextPixel.logits(generator, levels, given) for given in (labels, None))
    assert torch.equal(told.view(3, 20, 256), generator(levels, labels)) and not torch.equal(told, untold)
    assert torch.equal(NextPixel.targets(levels, labels), levels.flatten())
    classifier = models.PixelClassifier(d_model=8, n_layer=1, length=20)
    assert objective_of(classifier) is objective_of(torch.nn.Linear(20, 10)) is Classification
    pixels = torch.randn(3, 20, 1)
    assert torch.equal(Classification.logits(classifier, pixels, labels), classifier(pixels))
    assert torch.equal(Classification.targets(pixels, labels), labels)


def test_accuracy_decides_about_a_classifier_and_likelihood_about_a_generator():
    fabric = train.make_fabric()
    surer, likelier = (train.Evaluation(loss, accuracy, None, None) for loss, accuracy in ((0.5, 0.9), (0.4, 0.8)))
    for rank, better in ((Classification.rank, [True, False]), (NextPixel.rank, [True, True])):
        counters = {"step": 0, "images": 0, "best": None, "seconds": 0.0, "tally": [0.0, 0.0, 0.0]}
        with Monitor(2, counters, [], fabric) as monitor:
            for found, is_better in zip((surer, likelier), better, strict=True):
                monitor.count(1, torch.tensor(1.0), torch.tensor(1), stop=False)
                assert monitor.record(0.1, found, rank) == is_better
