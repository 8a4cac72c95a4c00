// Predicted losses, their intervals, and how far a mixture is from what was run.
// `lossOf` is the fitted law, written from its formula in Python.

function decoded(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Float64Array(bytes.buffer);
}

// Losses of every target by one set of coefficients: the fit's, or those of a resample.
function lossesBy(fit, values, start, mixture, budget) {
  const { exponents, amplitudes } = fit;
  return fit.own.map((own, target) => {
    const first = start + target * (exponents + amplitudes);
    const middle = first + exponents;
    return lossOf(
      values.subarray(first, middle),
      values.subarray(middle, middle + amplitudes),
      own,
      fit.scale[target],
      mixture,
      budget,
    );
  });
}

// Half the width of the intervals of log losses, by target.
function halfWidths(data, mixture, budget) {
  const size = data.fit.values.length;
  const draws = [];
  for (let start = 0; start < data.fit.resamples.length; start += size) {
    const losses = lossesBy(data.fit, data.fit.resamples, start, mixture, budget);
    draws.push(losses.map(Math.log));
  }
  const spread = nearestSpread(data.spreads, budget);
  const beyond = Math.log(Math.max(budget / data.observed.budgets[1], 1)) ** 2;
  return data.targets.map((_, i) => {
    const sampling = variance(draws.map((losses) => losses[i]).filter(Number.isFinite));
    const within = Math.max(spread.base[i] + sampling, spread.least[i]);
    return (spread.width[i] ?? NaN) * Math.sqrt(within + beyond * spread.growth[i]);
  });
}

function nearestSpread(spreads, budget) {
  const apart = ({ budget: at }) => Math.abs(Math.log(at / budget));
  return spreads.reduce((best, each) => (apart(each) < apart(best) ? each : best));
}

const ONE_ABOVE = 0.8413447460685429; // share of a normal distribution below one deviation

// Variance of most values: few draws that go astray, by any amount, do not count.
function variance(values) {
  const ordered = [...values].sort((a, b) => a - b);
  const high = atRank(ordered, ONE_ABOVE * (ordered.length - 1));
  const low = atRank(ordered, (1 - ONE_ABOVE) * (ordered.length - 1));
  return ((high - low) / 2) ** 2;
}

function atRank(ordered, rank) {
  const below = ordered[Math.floor(rank)];
  return below + (rank - Math.floor(rank)) * (ordered[Math.ceil(rank)] - below);
}

// The number that the decision minimises: the weighted mean, or the largest weighted loss.
function objectiveOf(data, losses) {
  const counted = losses.map((loss, i) => [loss, data.weights[i]]).filter(([, w]) => w > 0);
  if (data.objective === "worst") return Math.max(...counted.map(([loss, w]) => loss * w));
  const total = counted.reduce((sum, [, w]) => sum + w, 0);
  return counted.reduce((sum, [loss, w]) => sum + loss * w, 0) / total;
}

function predict(data, mixture, budget) {
  const losses = lossesBy(data.fit, data.fit.values, 0, mixture, budget);
  const half = data.spreads.length ? halfWidths(data, mixture, budget) : losses.map(() => NaN);
  return {
    losses,
    low: losses.map((loss, i) => loss * Math.exp(-half[i])),
    high: losses.map((loss, i) => loss * Math.exp(half[i])),
    objective: objectiveOf(data, losses),
  };
}

// Objectives of a mixture at the decision's budget: by the fit, then by every resample.
function objectivesBy(data, mixture) {
  const { fit, budget } = data;
  const found = [objectiveOf(data, lossesBy(fit, fit.values, 0, mixture, budget))];
  for (let start = 0; start < fit.resamples.length; start += fit.values.length) {
    found.push(objectiveOf(data, lossesBy(fit, fit.resamples, start, mixture, budget)));
  }
  return found;
}

// Probability that the recommended mixture is better than another, at the decision's budget.
function probability(data, mixture) {
  const { terms, slope, apart, units, ratio } = data.differences;
  data.best ??= objectivesBy(data, data.mixture);
  const [whole, ...draws] = objectivesBy(data, mixture).map((x, i) => x / data.best[i] - 1);
  const share = distance(mixture, data.mixture) / apart;
  const sampling = slope ** 2 * variance(draws.filter(Number.isFinite));
  const within = Math.max(share * terms.base + sampling, share * terms.least);
  const beyond = share * Math.log(Math.max(ratio, 1)) ** 2 * terms.growth;
  const deviation = Math.sqrt(Math.max(within + beyond, Number.MIN_VALUE));
  return studentBelow(Math.max(units - 1, 1), (slope * whole) / deviation);
}

const PARTS = 2000;

// Distribution function of Student's t. With t = √f·tan θ its density is cos(θ)^(f − 1), up to a
// factor, which Simpson's rule integrates.
function studentBelow(freedom, t) {
  const until = Math.atan(t / Math.sqrt(freedom));
  const area = (end) => {
    let sum = 0;
    for (let i = 0; i <= PARTS; i++) {
      const weight = i === 0 || i === PARTS ? 1 : i % 2 ? 4 : 2;
      sum += weight * Math.cos((end * i) / PARTS) ** (freedom - 1);
    }
    return (sum * end) / PARTS / 3;
  };
  return 0.5 + area(until) / area(Math.PI / 2) / 2;
}

// Share of the tokens that change their domain between two mixtures.
function distance(one, other) {
  return one.reduce((sum, share, i) => sum + Math.abs(share - other[i]), 0) / 2;
}

const STEPS = 3000;
const PRECISION = 1e-9;

// The blend of points nearest to a mixture, by Frank and Wolfe's method with away steps.
function nearestBlend(points, mixture) {
  const weights = points.map((_, i) => (i === 0 ? 1 : 0));
  const at = [...points[0]];
  for (let step = 0; step < STEPS; step++) {
    const slope = points.map((point) =>
      point.reduce((sum, share, k) => sum + share * (at[k] - mixture[k]), 0),
    );
    const here = at.reduce((sum, share, k) => sum + share * (share - mixture[k]), 0);
    let [best, worst] = [0, -1];
    slope.forEach((value, i) => {
      if (value < slope[best]) best = i;
      if (weights[i] > 0 && (worst < 0 || value > slope[worst])) worst = i;
    });
    if (here - slope[best] < PRECISION) break;
    const away = slope[worst] - here > here - slope[best] && weights[worst] < 1;
    const towards = points[away ? worst : best];
    const way = at.map((share, k) => (away ? share - towards[k] : towards[k] - share));
    const most = away ? weights[worst] / (1 - weights[worst]) : 1;
    const gain = away ? slope[worst] - here : here - slope[best];
    const length = Math.min(most, gain / way.reduce((sum, x) => sum + x * x, 0));
    weights.forEach((weight, i) => (weights[i] = weight * (away ? 1 + length : 1 - length)));
    weights[away ? worst : best] += away ? -length : length;
    if (away && length === most) weights[worst] = 0;
    way.forEach((x, k) => (at[k] += length * x));
  }
  return at;
}

// What takes a prediction outside of what was run, in words; nothing inside.
function warningsOf(data, mixture, budget) {
  const { least, most, budgets, mixtures } = data.observed;
  const off = mixture.map((share, i) => share < least[i] - 1e-9 || share > most[i] + 1e-9);
  const texts = data.domains
    .filter((_, i) => off[i])
    .map((domain) => {
      const i = data.domains.indexOf(domain);
      const range = `${shown(least[i], "share")} to ${shown(most[i], "share")}`;
      return `${domain}: ${shown(mixture[i], "share")}, and the sweep has ${range}.`;
    });
  const blended = off.some(Boolean) || !mixtures ? mixture : nearestBlend(mixtures, mixture);
  if (mixture.some((share, i) => Math.abs(share - blended[i]) > data.noticed)) {
    texts.push("No blend of the sweep's mixtures has these proportions together.");
  }
  const [first, last] = budgets;
  if (budget * data.far < first * (1 - 1e-9)) {
    texts.push(`The budget is ${general(budget / first, 3)} × the least one in the sweep.`);
  }
  if (budget > data.far * last * (1 + 1e-9)) {
    texts.push(`The budget is ${general(budget / last, 3)} × the largest one in the sweep.`);
  }
  return texts;
}
