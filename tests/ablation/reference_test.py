#!/usr/bin/env python3
# ctest: labels=slow timeout=600 processors=1
"""What verdicts are made of, against scipy and statsmodels: distributions, noise, intervals, main effects, F."""

import json
import math
import os
import pathlib
import subprocess
import sys
import unittest

try:
    import numpy as np
    import pandas as pd
    from scipy import integrate, optimize, stats
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm
except ImportError as error:
    print(f"scipy, statsmodels or pandas is missing: {error}")
    sys.exit(77)

PROBE = pathlib.Path(os.environ["BRAID_BINARY_DIR"], "tests", "statistics_probe")
EQUAL = math.sqrt(0.5)


def probe(request):
    done = subprocess.run([PROBE], input=json.dumps(request), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def dunnett_p(c, lambdas, df):
    """By nested adaptive quadrature over the shared normal z and the noise's s; df None: the noise is known."""
    lambdas = np.array(lambdas)
    rest = np.sqrt(1 - lambdas ** 2)

    def within(s):
        def given(z):
            high, low = (lambdas * z + c * s) / rest, (lambdas * z - c * s) / rest
            return stats.norm._pdf(z) * np.prod(stats.norm._cdf(high) - stats.norm._cdf(low))
        return 2 * integrate.quad(given, 0, 10, epsabs=1e-12, epsrel=1e-11, limit=200)[0]

    if df is None:
        return 1 - within(1)
    spread = stats.chi(df, scale=1 / math.sqrt(df))
    ends = spread.ppf([1e-13, 0.1, 0.5, 0.9]).tolist() + [spread.isf(1e-13)]
    return 1 - sum(integrate.quad(lambda s: spread.pdf(s) * within(s), low, high, epsabs=1e-11, epsrel=1e-10)[0]
                   for low, high in zip(ends, ends[1:]))


def dunnett_critical(alpha, comparisons, df):
    if comparisons == 1:
        return stats.t.isf(alpha / 2, df)
    # Bounded by a single comparison's and by Bonferroni's.
    return optimize.brentq(lambda c: dunnett_p(c, [EQUAL] * comparisons, df) - alpha, stats.t.isf(alpha / 2, df),
                           stats.t.isf(alpha / 2 / comparisons, df), xtol=1e-10)


class Reference(unittest.TestCase):
    def close(self, here, there, what):
        self.assertLess(abs(here - there), 1e-8 * max(1, abs(there)), f"{what}: {here}, expected {there}")

    def compare_queries(self, cases):
        for (words, expected), here in zip(cases, probe({"queries": [words for words, _ in cases]}), strict=True):
            self.close(here, expected, words)

    def test_t_f_and_noncentral_t(self):
        cases = []
        for df in (1, 2, 3.5, 10, 120):
            for t in (0, 0.4, 2, 7):
                cases.append((["student_p", t, df], 2 * stats.t.sf(t, df)))
                cases.append((["f_p", t, 3, df], stats.f.sf(t, 3, df)))
            for c, away in ((2.2, 0), (3, 1), (2.5, 4)):
                power = stats.nct.sf(c, df, away) + stats.nct.cdf(-c, df, away) if away else 2 * stats.t.sf(c, df)
                cases.append((["noncentral_t_power", c, df, away], power))
        cases.append((["student_p", 1.5, None], 2 * stats.norm.sf(1.5)))
        self.compare_queries(cases)

    def test_dunnett(self):
        cases = []
        for c, lambdas, df in ((2.5, [EQUAL] * 3, 6), (1.2, [EQUAL] * 2, 1), (4, [EQUAL] * 5, 2),
                               (2.9, [EQUAL] * 12, 36), (2.2, [0.3, 0.6, 0.9], 8), (2.3, [EQUAL] * 4, None),
                               (2, [0, 0.5], None)):
            cases.append((["dunnett_p", c, lambdas, df], dunnett_p(c, lambdas, df)))
        for comparisons, df in ((1, 3), (2, 4), (5, 15)):
            cases.append((["dunnett_critical", 0.05, [EQUAL] * comparisons, df],
                          dunnett_critical(0.05, comparisons, df)))
        self.compare_queries(cases)

    def check_difference(self, here, estimate, error, comparisons, df, alpha, what):
        half = dunnett_critical(alpha, comparisons, df) * error
        self.close(here["estimate"], estimate, what)
        self.close(here["low"], estimate - half, what)
        self.close(here["high"], estimate + half, what)
        p = 2 * stats.t.sf(abs(estimate) / error, df) if comparisons == 1 else \
            dunnett_p(abs(estimate) / error, [EQUAL] * comparisons, df)
        self.close(here["p"], p, what)

    def test_blocks(self):
        """Twelve random tables with seed effects, some with a diverged run or unequal noise, against OLS."""
        paired = 0
        for seed in range(12):
            rng = np.random.default_rng(seed)
            variants, seeds = int(rng.integers(2, 6)), int(rng.integers(2, 7))
            x = rng.normal(size=(variants, seeds)) * 0.3 + rng.normal(size=seeds) + rng.normal(size=(variants, 1))
            if seed % 3 == 1:
                x[-1] += 30 * rng.normal(size=seeds)
            rows, reference, looks = list(range(variants)), int(rng.integers(variants)), int(rng.integers(1, 3))
            outcomes = x.tolist()
            if seed % 4 == 3:
                outcomes.append([None] + [1e3] * (seeds - 1))
            with self.subTest(seed=seed):
                here = probe({"outcomes": outcomes, "reference": reference, "alpha": 0.1, "looks": looks})
                data = pd.DataFrame({"y": x.ravel(), "v": np.repeat(rows, seeds), "s": np.tile(range(seeds), variants)})
                fit = ols("y ~ C(v) + C(s)", data).fit()
                self.close(here["sd"], math.sqrt(fit.mse_resid), "sd")
                self.assertEqual(here["df"], fit.df_resid)
                seed_square = anova_lm(fit, typ=1).loc["C(s)", "mean_sq"]
                between = max(0, (seed_square - fit.mse_resid) / variants)
                self.close(here["pairing_correlation"], between / (between + fit.mse_resid), "correlation")
                self.assertEqual("equal_variances_p" in here, variants > 3 and seeds > 3)
                for v in rows:
                    if v == reference:
                        continue
                    apart = x[v] - x[reference]
                    if here["pooled"]:
                        error = math.sqrt(2 * fit.mse_resid / seeds)
                        self.check_difference(here["differences"][v], apart.mean(), error, variants - 1, fit.df_resid,
                                              0.1 / looks, f"{v}")
                    else:
                        paired += 1
                        test = stats.ttest_1samp(apart, 0)
                        interval = stats.t.interval(1 - 0.1 / looks / (variants - 1), seeds - 1, apart.mean(),
                                                    stats.sem(apart))
                        self.close(here["differences"][v]["low"], interval[0], "low")
                        self.close(here["differences"][v]["high"], interval[1], "high")
                        self.close(here["differences"][v]["p"], min(1, (variants - 1) * test.pvalue), "p")

        self.assertGreater(paired, 0, "no table of unequal noise")

    def test_grids(self):
        """Full grids of two and three axes: main effects and the F of interactions, as anova_lm has them."""
        for seed, sizes in enumerate(((2, 2), (2, 3), (3, 3), (2, 2, 2), (2, 3, 2), (1, 2, 3))):
            rng = np.random.default_rng(100 + seed)
            seeds = int(rng.integers(2, 6))
            levels = [list(index) for index in np.ndindex(*sizes)]
            order = rng.permutation(len(levels))
            levels = [levels[i] for i in order]
            x = rng.normal(size=(len(levels), seeds)) + 2 * rng.normal(size=seeds)
            with self.subTest(sizes=sizes):
                reference = int(rng.integers(len(levels)))
                here = probe({"outcomes": x.tolist(), "reference": reference, "levels": levels})
                data = pd.DataFrame([{"y": x[v, s], "s": s, "cell": v, **{f"a{i}": a for i, a in enumerate(levels[v])}}
                                     for v in range(len(levels)) for s in range(seeds)])
                axes = [i for i, size in enumerate(sizes) if size > 1]
                fit = ols("y ~ C(s) + " + " * ".join(f"C(a{i})" for i in axes), data).fit()
                table = anova_lm(fit, typ=1)  # balanced, so any type
                pairs = [(a, b) for i, a in enumerate(axes) for b in axes[i + 1:]]
                self.assertEqual([tuple(i["axes"]) for i in here["interactions"]], pairs)
                for (a, b), interaction in zip(pairs, here["interactions"], strict=True):
                    row = table.loc[f"C(a{a}):C(a{b})"]
                    self.close(interaction["f"], row["F"], f"F of {a} and {b}")
                    self.close(interaction["p"], row["PR(>F)"], f"p of {a} and {b}")
                    self.assertEqual(interaction["df"], [row["df"], fit.df_resid])
                self.assertEqual(len(here["main_effects"]), sum(size - 1 for size in sizes))
                for effect in here["main_effects"]:
                    axis, level, own = effect["axis"], effect["level"], levels[reference][effect["axis"]]
                    means = data.groupby(f"a{axis}")["y"].mean()
                    runs = len(data) / sizes[axis]
                    self.check_difference(effect, means[level] - means[own], math.sqrt(2 * fit.mse_resid / runs),
                                          sizes[axis] - 1, fit.df_resid, 0.05, f"axis {axis} level {level}")

    def test_no_main_effects_of_a_grid_with_a_hole(self):
        levels = [[0, 0], [0, 1], [1, 0], [1, 1]]
        for outcomes, cells in (([[1, 2], [2, 3], [3, 5]], levels[:3]),
                                ([[1, 2], [2, 3], [3, 5], [1, None]], levels)):
            here = probe({"outcomes": outcomes, "levels": cells})
            self.assertEqual((here["main_effects"], here["interactions"], len(here["notes"])), ([], [], 1))


if __name__ == "__main__":
    unittest.main()
