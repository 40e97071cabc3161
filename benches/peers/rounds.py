# The peer of the suite `rounds`, as it was written beside the project; `rounds_numpy.py` runs it and says every round.
"""What a researcher writes in an afternoon for the fit that `broadhead fit --gates top-k:N` does: K circle atoms (first harmonic), gates chosen greedily
in feature space (each at its closed-form best angle), alternating with exact least squares for the decoder; atoms that no row chose are given the rows of largest residual.

    rounds.py X.npy|made:N,P K TOP unit|fitted DTYPE SECONDS [--device cuda|cpu] [--compile] [--encode-only] [--rounds R] [--seed S]

unit: amplitude 1 where a gate is on; fitted: a free amplitude. Prints one JSON object: rounds, ms a round, rows/s, explained variance against
seconds, the best and when. On a CPU it needs NumPy alone (--device cpu); else PyTorch. `--encode-only` keeps the decoder: the rate of encoding.
"""
import argparse, json, time
import numpy as np

a = argparse.ArgumentParser()
for name, kind in (("x", str), ("atoms", int), ("top", int), ("mode", str), ("dtype", str), ("seconds", float)):
    a.add_argument(name, type=kind)
a.add_argument("--device", default="cuda"); a.add_argument("--compile", action="store_true"); a.add_argument("--encode-only", action="store_true")
a.add_argument("--rounds", type=int, default=10**9); a.add_argument("--seed", type=int, default=0)
a = a.parse_args()
K, TOP = a.atoms, a.top
rng = np.random.default_rng(a.seed)

if a.device == "cpu":
    xp, cuda, dt = np, False, np.dtype(a.dtype)
    ein = lambda s, *v: np.einsum(s, *v, optimize=True)
else:
    import torch
    torch.manual_seed(a.seed)
    xp, cuda, dt, ein = torch, True, getattr(torch, a.dtype), torch.einsum
arr = (lambda v: torch.as_tensor(v, device="cuda")) if cuda else np.asarray
sync = torch.cuda.synchronize if cuda else lambda: None
item = lambda v: float(v.item() if cuda else v)

if a.x.startswith("made:"):
    n, p = map(int, a.x[5:].split(","))
    planes = arr(rng.standard_normal((K, 2, p)).astype(a.dtype)) / p**0.5
    X = (torch.empty(n, p, device="cuda", dtype=dt) if cuda else np.empty((n, p), dt))
    for s in range(0, n, 1 << 16):
        m = min(n, s + (1 << 16)) - s
        x = 0.02 * (torch.randn(m, p, device="cuda", dtype=dt) if cuda else rng.standard_normal((m, p)).astype(dt))
        for _ in range(TOP):
            i, th = arr(rng.integers(0, K, m)), arr((rng.random(m) * 2 * np.pi).astype(a.dtype))
            x += xp.cos(th)[:, None] * planes[i, 0] + xp.sin(th)[:, None] * planes[i, 1]
        X[s:s + m] = x
else:
    X = arr(np.load(a.x).astype(a.dtype))
n, p = X.shape
X = X / (X * X).mean() ** 0.5
mean = X.mean(0); total = item(((X - mean) ** 2).sum()); square = item((X * X).sum())
CH = min(n, max(2048, (1 << 24) // (2 * K)))


def axes(Gd):
    """The own axes of every atom's 2 x 2 Gram matrix: squared axes a0 >= a1 and the rotation (c, s) to them."""
    A, B, D = Gd[:, 0, 0], Gd[:, 0, 1], Gd[:, 1, 1]
    th = 0.5 * (xp.arctan2(2 * B, A - D))
    c, s = xp.cos(th), xp.sin(th)
    return A * c * c + 2 * B * c * s + D * s * s, A * s * s - 2 * B * c * s + D * c * c, c, s


def best_angle(q0, q1, a0, a1, steps=4):
    """argmax of q.z - (a0 z0^2 + a1 z1^2)/2 on the circle: in own axes it lies in the quadrant of q; a multiplier start, Newton on the angle."""
    d = 0.5 * (a0 - a1)
    m = xp.sqrt(q0 * q0 + q1 * q1)
    u0 = xp.where(m > 0, q0 / xp.where(m > 0, m, m * 0 + 1), m * 0 + 1)
    u1 = xp.where(m > 0, q1 / xp.where(m > 0, m, m * 0 + 1), m * 0)
    low = xp.maximum(abs(q0) - d, abs(q1) + d)
    m1 = xp.maximum(m - d * (u0 * u0 - u1 * u1), low) + 1e-6 * (m + abs(d)) + 1e-30
    z0, z1 = u0 * (m1 - d), u1 * (m1 + d)
    w = abs(z0) + abs(z1) + 1e-30; z0, z1 = z0 / w, z1 / w
    w = 1 / xp.sqrt(xp.maximum(z0 * z0 + z1 * z1, m * 0 + 1e-12)); z0, z1 = z0 * w, z1 * w
    for _ in range(steps):
        g = z0 * q1 - z1 * q0 + 2 * d * z0 * z1
        h = z0 * q0 + z1 * q1 - 2 * d * (z0 * z0 - z1 * z1)
        t = (g / xp.maximum(h, 0.25 * abs(g) + 1e-30)).clip(-0.5, 0.5)
        z0, z1 = z0 - t * z1, z1 + t * z0
        w = 1 / xp.sqrt(z0 * z0 + z1 * z1); z0, z1 = z0 * w, z1 * w
    return z0, z1


def choose(P, G, Gd):
    """P (m, K, 2): W (x - c) by atom; G (K, 2, 2K): W W'. The chosen atoms (m, TOP) and their (cos, sin) with amplitude (m, TOP, 2)."""
    m, r = P.shape[0], xp.arange(P.shape[0], device="cuda") if cuda else np.arange(P.shape[0])
    A, B, D = Gd[:, 0, 0], Gd[:, 0, 1], Gd[:, 1, 1]
    a0, a1, c, s = axes(Gd)
    on = xp.zeros((m, K), dtype=xp.bool, device="cuda") if cuda else np.zeros((m, K), bool)
    idx, zs = [], []
    for t in range(TOP):
        p0, p1 = P[..., 0], P[..., 1]
        if a.mode == "fitted":
            det = A * D - B * B + 1e-5 * A * D + 1e-30
            z0, z1 = (D * p0 - B * p1) / det, (A * p1 - B * p0) / det
        else:
            y0, y1 = best_angle(c * p0 + s * p1, c * p1 - s * p0, a0, a1)
            z0, z1 = c * y0 - s * y1, s * y0 + c * y1
        gain = p0 * z0 + p1 * z1 - 0.5 * (A * z0 * z0 + 2 * B * z0 * z1 + D * z1 * z1)
        gain = xp.where(on, gain * 0 - 1e30, gain)
        b = gain.argmax(1)
        z = xp.stack([z0[r, b], z1[r, b]], 1) * (gain[r, b] > 0)[:, None]
        on[r, b] = True
        idx.append(b); zs.append(z)
        P = P - ein("ni,niq->nq", z, G[b]).reshape(m, K, 2)
    return xp.stack(idx, 1), xp.stack(zs, 1)


step = torch.compile(choose) if a.compile else choose


def one_round(W, c, solve=True):
    Wf = W.reshape(2 * K, p)
    G = (Wf @ Wf.T).reshape(K, 2, 2 * K)
    Gd = xp.stack([G[:, 0, 0::2].diagonal(), G[:, 0, 1::2].diagonal(), G[:, 0, 1::2].diagonal(), G[:, 1, 1::2].diagonal()], 1).reshape(K, 2, 2)
    cw = Wf @ c
    H, F0, used, worst = 0, 0, (xp.zeros(K, dtype=xp.bool, device="cuda") if cuda else np.zeros(K, bool)), []
    for s in range(0, n, CH):
        x = X[s:s + CH]
        i, z = step((x @ Wf.T - cw).reshape(-1, K, 2), G, Gd)
        if not solve:
            continue
        used[i.reshape(-1)] = True
        F = xp.zeros((len(x), 2 * K + 1), dtype=dt, device="cuda") if cuda else np.zeros((len(x), 2 * K + 1), dt)
        F[:, 0] = 1
        r = (xp.arange(len(x), device="cuda") if cuda else np.arange(len(x)))[:, None]
        for q in (0, 1):
            F[r, 1 + 2 * i + q] = z[..., q]
        H = H + F.T @ F; F0 = F0 + F.T @ x
        worst.append((s, F))
    if not solve:
        return None
    lam = 1e-5 * H.diagonal()[1:].mean()
    H = H + lam * (xp.eye(2 * K + 1, dtype=dt, device="cuda") if cuda else np.eye(2 * K + 1, dtype=dt))
    S = xp.linalg.solve(H, F0)
    sse = square - item((S * F0).sum())
    W, c = S[1:].reshape(K, 2, p), S[0]
    dead = [j for j, u in enumerate(used.tolist()) if not u]
    if dead:
        s, F = worst[rng.integers(len(worst))]
        R = X[s:s + CH] - F @ S
        far = (R * R).sum(1).argsort(descending=True) if cuda else (-(R * R).sum(1)).argsort()
        rows = far[: 4 * len(dead)][arr(rng.permutation(4 * len(dead))[: 2 * len(dead)])]
        W = W.clone() if cuda else W.copy()
        W[dead] = R[rows].reshape(len(dead), 2, p)
    return W, c, 1 - sse / total


start = arr(rng.permutation(n)[: 2 * K])
W, c = (X[start] - mean).reshape(K, 2, p) * 0.7, mean
if a.compile or a.encode_only:
    one_round(W, c, not a.encode_only)
sync(); t0, log, rounds = time.perf_counter(), [], 0
while True:
    out = one_round(W, c, not a.encode_only)
    rounds += 1
    if out:
        W, c, ev = out
        log.append((time.perf_counter() - t0, ev))
    else:
        sync()
    spent = time.perf_counter() - t0
    if spent > a.seconds or rounds >= a.rounds:
        break
say = dict(x=a.x.split("/")[-1], atoms=K, top=TOP, mode=a.mode, dtype=a.dtype, device=a.device, compiled=a.compile, rounds=rounds, ms_per_round=round(1e3 * spent / rounds, 3), rows_per_s=round(n * rounds / spent))
if log:
    best = max(log, key=lambda e: e[1])
    say["best"] = (round(best[1], 5), round(best[0], 2))
    say["ev"] = [(round(t, 2), round(e, 5)) for t, e in (log[min(len(log) - 1, int(len(log) * q))] for q in (0.02, 0.05, 0.1, 0.25, 0.5, 0.999))]
print(json.dumps(say), flush=True)
