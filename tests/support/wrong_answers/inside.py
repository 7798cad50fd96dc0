"""Of page 7."""

import torch

from wrong_answers import wrong


def ridge(states, targets, penalty):
    """Weights and intercept, as they should be."""
    X, Y = states - states.mean(0), targets - targets.mean(0)
    W = torch.linalg.solve(X.mT @ X + penalty * torch.eye(X.shape[1], dtype=X.dtype), X.mT @ Y)
    return W, targets.mean(0) - states.mean(0) @ W


def score(predictions, targets, mean):
    return 1 - (targets - predictions).square().sum(0) / (targets - mean).square().sum(0)


@wrong("probe", "where every target is 3, it predicts 1.4")
def no_intercept(states, targets, penalty, new_states, new_targets):
    gram = states.mT @ states + penalty * torch.eye(states.shape[1], dtype=states.dtype)
    predictions = new_states @ torch.linalg.solve(gram, states.mT @ targets)
    return predictions, score(predictions, new_targets, targets.mean(0))


@wrong("probe", "it predicts 3 without a penalty, and 0.")
def intercept_penalized(states, targets, penalty, new_states, new_targets):
    X, new = (torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1) for x in (states, new_states))
    predictions = new @ torch.linalg.solve(X.mT @ X + penalty * torch.eye(X.shape[1], dtype=X.dtype), X.mT @ targets)
    return predictions, score(predictions, new_targets, targets.mean(0))


@wrong("probe", "asked about one state alone")
def centered_by_their_own_mean(states, targets, penalty, new_states, new_targets):
    W, _ = ridge(states, targets, penalty)
    predictions = (new_states - new_states.mean(0)) @ W + targets.mean(0)
    return predictions, score(predictions, new_targets, targets.mean(0))


@wrong("probe", "is possible")
def only_the_targets_centered(states, targets, penalty, new_states, new_targets):
    gram = states.mT @ states + penalty * torch.eye(states.shape[1], dtype=states.dtype)
    predictions = new_states @ torch.linalg.solve(gram, states.mT @ (targets - targets.mean(0))) + targets.mean(0)
    return predictions, score(predictions, new_targets, targets.mean(0))


@wrong("probe", "the penalty changes nothing")
def no_penalty(states, targets, penalty, new_states, new_targets):
    W, bias = ridge(states, targets, 0.0)
    return new_states @ W + bias, score(new_states @ W + bias, new_targets, targets.mean(0))


@wrong("probe", "a penalty of 7 does what a penalty of 280 should do")
def of_the_mean(states, targets, penalty, new_states, new_targets):
    W, bias = ridge(states, targets, penalty * len(states))
    return new_states @ W + bias, score(new_states @ W + bias, new_targets, targets.mean(0))


@wrong("probe", "a penalty of 7 does what a penalty of 49 should do")
def as_rows_without_the_root(states, targets, penalty, new_states, new_targets):
    X = torch.cat([states - states.mean(0), penalty * torch.eye(states.shape[1], dtype=states.dtype)])
    Y = torch.cat([targets - targets.mean(0), torch.zeros(states.shape[1], targets.shape[1], dtype=targets.dtype)])
    W = torch.linalg.lstsq(X, Y).solution
    predictions = (new_states - states.mean(0)) @ W + targets.mean(0)
    return predictions, score(predictions, new_targets, targets.mean(0))


@wrong("probe", "right without a penalty, wrong with a penalty of 7")
def scaled_states(states, targets, penalty, new_states, new_targets):
    mean, scale = states.mean(0), states.std(0)
    W, bias = ridge((states - mean) / scale, targets, penalty)
    predictions = (new_states - mean) / scale @ W + bias
    return predictions, score(predictions, new_targets, targets.mean(0))


@wrong("probe", "where new targets equal them, the score should be 1, and is 0")
def unexplained(states, targets, penalty, new_states, new_targets):
    W, bias = ridge(states, targets, penalty)
    predictions = new_states @ W + bias
    return predictions, 1 - score(predictions, new_targets, targets.mean(0))


@wrong("probe", "the score is of the states that it was fitted to")
def scored_on_training_states(states, targets, penalty, new_states, new_targets):
    W, bias = ridge(states, targets, penalty)
    return new_states @ W + bias, score(states @ W + bias, targets, targets.mean(0))


@wrong("probe", "should score 0, and yours scores -")
def against_the_mean_of_the_new(states, targets, penalty, new_states, new_targets):
    W, bias = ridge(states, targets, penalty)
    predictions = new_states @ W + bias
    return predictions, score(predictions, new_targets, new_targets.mean(0))


@wrong("probe", "should score 0, and yours scores")
def correlation_squared(states, targets, penalty, new_states, new_targets):
    W, bias = ridge(states, targets, penalty)
    predictions = new_states @ W + bias
    a, b = predictions - predictions.mean(0), new_targets - new_targets.mean(0)
    return predictions, (a * b).sum(0).square() / (a.square().sum(0) * b.square().sum(0))


@wrong("probe", "both targets have the same score")
def over_everything(states, targets, penalty, new_states, new_targets):
    W, bias = ridge(states, targets, penalty)
    predictions, mean = new_states @ W + bias, targets.mean(0)
    ours, means = (new_targets - predictions).square().sum(), (new_targets - mean).square().sum()
    return predictions, (1 - ours / means).expand(targets.shape[1])


@wrong("probe", "r_squared[0] is the first that is wrong")
def of_absolute_errors(states, targets, penalty, new_states, new_targets):
    W, bias = ridge(states, targets, penalty)
    predictions = new_states @ W + bias
    errors, of_the_mean = ((new_targets - guess).abs().sum(0) for guess in (predictions, targets.mean(0)))
    return predictions, 1 - errors / of_the_mean


@wrong("probe", "r_squared should have shape (2,), yours has (30,)")
def along_the_wrong_axis(states, targets, penalty, new_states, new_targets):
    W, bias = ridge(states, targets, penalty)
    predictions = new_states @ W + bias
    return predictions, score(predictions.mT, new_targets.mT, targets.mean(0).unsqueeze(1))


def between(delta):
    """The time from s to t, (dim, length, length)."""
    time = delta.mT.cumsum(1)
    return (time[:, :, None] - time[:, None]).clamp(min=0)


def matrices(delta, A, B, C, D, between):
    decays = torch.exp(between[..., None] * A[:, None, None])
    M = torch.einsum("tn,ctsn,sn->cts", C, decays, B) * delta.mT[:, None]
    return M.tril() + D[:, None, None] * torch.eye(len(delta), dtype=D.dtype)


@wrong("implicit_matrix", "an input counts in full, however short the step")
def step_forgotten(delta, A, B, C, D):
    return matrices(torch.ones_like(delta), A, B, C, D, between(delta))


@wrong("implicit_matrix", "is lost on the way")
def own_decay_counted(delta, A, B, C, D):
    return matrices(delta, A, B, C, D, between(delta) + delta.mT[:, None])


@wrong("implicit_matrix", "wrong with a single position already")
def zero_order_hold(delta, A, B, C, D):
    enters = torch.expm1(delta[..., None] * A) / A * B[:, None]  # (length, dim, d_state)
    M = torch.einsum("tn,ctsn,scn->cts", C, torch.exp(between(delta)[..., None] * A[:, None, None]), enters)
    return M.tril() + D[:, None, None] * torch.eye(len(delta), dtype=D.dtype)


@wrong("implicit_matrix", "and it is the reverse")
def transposed(delta, A, B, C, D):
    return matrices(delta, A, B, C, D, between(delta)).mT


@wrong("implicit_matrix", "M[0, 0, 1] isn't zero: an output gets something of an input that comes after it")
def not_causal(delta, A, B, C, D):
    decays = torch.exp(between(delta)[..., None] * A[:, None, None])
    M = torch.einsum("tn,ctsn,sn->cts", C, decays, B) * delta.mT[:, None]
    return M + D[:, None, None] * torch.eye(len(delta), dtype=D.dtype)


@wrong("implicit_matrix", "nothing decays on the way")
def undecayed(delta, A, B, C, D):
    return matrices(delta, A, B, C, D, torch.zeros_like(between(delta)))


@wrong("implicit_matrix", "decays by another step")
def off_by_one(delta, A, B, C, D):
    return matrices(delta, A, B, C, D, between(delta) + delta.mT[:, None] - delta.mT[:, :, None])


@wrong("implicit_matrix", "is scaled by the step of position 1")
def step_of_the_reader(delta, A, B, C, D):
    return matrices(delta, A, B, C, D, between(delta)) * (delta.mT[:, :, None] / delta.mT[:, None])


@wrong("implicit_matrix", "writes with C and reads with B")
def exchanged(delta, A, B, C, D):
    return matrices(delta, A, C, B, D, between(delta))


@wrong("implicit_matrix", "the row M[0, 2] is the first that is wrong")
def only_the_last_decay(delta, A, B, C, D):
    return matrices(delta, A, B, C, D, (between(delta) > 0) * delta.mT[:, :, None])


@wrong("implicit_matrix", "right for a state of one number, wrong for one of 4")
def mean_decay(delta, A, B, C, D):
    return matrices(delta, A.mean(1, keepdim=True).expand_as(A), B, C, D, between(delta))


@wrong("implicit_matrix", "right for one channel; with three, M[1]")
def steps_of_the_first_channel(delta, A, B, C, D):
    return matrices(delta, A, B, C, D, between(delta[:, :1].expand_as(delta)))


@wrong("implicit_matrix", "whatever D is, M stays the same")
def without_the_skip(delta, A, B, C, D):
    return matrices(delta, A, B, C, torch.zeros_like(D), between(delta))


@wrong("implicit_matrix", "D also carries inputs to outputs at other positions")
def skip_everywhere(delta, A, B, C, D):
    return without_the_skip(delta, A, B, C, D) + D[:, None, None]


@wrong("implicit_matrix", "D's share of M is wrong")
def skip_scaled_by_the_step(delta, A, B, C, D):
    return without_the_skip(delta, A, B, C, D) + torch.diag_embed(D[:, None] * delta.mT)


@wrong("implicit_matrix", "with a step of 5000 at position 3 it is wrong")
def never_quite_forgotten(delta, A, B, C, D):
    return matrices(delta, A, B, C, D, between(delta).clamp(max=20))


@wrong("implicit_matrix", "M[0, 0, 3] isn't finite")
def overflows(delta, A, B, C, D):
    time = delta.mT.cumsum(1)
    decays = torch.exp((time[:, :, None] - time[:, None])[..., None] * A[:, None, None])
    M = torch.einsum("tn,ctsn,sn->cts", C, decays, B) * delta.mT[:, None] * torch.ones(len(delta), len(delta)).tril()
    return M + D[:, None, None] * torch.eye(len(delta), dtype=D.dtype)
