"""Which optimizer updates which parameter, and at which learning rate."""

import torch


def make_optimizers(model, config) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or for everything but the matrices in ``blocks`` and ``gates``, which are then Muon's.

    A layer names the parameters that need care of their own (:mod:`helpers.layers`):

    * ``ssm_parameters`` decide what a state keeps, takes in and shows. A small change there is felt over hundreds of
      positions, so they can have a learning rate of their own, as in S5 (Smith, Warrington and Linderman, arXiv
      2208.04933).
    * ``no_weight_decay``: in Mamba as upstream's, in S4D A, D and the step sizes. Vectors are not decayed either.
    * ``no_muon``. Muon makes all singular values of a matrix's averaged gradient about equal: its step is as long in
      the directions that are rarely asked for as in the others (Jordan and others, 2024,
      https://kellerjordan.github.io/posts/muon). It is not for vectors, nor for the first and the last layer.

    Args:
        model: with or without ``blocks`` and ``gates``.
        config: a :class:`helpers.train.config.TrainingConfig`.

    Returns:
        AdamW, and Muon if the config asks for it and there is a matrix for it. Each group of parameters notes its
        ``highest`` learning rate.
    """
    named = {kind: _named(model, kind) for kind in ("ssm_parameters", "no_weight_decay", "no_muon")}
    matrices, others = [], {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        weight = parameter.dim() >= 2 and name not in named["no_weight_decay"]
        slow = config.ssm_learning_rate > 0 and name in named["ssm_parameters"]
        inside = name.startswith(("blocks.", "gates."))
        suits_muon = inside and weight and parameter.dim() == 2 and not slow and name not in named["no_muon"]
        if config.muon_learning_rate and suits_muon:
            matrices.append(parameter)
        else:
            highest = config.ssm_learning_rate if slow else config.learning_rate
            others.setdefault((highest, config.weight_decay if weight else 0.0), []).append(parameter)
    groups = [
        {"params": found, "highest": highest, "weight_decay": decay} for (highest, decay), found in others.items()
    ]
    adamw = torch.optim.AdamW(groups, fused=True)
    if not matrices:
        return [adamw]
    muon = {"params": matrices, "highest": config.muon_learning_rate}
    return [adamw, torch.optim.Muon([muon], weight_decay=config.weight_decay)]


def _named(model, kind):
    """The full names of the parameters that the model's layers list under ``kind``."""
    return {
        f"{place}.{name}" if place else name
        for place, layer in model.named_modules()
        for name in getattr(layer, kind, ())
    }


def set_learning_rates(optimizers, rate: float) -> None:
    """Give every group ``rate`` times its highest learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["highest"] * rate
