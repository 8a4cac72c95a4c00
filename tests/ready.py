"""Results of any number of domains, made of random numbers: tables and pictures need no fits."""

import numpy as np
import pandas as pd

import bimix_jax as bx
from bimix_jax.entropy.domains import Entropies
from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.fitting.fitted import Fit
from bimix_jax.judging.noise import NoiseFloor
from bimix_jax.mixture.decision import Decision, Solution
from bimix_jax.uncertainty._differences import Differences
from bimix_jax.uncertainty._guardrails import Guardrails
from bimix_jax.uncertainty._spread import Spread
from bimix_jax.uncertainty.bootstrap import Bootstrap
from bimix_jax.uncertainty.certainty import BetweenLaws, Certainty
from bimix_jax.uncertainty.intervals import Freedom

COUNTS = (2, 7, 22)
"""Domains of the smallest, a usual and a large sweep."""
NAMES = (
    "ArXiv", "Wikipedia_multilingual", "Books3", "GitHub", "OpenWebText2", "PubMed_Central",
    "StackExchange", "DM_Mathematics", "BookCorpus2", "Enron_Emails", "EuroParl", "FreeLaw",
    "Gutenberg_PG-19", "HackerNews", "NIH_ExPorter", "OpenSubtitles", "PhilPapers", "Pile-CC",
    "PubMed_Abstracts", "USPTO_Backgrounds", "Ubuntu_IRC", "YoutubeSubtitles",
)  # fmt: skip
BESIDE = ("recommended", "best run (run03)", "proportional", "UniMax")
"""Mixtures beside each other."""
RUNS, BUDGETS, DRAWS = 12, 6, 60
UNIT = "tokens"


class Ready:
    """All results of a world of some domains."""

    def __init__(self, count: int, ending: str = "") -> None:
        self.rng = np.random.default_rng(count)
        self.domains = [name + ending for name in NAMES[:count]]
        self.mixture = self.rng.dirichlet(np.full(count, 0.7), RUNS) * 0.97 + 0.03 / count
        self.budgets = np.geomspace(1e9, 3.2e10, BUDGETS)
        self.fitted = self._fit(count)

    def _fit(self, count: int) -> Fit:
        exponents = self.rng.uniform([0.03, 0.2], [0.4, 0.6], (count, 2))
        amplitudes = self.rng.uniform([0.1, 1.0], [0.9, 3.0], (count, 2))
        scale = np.full(count, self.budgets[-1])
        return Fit(
            coefficients=Coefficients(exponents, amplitudes, np.eye(count), scale),
            code=np.zeros(count, int),
            identified=np.ones((count, 2), bool),
            points=np.full(count, RUNS * BUDGETS),
            sum_of_squares=np.full(count, 1e-3),
            error=self.rng.uniform(1e-4, 0.02, count),
            observed_proportions=np.stack([self.mixture.min(axis=0), self.mixture.max(axis=0)]),
            observed_budgets=self.budgets[[0, -1]],
            shrinkage=np.zeros(count),
            agreement=np.ones(count),
            law=bx.BiMix(),
            domains=tuple(self.domains),
            targets=tuple(self.domains),
            unit=UNIT,
        )

    def shares(self, rows: int, names: list[str] | None = None, even: float = 0.7) -> pd.DataFrame:
        """Mixtures (rows, domains); the first domain has next to nothing in the first row."""
        values = self.rng.dirichlet(np.full(len(self.domains), even), rows)
        values[0, 0] = 1.65e-11
        values[0, 1:] /= values[0, 1:].sum()
        labels = pd.Index(names or [f"mixture{i}" for i in range(rows)], name="mixture")
        return pd.DataFrame(values, index=labels, columns=self.domains)

    def losses(self, rows: int) -> pd.DataFrame:
        """Losses (rows, targets) in nats."""
        values = self.rng.uniform(1.2, 4.5, (rows, len(self.domains)))
        return pd.DataFrame(values, columns=self.domains)

    def sweep(self) -> bx.Sweep:
        """Sweep whose losses are those that the fit predicts, to a percent."""
        mixture = np.repeat(self.mixture, BUDGETS, axis=0)
        budget = np.tile(self.budgets, RUNS)
        loss = self.fitted.predict_points(mixture, budget)
        loss = loss * np.exp(0.01 * self.rng.standard_normal(loss.shape))
        columns = {"run": np.repeat([f"run{i:02}" for i in range(RUNS)], BUDGETS), UNIT: budget}
        columns |= {f"r_{name}": mixture[:, i] for i, name in enumerate(self.domains)}
        columns |= {f"loss_{name}": loss[:, i] for i, name in enumerate(self.domains)}
        return bx.read_sweep(pd.DataFrame(columns))

    def evaluation(self) -> bx.Evaluation:
        """Evaluation of the fit on that sweep."""
        return bx.evaluate(self.fitted, self.sweep())

    def comparison(self) -> bx.Comparison:
        """Comparison of three laws on two kinds of splits."""
        laws = ("BiMix", "TransferBiMix", "DataMixingLawPlus")
        measured = np.exp(self.rng.normal(1, 0.2, (RUNS * 2, len(self.domains))))
        noise = self.rng.normal(0, 0.02, (len(laws), 4, *measured.shape))
        unidentified = np.zeros((len(laws), 4, len(self.domains)), bool)
        unidentified[2] = True
        return bx.Comparison(
            laws=laws,
            targets=tuple(self.domains),
            kinds=("mixtures", "mixtures", "both", "both"),
            test=self.rng.random((4, RUNS * 2)) < 0.5,
            measured=measured,
            predicted=measured * np.exp(noise),
            unidentified=unidentified,
            budget=np.tile([1e9, 2e9], RUNS),
            group=np.repeat(np.arange(RUNS), 2),
            noise=NoiseFloor(0.004, 0.003),
            coefficients=(4, 10, 12),
        )

    def optimum(self, bound: bool = True) -> bx.Optimum:
        """A recommended mixture, held by a bound or free."""
        mixture, free = self.shares(2).to_numpy()
        losses, beside = self.losses(2).to_numpy()
        named = {"index": self.domains}
        ends = pd.DataFrame({"min": mixture * 0.7, "max": mixture * 1.2 + 0.02}, **named)
        held = {"bound": 0.25, "multiplier": 0.5, "gain": 0.00125}
        binding = pd.DataFrame(held, index=[f"{self.domains[-1]} ≤ 0.25"] if bound else [])
        decision = Decision.of(self.fitted, 4e11)
        values = losses.mean() + np.array([0, 0.0123, 0.0123])
        best = bx.Optimum(decision, Solution(mixture, np.stack([losses, beside, beside]), values))
        # What is computed when it is asked for stands where it would be kept.
        vars(best).update(
            observed=ends.assign(flag=["below", *[""] * (len(self.domains) - 1)]),
            unconstrained=pd.Series(free, **named),
            binding=binding.rename_axis("constraint"),
            epochs=pd.Series(self.rng.uniform(0.01, 5, len(self.domains)), **named),
            saved=0.123,
            flatness=pd.DataFrame(
                {"flat_low": mixture * 0.9, "flat_high": mixture * 1.1 + 0.01}, **named
            ),
            alternatives=self.shares(2, ["a", "b"]),
            notes=("A note.",),
        )
        return best

    def certainty(self) -> Certainty:
        """Certainty of that optimum, from random resamples."""
        fitted, best = self.fitted, self.optimum(bound=False)
        draws = self.rng.dirichlet(best.mixture.to_numpy() * 200 + 0.01, DRAWS)
        gains = self.rng.normal(0.004, 0.002, (3, DRAWS))
        drawn = Bootstrap(
            fitted, fitted, fitted, Freedom(RUNS, 3.0), "multinomial", 0, runs=("run00", "run01")
        )
        influence = {"moved": 0.0123, "domain": self.domains[0], "change": -0.0123, "gain": 0.0021}
        rows = pd.Index([f"run{i:02}" for i in range(RUNS)], name="without run")
        apart = Spread.of_differences(self.rng.normal(0, 0.002, RUNS), np.zeros((2, RUNS)))
        errors = Differences(apart, 1.0, 1.0, 0.3)
        sure = Certainty(
            best,
            drawn,
            0.9,
            draws,
            *gains,
            pd.DataFrame([influence] * RUNS, index=rows),
            errors,
            Guardrails.of(drawn, best.decision),
        )
        # It stands where it would be kept: random resamples predict nothing.
        low, high = 0.8 * best.mixture, 1.2 * best.mixture
        vars(sure).update(indistinct=pd.DataFrame({"low": low, "high": high}))
        return sure

    def calibration(self) -> bx.Calibration:
        """Intervals and claims that hold about as often as they say."""
        error = self.rng.normal(0, 0.01, (40, len(self.domains)))
        half = np.broadcast_to(np.array([0.007, 0.013, 0.017])[:, None, None], (3, *error.shape))
        claimed = self.rng.uniform(0.5, 1, 200)
        return bx.Calibration(
            tuple(self.domains), error, half, claimed, self.rng.random(200) < claimed
        )

    def between_laws(self) -> BetweenLaws:
        """Optima of three laws."""
        laws = ["BiMix", "TransferBiMix", "DataMixingLawPlus"]
        mixtures = self.shares(3, laws).T.rename_axis("domain")
        spread = {"least": mixtures.min(axis=1), "largest": mixtures.max(axis=1)}
        gains = pd.DataFrame(self.rng.normal(0.01, 0.005, (3, 3)), index=laws, columns=laws)
        return BetweenLaws(mixtures.assign(**spread), gains.rename_axis("predicted by"))

    def path(self, steps: int = 25, bands: bool = False) -> bx.OptimalPath:
        """Proportions that move steadily along the budget."""
        begin, end = self.shares(2).to_numpy()
        at = np.linspace(0, 1, steps)[:, None]
        index = pd.Index(np.geomspace(1e9, 6.4e10, steps), name=UNIT)
        mixtures = pd.DataFrame((1 - at) * begin + at * end, index=index, columns=self.domains)
        return bx.OptimalPath(
            mixtures=mixtures,
            losses=self.losses(steps).set_axis(index),
            objective=pd.Series(np.linspace(3.2, 2.1, steps), index, name="objective"),
            low=mixtures * 0.9 if bands else None,
            high=mixtures * 1.1 if bands else None,
            level=0.9,
            observed_budget=3.2e10,
            unit=UNIT,
            notes=(),
        )

    def tradeoff(self) -> bx.Tradeoff:
        """Between the first half of the targets and the rest."""
        half = (len(self.domains) + 1) // 2
        first, second = tuple(self.domains[:half]), tuple(self.domains[half:])
        weight = 1 / (1 + np.exp(-np.linspace(-3.9, 3.9, 41)))
        index = pd.Index(weight, name="weight")
        begin, end = self.shares(2).to_numpy()
        at = weight[:, None]
        losses = np.repeat(self.losses(1).to_numpy(), 41, axis=0)
        losses[:, :half] += 0.2 * at**2
        losses[:, half:] += 0.3 * (1 - at) ** 2
        means = [losses[:, :half].mean() + 0.05, losses[:, half:].mean() + 0.05]
        front = {"first": losses[:, :half].mean(axis=1), "second": losses[:, half:].mean(axis=1)}
        return bx.Tradeoff(
            first=first,
            second=second,
            mixtures=pd.DataFrame((1 - at) * begin + at * end, index=index, columns=self.domains),
            losses=pd.DataFrame(losses, index=index, columns=self.domains),
            front=pd.DataFrame(front, index=index),
            units=("nats", "nats"),
            reference=pd.Series(means, index=["first", "second"], name="uniform"),
            measured=pd.DataFrame({"min": 0.0, "max": 1.0}, index=self.domains),
            budget=3865376694.8021803,
            unit=UNIT,
            proven=True,
            notes=(),
        )

    def sensitivity(self) -> bx.Sensitivity:
        """Large own effects, small ones of the others."""
        count = len(self.domains)
        nats = self.rng.normal(0.0005, 0.0003, (count, count)) - 0.02 * np.eye(count)
        named = {"index": self.domains}
        return bx.Sensitivity(
            nats=pd.DataFrame(nats, columns=self.domains, **named),
            mean=pd.Series(nats.mean(axis=1), name="mean", **named),
            losses=self.losses(1).iloc[0],
            mixture=self.shares(1).iloc[0],
            budget=4e10,
            unit=UNIT,
            notes=(),
            better=(-1,) * (len(self.domains) + 1),
        )

    def proposal(self) -> bx.Proposal:
        """Four runs, the third of which repeats the first."""
        mixtures = self.shares(4, [f"next{i}" for i in range(1, 5)]).rename_axis("run")
        mixtures.iloc[2] = mixtures.iloc[0]
        falling = 0.004 * 0.8 ** np.arange(1, 5)
        return bx.Proposal(
            mixtures=mixtures,
            regret_now=0.004,
            regret_left=pd.Series(falling, mixtures.index, name="regret_left"),
            regret_random=pd.Series(falling**0.98, mixtures.index, name="regret_random"),
            noise=pd.DataFrame({"within": 0.001, "between": 0.002}, index=self.domains),
            budget=4e10,
            unit=UNIT,
            notes=(),
        )

    def entropies(self) -> Entropies:
        """With curves of five samples per domain, by two estimators."""
        count, index = len(self.domains), pd.Index(self.domains, name="domain")
        tokens = self.rng.uniform(2e6, 9e8, count).round()
        values = {}
        for estimator in ("plug-in", "miller-madow", "chao-shen"):
            for proxy, (low, high) in {"SE": (6, 8), "CE": (2, 4), "JE": (9, 11)}.items():
                values[estimator, proxy] = self.rng.uniform(low, high, count)
        estimates = pd.DataFrame(values, index=index)
        sizes = {"tokens": tokens, "pairs": tokens - 1, "types": 5e4, "pair_types": 1e6,
                 "coverage": self.rng.uniform(0.5, 1, count)}  # fmt: skip
        curve = [
            {"domain": name, "tokens": tokens[i] / 4.0**step, "SE": 6.0,
             "CE": estimates.loc[name, ("plug-in", "CE")] - 0.3 * step, "JE": 9.0}
            for i, name in enumerate(self.domains) for step in (5, 4, 3, 2, 1)
        ]  # fmt: skip
        return Entropies(
            estimates=estimates,
            sizes=pd.DataFrame(sizes, index=index),
            curve=pd.DataFrame(curve),
            equal=pd.DataFrame({p: estimates["plug-in", p] for p in ("SE", "CE", "JE")}),
            notes=(),
            von_neumann=pd.Series(self.rng.uniform(3, 5, count), index),
        )

    def _baselines(self):
        best = self.optimum()
        ends = pd.DataFrame({"low": 0.9 * best.mixture, "high": 1.1 * best.mixture})
        shares = self.shares(4, list(BESIDE))
        return bx.plots.plot_baselines(shares, ends, best.observed, best.epochs)

    def figures(self):
        """Every picture of the package, by name."""
        plots, sweep = bx.plots, self.sweep()
        return {
            "curves": plots.plot_curves(self.fitted, sweep),
            "proportions": plots.plot_proportions(self.fitted, sweep),
            "predicted": plots.plot_predicted(self.evaluation()),
            "comparison": plots.plot_comparison(self.comparison()),
            "calibration": plots.plot_calibration(self.calibration()),
            "mixture": plots.plot_mixture(self.optimum(), "uniform"),
            "certainty": plots.plot_certainty(self.certainty(), "uniform"),
            "baselines": self._baselines(),
            "costs": plots.plot_costs(self.losses(4).set_axis(BESIDE)),
            "path": plots.plot_path(self.path(bands=True)),
            "tradeoff": plots.plot_tradeoff(self.tradeoff()),
            "sensitivity": plots.plot_sensitivity(self.sensitivity()),
            "entropies": plots.plot_entropies(self.entropies()),
            "proposal": plots.plot_proposal(self.proposal()),
        }
