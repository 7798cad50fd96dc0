"""Of pages 4 and A3."""

import torch

from wrong_answers import wrong


def parts(u, delta, A, B):
    return torch.exp(delta[..., None] * A[:, None]), (delta * u)[..., None] * B.mT[:, None]


@wrong("loop", "the state is not carried: y[1] ignores u[0]")
def not_carried(u, delta, A, B, C, D, h):
    A_bar, Bu = parts(u, delta, A, B)
    ys = []
    for t in range(u.shape[-1]):
        h_t = A_bar[:, :, t] * h + Bu[:, :, t]
        ys.append((h_t * C[:, None, :, t]).sum(-1) + D * u[..., t])
    return torch.stack(ys, -1), h_t


@wrong("loop", "read before the input has entered")
def read_first(u, delta, A, B, C, D, h):
    A_bar, Bu = parts(u, delta, A, B)
    ys = []
    for t in range(u.shape[-1]):
        ys.append((h * C[:, None, :, t]).sum(-1) + D * u[..., t])
        h = A_bar[:, :, t] * h + Bu[:, :, t]
    return torch.stack(ys, -1), h


@wrong("loop", "enters in full, however short the step")
def without_the_step(u, delta, A, B, C, D, h):
    A_bar, _ = parts(u, delta, A, B)
    Bu = u[..., None] * B.mT[:, None]
    ys = []
    for t in range(u.shape[-1]):
        h = A_bar[:, :, t] * h + Bu[:, :, t]
        ys.append((h * C[:, None, :, t]).sum(-1) + D * u[..., t])
    return torch.stack(ys, -1), h


@wrong("loop", "starts at zero whatever state it is given")
def from_zero(u, delta, A, B, C, D, h):
    A_bar, Bu = parts(u, delta, A, B)
    h, ys = torch.zeros_like(h), []
    for t in range(u.shape[-1]):
        h = A_bar[:, :, t] * h + Bu[:, :, t]
        ys.append((h * C[:, None, :, t]).sum(-1) + D * u[..., t])
    return torch.stack(ys, -1), h


@wrong("loop", "right without D; with it, the output stays the same")
def without_the_skip(u, delta, A, B, C, D, h):
    A_bar, Bu = parts(u, delta, A, B)
    ys = []
    for t in range(u.shape[-1]):
        h = A_bar[:, :, t] * h + Bu[:, :, t]
        ys.append((h * C[:, None, :, t]).sum(-1))
    return torch.stack(ys, -1), h


@wrong("loop", "y should have shape (2, 3, 1), yours has (1, 2, 3)")
def wrong_axis(u, delta, A, B, C, D, h):
    A_bar, Bu = parts(u, delta, A, B)
    ys = []
    for t in range(u.shape[-1]):
        h = A_bar[:, :, t] * h + Bu[:, :, t]
        ys.append((h * C[:, None, :, t]).sum(-1) + D * u[..., t])
    return torch.stack(ys), h


@wrong("unbind", "one position is picked out of a sequence")
def indexed(A_bar, Bu, C):
    h, ys = torch.zeros_like(A_bar[:, :, 0]), []
    for t in range(A_bar.shape[2]):
        h = A_bar[:, :, t] * h + Bu[:, :, t]
        ys.append((h * C[:, None, :, t]).sum(-1))
    return torch.stack(ys, -1)


@wrong("unbind", "something is written into a tensor as long as the sequence")
def written_in_place(A_bar, Bu, C):
    h, y = torch.zeros_like(A_bar[:, :, 0]), torch.zeros(*A_bar.shape[:3], dtype=A_bar.dtype)
    for t, (a, b, c) in enumerate(zip(A_bar.unbind(2), Bu.unbind(2), C.unbind(2), strict=True)):
        h = a * h + b
        y[:, :, t] = (h * c.unsqueeze(1)).sum(-1)
    return y


@wrong("unbind", "an output that grows is copied once more")
def grown(A_bar, Bu, C):
    h, y = torch.zeros_like(A_bar[:, :, 0]), A_bar.new_zeros(*A_bar.shape[:2], 0)
    for a, b, c in zip(A_bar.unbind(2), Bu.unbind(2), C.unbind(2), strict=True):
        h = a * h + b
        y = torch.cat([y, (h * c.unsqueeze(1)).sum(-1, keepdim=True)], -1)
    return y


@wrong("unbind", "the gradient of A_bar isn't")
def cut_off(A_bar, Bu, C):
    h, ys = torch.zeros_like(A_bar[:, :, 0]), []
    for a, b, c in zip(A_bar.unbind(2), Bu.unbind(2), C.unbind(2), strict=True):
        h = a * h.detach() + b
        ys.append((h * c.unsqueeze(1)).sum(-1))
    return torch.stack(ys, -1)


@wrong("unbind", "it has no gradient")
def in_numpy(A_bar, Bu, C):
    return indexed(*(torch.from_numpy(x.detach().numpy()) for x in (A_bar, Bu, C)))


@wrong("join", "on the way what entered first has decayed")
def sums(earlier, later):
    return earlier[0] + later[0], earlier[1] + later[1]


@wrong("join", "takes the later part for the earlier one")
def exchanged(earlier, later):
    return earlier[0] + later[0], earlier[1] + torch.exp(earlier[0]) * later[1]


@wrong("join", "What becomes of logarithms when factors are multiplied?")
def products(earlier, later):
    return earlier[0] * later[0], torch.exp(later[0]) * earlier[1] + later[1]


@wrong("join", "b is wrong")
def forgotten_exponential(earlier, later):
    return earlier[0] + later[0], later[0] * earlier[1] + later[1]


@wrong("gates", "keeps 1 - f of the state")
def other_gate(f, i, c):
    delta = -torch.log(1 - f)
    return delta, i * c / delta


@wrong("gates", "lets in something else than i c")
def not_divided(f, i, c):
    return -torch.log(f), i * c


@wrong("gates", "where f is")
def linear(f, i, c):
    return 1 - f, i * c / (1 - f)


@wrong("gates", "should be positive")
def signless(f, i, c):
    return torch.log(f), i * c / torch.log(f)


@wrong("scan_backward", "right at the last position only")
def no_way_back(a, h, dh):
    return torch.cat([torch.zeros_like(h[:1]), h[:-1]]) * dh, dh


@wrong("scan_backward", "by which a does it come back?")
def off_by_one(a, h, dh):
    db = dh.clone()
    for t in reversed(range(len(a) - 1)):
        db[t] += a[t] * db[t + 1]
    return torch.cat([torch.zeros_like(h[:1]), h[:-1]]) * db, db


def right_db(a, dh):
    db = dh.clone()
    for t in reversed(range(len(a) - 1)):
        db[t] += a[t + 1] * db[t + 1]
    return db


@wrong("scan_backward", "multiplies it by the state after the step")
def state_after(a, h, dh):
    db = right_db(a, dh)
    return h * db, db


@wrong("scan_backward", "right but for da[0]")
def wrapped(a, h, dh):
    db = right_db(a, dh)
    return h.roll(1, 0) * db, db


@wrong("scan_backward", "changes one of its arguments")
def in_place(a, h, dh):
    for t in reversed(range(len(a) - 1)):
        dh[t] += a[t + 1] * dh[t + 1]
    return torch.cat([torch.zeros_like(h[:1]), h[:-1]]) * dh, dh
