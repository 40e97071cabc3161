"""NumPy and SciPy on the same arrow systems: a peer that answers one line for each line it reads.

    {"hello": true}                                   -> {"libraries": {...}}
    {"prepare": {"rows", "dim", "border", "seed"}}    -> {"log_determinant", "componentwise_error"}
    {"sample": "factor", "threads": 2}                -> {"seconds": 0.5}
    {"release": true}                                 -> {}

The system is made from the same counter-based numbers as benches/src/case/arrow.rs, bit for bit, so
that its log-determinant is an independent check. The algorithm is what a user would write: batched
`np.linalg.cholesky` and `np.linalg.solve` for the row blocks, BLAS and LAPACK in place for the border.
`scipy-inverse_arrow.py` is the same with the inverses of the blocks' factors.
"""

import json
import sys
import time

import numpy as np
import scipy
import scipy.linalg as sl
import threadpoolctl
from scipy.linalg import blas


PRODUCT_ORDER = 2048


def uniform(seed, stream, count):
    """Numbers in [-1, 1): SplitMix64 of a counter, 53 bits each."""
    with np.errstate(over="ignore"):
        z = np.arange(count, dtype=np.uint64)
        z += np.uint64(1)
        z *= np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(seed) * np.uint64(0xD1B54A32D192ED03)
        z += np.uint64(stream) * np.uint64(0x8CB92BA72F3D8DD7)
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0


class Arrow:
    def __init__(self, rows, dim, border, seed):
        n, d, k = rows, dim, border
        self.shape = (n, d, k)
        noise = uniform(seed, 0, n * d * d).reshape(n, d, d) * (0.5 / d)
        lower = np.tril(noise)
        self.D = lower + np.tril(noise, -1).transpose(0, 2, 1) + 3.0 * np.eye(d)
        scale = 1.5 / (np.sqrt(n * d) + np.sqrt(k))
        self.B = uniform(seed, 1, n * d * k).reshape(n * d, k) * scale
        self.C = uniform(seed, 2, k * k).reshape(k, k)
        self.C *= 0.5 / np.sqrt(k)
        upper = np.triu_indices(k, 1)
        self.C[upper] = self.C.T[upper]
        self.C[np.diag_indices(k)] += 4.0
        self.g_row = uniform(seed, 3, n * d * 24).reshape(24, n * d)
        self.g_border = uniform(seed, 4, k * 24).reshape(24, k)

    def factor_rows(self):
        """The factors L of the row blocks and Y = L^-1 B."""
        n, d, k = self.shape
        self.L = np.linalg.cholesky(self.D)
        self.Y = np.linalg.solve(self.L, self.B.reshape(n, d, k)).reshape(n * d, k)

    def rows_lower(self, x):
        """L^-1 x for x of shape (n, d, columns)."""
        return np.linalg.solve(self.L, x)

    def rows_upper(self, x):
        """L^-T x for x of shape (n, d, columns)."""
        return np.linalg.solve(self.L.transpose(0, 2, 1), x)

    def factor(self):
        """Row blocks, S = C - Y'Y and its factor."""
        self.factor_rows()
        # C is symmetric: its transpose is itself in the Fortran order that BLAS wants.
        S = blas.dsyrk(-1.0, self.Y.T, beta=1.0, c=self.C.T.copy(order="F"), lower=1, overwrite_c=1)
        self.S = sl.cholesky(S, lower=True, overwrite_a=True, check_finite=False)

    def solve(self, g_row, g_border):
        """The step for gradients (columns)."""
        n, d, k = self.shape
        columns = g_row.shape[1] if g_row.ndim == 2 else 1
        u = self.rows_lower(g_row.reshape(n, d, columns)).reshape(n * d, columns)
        right = self.Y.T @ u - g_border.reshape(k, columns)
        d_border = sl.cho_solve((self.S, True), right, overwrite_b=True, check_finite=False)
        v = (u + self.Y @ d_border).reshape(n, d, columns)
        return -self.rows_upper(v).reshape(n * d, columns), d_border

    def log_determinant(self):
        rows = np.log(np.diagonal(self.L, axis1=1, axis2=2)).sum()
        return 2.0 * (rows + np.log(np.diagonal(self.S)).sum())

    def componentwise_error(self, g_row, g_border, d_row, d_border):
        n, d, _ = self.shape

        def product(D, B, C, x, y):
            row = (D @ x.reshape(n, d, 1)).reshape(n * d, 1) + B @ y
            return row, B.T @ x + C @ y

        row, border = product(self.D, self.B, self.C, d_row, d_border)
        sizes = product(*(abs(a) for a in (self.D, self.B, self.C, d_row, d_border)))
        errors = [
            abs(r + g.reshape(-1, 1)) / (s + abs(g.reshape(-1, 1)))
            for r, g, s in zip((row, border), (g_row, g_border), sizes)
        ]
        return float(max(e.max() for e in errors))

    def multiply(self, a, b, c):
        """a b, into c: SciPy's BLAS."""
        return blas.dgemm(1.0, a, b, c=c, overwrite_c=1)

    def product(self):
        """A product of two matrices of PRODUCT_ORDER, after some entries of it were checked."""
        m = PRODUCT_ORDER
        if not hasattr(self, "factors"):
            self.factors = [uniform(1, s, m * m).reshape(m, m, order="F") for s in (5, 6)]
            self.result = np.zeros((m, m), order="F")
            a, b = self.factors
            c = self.multiply(a, b, self.result)
            for i, j in ((0, 0), (m // 3, m - 1), (m - 1, m // 2)):
                terms = a[i] * b[:, j]
                bound = 2 * m * np.finfo(np.float64).eps * abs(terms).sum()
                if not abs(c[i, j] - terms.sum()) <= bound:
                    raise ArithmeticError(f"entry {i}, {j} of the product is {c[i, j]}, not {terms.sum()}")
        return lambda: self.multiply(*self.factors, self.result)

    def phase(self, name):
        if name == "factor":
            return self.factor
        if name == "product":
            return self.product()
        # No error of a step is measured here: both phases are the same work.
        if name in ("solve", "solve-unmeasured"):
            return lambda: self.solve(self.g_row[0], self.g_border[0])
        together, apart = "solve-24-together", "solve-24-apart"
        if name in (together, "solve-24-together-unmeasured"):
            g_row, g_border = self.g_row.T, self.g_border.T
            return lambda: self.solve(g_row, g_border)
        if name == apart:
            return lambda: [self.solve(r, b) for r, b in zip(self.g_row, self.g_border)]
        raise ValueError(f"no phase {name}")


def libraries():
    found = {"numpy": np.__version__, "scipy": scipy.__version__, "python": sys.version.split()[0]}
    for pool in threadpoolctl.threadpool_info():
        name = f"{pool['internal_api']} of {'scipy' if 'scipy.libs' in pool['filepath'] else 'numpy'}"
        found[name] = f"{pool['version']} ({pool.get('architecture', 'unknown')})"
    return found


def serve(make):
    """Answers requests until the input ends; `make` makes an arrow system of a shape and a seed."""
    arrow = None
    for line in sys.stdin:
        request = json.loads(line)
        answer = {}
        if "hello" in request:
            answer["libraries"] = libraries()
        elif "prepare" in request:
            arrow = None
            arrow = make(**request["prepare"])
            arrow.factor()
            g = arrow.g_row[0], arrow.g_border[0]
            answer["componentwise_error"] = arrow.componentwise_error(*g, *arrow.solve(*g))
            answer["log_determinant"] = float(arrow.log_determinant())
        elif "sample" in request:
            work = arrow.phase(request["sample"])
            with threadpoolctl.threadpool_limits(limits=request["threads"]):
                start = time.perf_counter()
                work()
                answer["seconds"] = time.perf_counter() - start
        elif "release" in request:
            arrow = None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(Arrow)
