"""Fifty steps of the classifier on real digits: ``fit_in_processes.py PROCESSES MUON...``; prints the losses.

With each of the learning rates of Muon one after another, because a process takes longer to begin than to train.
"""

import json
import sys

import torch
from lightning_fabric import Fabric

from helpers import mnist, models, train

processes, *rates = sys.argv[1:]
processes, losses = int(processes), []
fabric = Fabric(accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto")
fabric.launch()
torch.set_num_threads(1)
for muon in map(float, rates):
    torch.manual_seed(0)
    model = models.PixelClassifier(d_model=16, n_layer=2, d_state=4)
    loader, _, _ = mnist.dataloaders(15, share=(fabric.global_rank, fabric.world_size))  # an odd batch: unequal shares
    config = train.TrainingConfig(steps=50, muon_learning_rate=muon, weight_decay=0.05, log_every=1)
    losses.append([record["loss"] for record in train.fit(model, loader, config, fabric=fabric)])
if fabric.global_rank == 0:
    print(json.dumps(losses))
