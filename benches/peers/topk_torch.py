"""A TopK autoencoder in PyTorch, at its best: what a linear dictionary explains of rows that it never saw.

    topk_torch.py               -> {"libraries": {...}}
    topk_torch.py '{"rows": X.npy, "held_out": {SEED: I.npy, ...}, "latents": [128], "active": [1, 2],
                    "learning_rates": [...], "batch": 2048, "gain": 0.001, "ceiling_seconds": 60, "device": "cuda"}'
                                -> {"libraries": {...}}, then a line for each of latents, active and seeds
      {"latents", "active", "seed", "learning_rate", "steps", "seconds", "last_third_gain", "ceiling_reached",
       "unused", "rates": [[learning rate, explained variance of the training rows], ...],
       "own": {"training", "held_out", "active"}, "refitted": {...}}

I.npy has the indices of the rows that a seed holds out.

With a of a row x the largest of relu(E (x - b) + e), so many of them, the reconstruction is D' a + b (Makhzani and
Frey, 2014; Gao et al., 2024). Decoder rows have unit length. Training is by Adam on the rows that are not held out:

- it begins with decoder rows at data rows less their mean, and an encoder that is the decoder;
- a latent that fires on no row for some time is put onto what is left of a row drawn by its squared error;
- a learning rate is halved when the explained variance of the training rows stands still;
- training ends when the last third of it gained each model less than `gain` and its rate is at its least, or at the
  ceiling: `ceiling_reached` says of a model that it had not ended.

Of the learning rates the one counts whose model explains most of the training rows. All models of as many latents are
trained side by side, as batches of one product: `seconds` are of all of them.

`own` has the encoder's codes. `refitted` drops the encoder: latents are chosen greedily, each the one that leaves least
when all chosen are fitted jointly (orthogonal least squares: Chen, Billings and Luo, 1989), with codes of either sign.
A code that may be negative and a choice by the error after the joint fit both favour the autoencoder.

Explained variance is 1 - sum |x - reconstruction|^2 / sum |x - training mean|^2, in FP64.
"""

import json
import sys
import time

import numpy as np
import torch

# Steps between two looks at the training rows, and looks over which they stand still.
LOOK, STILL = 200, 8
# What they gain at least in that time, else the rate is halved; how often it is.
RISE, HALVINGS = 3e-4, 6
# Steps after which a latent that did not fire is put elsewhere, and the halvings after which none is.
SILENT, SETTLED = 500, 2
BETAS = (0.9, 0.999)


def libraries():
    return {
        "torch": torch.__version__,
        "cuda of torch": str(torch.version.cuda),
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }


class Rows:
    """The rows of a file, and for each seed those that train and those that are held out, in units in which the
    training rows have a mean square of 1 about their mean."""

    def __init__(self, path, held_out, device):
        x = torch.as_tensor(np.load(path).astype(np.float64), device=device)
        self.seeds = sorted(held_out, key=int)
        self.training, self.held_out = [], []
        for seed in self.seeds:
            held = torch.zeros(len(x), dtype=torch.bool, device=device)
            held[torch.as_tensor(np.load(held_out[seed]), device=device)] = True
            mean = x[~held].mean(0)
            unit = (x[~held] - mean).square().sum(1).mean().sqrt()
            self.training.append((x[~held] - mean) / unit)
            self.held_out.append((x[held] - mean) / unit)
        # Every seed holds as many out.
        self.single = torch.stack(self.training).float()


class Autoencoders:
    """Models side by side: of each seed, number of active latents and learning rate one."""

    def __init__(self, rows, latents, active, rates, batch):
        device, p = rows.single.device, rows.single.shape[2]
        self.rows, self.batch, self.most = rows, batch, max(active)
        self.kinds = [(s, k, r) for s in range(len(rows.seeds)) for k in active for r in rates]
        self.of = torch.tensor([s for s, _, _ in self.kinds], device=device)
        self.active = torch.tensor([k for _, k, _ in self.kinds], device=device)
        self.rate = torch.tensor([r for _, _, r in self.kinds], device=device)
        self.halvings = torch.zeros(len(self.kinds), device=device)
        self.still_since = torch.zeros(len(self.kinds), device=device)
        self.steps, self.log = 0, []
        starts = []
        for s, seed in enumerate(rows.seeds):
            generator = torch.Generator().manual_seed(int(seed))
            order = torch.randperm(rows.single.shape[1], generator=generator)[:latents]
            # More latents than rows: the rest at random.
            rest = torch.randn(latents - len(order), p, generator=generator).to(device)
            starts.append(torch.cat([rows.single[s][order.to(device)], rest]))
        unit = torch.nn.functional.normalize(torch.stack(starts), dim=2)[self.of]
        count = len(self.kinds)
        self.parameters = [
            unit.clone(),
            unit.clone(),
            torch.zeros(count, 1, p, device=device),
            torch.zeros(count, 1, latents, device=device),
        ]
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.first = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.second = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.fired = torch.zeros(count, latents, device=device)
        torch.manual_seed(int(rows.seeds[0]))

    def codes(self, x, parameters=None, active=None):
        """Codes of `x` (models, rows, columns), dense, nothing but the largest other than 0."""
        _, encoder, b, e = self.parameters if parameters is None else parameters
        active = self.active if active is None else active
        pull = torch.baddbmm(e, x - b, encoder.transpose(1, 2))
        with torch.no_grad():
            # For a few latents of each of many short rows this is faster than torch.topk.
            left, chosen = pull.detach().clone(), []
            for _ in range(min(self.most, pull.shape[2])):
                chosen.append(left.argmax(2, keepdim=True))
                left.scatter_(2, chosen[-1], -torch.inf)
            chosen = torch.cat(chosen, 2)
            on = torch.arange(chosen.shape[2], device=x.device) < active[:, None, None]
        return torch.zeros_like(pull).scatter(2, chosen, pull.gather(2, chosen).relu() * on)

    def reconstruction(self, codes):
        return torch.baddbmm(self.parameters[2], codes, self.parameters[0])

    def drawn(self, count):
        """Random training rows of each model."""
        picked = torch.randint(self.rows.single.shape[1], (len(self.kinds), count), device=self.of.device)
        return self.rows.single[self.of[:, None], picked]

    def step(self):
        x = self.drawn(self.batch)
        codes = self.codes(x)
        error = (self.reconstruction(codes) - x).square().sum((1, 2)) / self.batch
        gradients = torch.autograd.grad(error.sum(), self.parameters)
        with torch.no_grad():
            self.steps += 1
            self.fired.masked_fill_((codes > 0).any(1), self.steps)
            self.adam(gradients)
            if self.steps % SILENT == 0:
                self.revive()

    def adam(self, gradients):
        decoder = self.parameters[0]
        rate = (self.rate * 0.5**self.halvings)[:, None, None]
        scale = (1 - BETAS[1] ** self.steps) ** 0.5 / (1 - BETAS[0] ** self.steps)
        # Along its own row a gradient changes the length alone, which is 1.
        along = (gradients[0] * decoder).sum(2, keepdim=True)
        gradients = [gradients[0] - along * decoder, *gradients[1:]]
        for parameter, gradient, first, second in zip(self.parameters, gradients, self.first, self.second):
            first.lerp_(gradient, 1 - BETAS[0])
            second.lerp_(gradient.square(), 1 - BETAS[1])
            parameter.sub_(rate * scale * first / (second.sqrt() + 1e-8))
        decoder.div_(decoder.norm(dim=2, keepdim=True))

    def revive(self):
        """Latents that do not fire go onto what is left of rows drawn by their squared errors."""
        dead = (self.fired <= self.steps - SILENT) & (self.halvings < SETTLED)[:, None]
        if not dead.any():
            return
        decoder, encoder, _, e = self.parameters
        x = self.drawn(max(4096, 2 * dead.shape[1]))
        left = x - self.reconstruction(self.codes(x))
        picked = left.square().sum(2).clamp_min(1e-30).multinomial(dead.shape[1])
        left = left.gather(1, picked[:, :, None].expand(-1, -1, x.shape[2]))
        unit = torch.nn.functional.normalize(left, dim=2)
        for at in (0, 1):
            self.parameters[at].copy_(torch.where(dead[:, :, None], unit, self.parameters[at]))
            self.first[at].masked_fill_(dead[:, :, None], 0)
            self.second[at].masked_fill_(dead[:, :, None], 0)
        for vector in (e, self.first[3], self.second[3]):
            vector.masked_fill_(dead[:, None, :], 0)
        self.fired.masked_fill_(dead, self.steps)

    @torch.no_grad()
    def look(self):
        """Notes the explained variance of the training rows, and halves the rates of those that stand still."""
        squares = 0
        n = self.rows.single.shape[1]
        for begin in range(0, n, 4096):
            x = self.rows.single[:, begin : begin + 4096][self.of]
            squares = squares + (self.reconstruction(self.codes(x)) - x).square().sum((1, 2))
        # In these units the training rows have a sum of n about their mean.
        self.log.append(1 - squares / n)
        looks = len(self.log) - 1
        if looks >= STILL:
            rise = self.log[-1] - self.log[-1 - STILL]
            still = (rise < RISE) & (looks - self.still_since >= STILL) & (self.halvings < HALVINGS)
            self.halvings += still
            self.still_since[still] = looks

    def best(self):
        """Of each seed and number of active latents the model that explains most."""
        groups = {}
        for index, (seed, active, _) in enumerate(self.kinds):
            groups.setdefault((seed, active), []).append(index)
        last = self.log[-1].tolist()
        return {kind: (max(group, key=lambda i: last[i]), group) for kind, group in groups.items()}

    def gains(self):
        """What the last third of the training gained."""
        return (self.log[-1] - self.log[(2 * len(self.log)) // 3]).tolist()

    def ended(self, gain):
        """Of each model whether its last third gained little, at its least rate."""
        return [g < gain and h == HALVINGS for g, h in zip(self.gains(), self.halvings.tolist())]

    def train(self, gain, ceiling):
        """Until every model has ended or the ceiling is reached; the seconds."""
        begin = time.perf_counter()
        self.look()
        while True:
            for _ in range(LOOK):
                self.step()
            self.look()
            seconds = time.perf_counter() - begin
            if seconds > ceiling or all(self.ended(gain)):
                return seconds


def refitted(x, decoder, count):
    """What the best `count` decoder rows leave of the rows of `x`, chosen one after another with all codes refitted.

    `pull` are the products of all decoder rows with what is left of a row of `x`; `length` is the square of what the
    chosen leave of a decoder row, and `along` has the products of all with the chosen, made orthonormal in turn.
    """
    gram, pull = decoder @ decoder.T, x @ decoder.T
    length = gram.diagonal().expand_as(pull).clone()
    floor = 1e-9 * gram.diagonal()
    every = torch.arange(len(x), device=x.device)
    chosen, along = [], []
    for _ in range(min(count, len(decoder))):
        gain = torch.where(length > floor, pull.square() / length, -1.0)
        b = gain.argmax(1)
        u = gram[b]
        for known in along:
            u = u - known[every, b][:, None] * known
        root = length[every, b].sqrt()[:, None]
        u = u / root
        pull = pull - pull[every, b][:, None] / root * u
        length = length - u.square()
        length[every, b] = 0
        chosen.append(b)
        along.append(u)
    taken = decoder[torch.stack(chosen, 1)]
    codes = torch.linalg.solve(taken @ taken.transpose(1, 2), taken @ x[:, :, None])
    return x - (taken.transpose(1, 2) @ codes)[:, :, 0]


@torch.no_grad()
def scores(models, index):
    """How much of either half of its rows a model explains, by its own codes and by refitted ones, in FP64."""
    own, again, unused = {}, {}, 0
    seed, active, _ = models.kinds[index]
    decoder, encoder, b, e = parameters = [p[index : index + 1].double() for p in models.parameters]
    count = torch.tensor([active], device=b.device)
    for name, rows in (("training", models.rows.training[seed]), ("held_out", models.rows.held_out[seed])):
        total, squares, refit, on = rows.square().sum(), 0, 0, 0
        used = torch.zeros(decoder.shape[1], dtype=torch.bool, device=b.device)
        for x in rows.split(2048):
            codes = models.codes(x[None], parameters, count)
            squares = squares + (torch.baddbmm(b, codes, decoder)[0] - x).square().sum()
            refit = refit + refitted(x - b[0], decoder[0], active).square().sum()
            on = on + (codes > 0).sum()
            used |= (codes[0] > 0).any(0)
        own[name], again[name] = float(1 - squares / total), float(1 - refit / total)
        own["active"], again["active"] = float(on / len(rows)), float(min(active, decoder.shape[1]))
        if name == "training":
            unused = int((~used).sum())
    return own, again, unused


def answers(rows, latents, request):
    active, rates = request["active"], request["learning_rates"]
    models = Autoencoders(rows, latents, active, rates, request["batch"])
    seconds = models.train(request["gain"], request["ceiling_seconds"])
    gains, last, ended = models.gains(), models.log[-1].tolist(), models.ended(request["gain"])
    for (seed, active), (index, group) in models.best().items():
        own, again, unused = scores(models, index)
        yield {
            "latents": latents,
            "active": active,
            "seed": int(rows.seeds[seed]),
            "learning_rate": models.kinds[index][2],
            "steps": models.steps,
            "seconds": seconds,
            "last_third_gain": gains[index],
            "ceiling_reached": not ended[index],
            "unused": unused,
            "rates": [[models.kinds[i][2], last[i]] for i in group],
            "own": own,
            "refitted": again,
        }


def main():
    print(json.dumps({"libraries": libraries()}), flush=True)
    if len(sys.argv) == 1:
        return
    request = json.loads(sys.argv[1])
    # Products of training in TF32: its rounding is far below that of drawing rows.
    torch.set_float32_matmul_precision("high")
    rows = Rows(request["rows"], request["held_out"], request["device"])
    for latents in request["latents"]:
        for answer in answers(rows, latents, request):
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
