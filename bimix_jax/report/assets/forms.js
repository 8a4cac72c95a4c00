// A mixture as the files of training stacks: the same text as `bimix optimize --emit` writes.

// Shares rounded to decimals so that they sum to 1 (method of largest remainders).
function roundedShares(shares, decimals) {
  const unit = 10 ** decimals;
  const whole = shares.map((share) => Math.floor(share * unit));
  const left = Math.round(unit - whole.reduce((a, b) => a + b, 0));
  const rest = shares.map((share, i) => share * unit - whole[i]);
  const order = shares.map((_, i) => i).sort((a, b) => rest[b] - rest[a] || a - b);
  for (const i of order.slice(0, left)) whole[i] += 1;
  return whole.map((count) => count / unit);
}

function recipeOf(data, mixture, budget) {
  const of = data.recipe;
  const tokens = of.tokens === null ? of.per_budget && of.per_budget * budget : of.tokens;
  const weights = roundedShares(mixture, of.decimals);
  // A domain of unknown size has null.
  const epochs = tokens !== null && of.available !== null
    ? weights.map((w, i) => (of.available[i] === null ? null : (w * tokens) / of.available[i]))
    : null;
  const stamp = { ...of.stamp, budget: general(budget, 6) + " " + data.unit };
  return { ...of, domains: data.domains, weights, tokens, epochs, stamp };
}

function keyed(names, values) {
  return new Map(names.map((name, i) => [name, values[i]]));
}

// Without the entries that are null.
function known(document) {
  return new Map(entriesOf(document).filter(([, value]) => value !== null));
}

function sourcesOf(recipe) {
  const rows = recipe.domains.map((domain, i) => [domain, recipe.weights[i], i]);
  return rows.filter(([, weight]) => weight > 0);
}

function jsonForm(recipe) {
  const { domains, weights, tokens, epochs, paths, stamp } = recipe;
  const document = {
    mixture: keyed(domains, weights),
    planned_tokens: tokens,
    tokens: tokens && keyed(domains, weights.map((weight) => weight * tokens)),
    epochs: epochs && known(keyed(domains, epochs)),
    paths: paths && keyed(domains, paths),
    stamp,
  };
  return jsonText(known(document), 1) + "\n";
}

function megatronForm(recipe) {
  return sourcesOf(recipe)
    .flatMap(([, weight, i]) => {
      const prefixes = recipe.paths[i];
      return prefixes.map((prefix) => `${general(weight / prefixes.length, 15)} ${prefix}\n`);
    })
    .join("");
}

function hfForm(recipe) {
  let weights = recipe.weights;
  if (recipe.lengths) {
    const documents = weights.map((weight, i) => weight / recipe.lengths[i]);
    const total = documents.reduce((a, b) => a + b, 0);
    weights = documents.map((count) => count / total);
  }
  const sources = sourcesOf(recipe);
  const [strategy, why] = stoppingOf(recipe, sources);
  const document = {
    domains: sources.map(([domain]) => domain),
    paths: sources.map(([, , i]) => recipe.paths[i]),
    interleave_datasets: {
      probabilities: sources.map(([, , i]) => weights[i]),
      seed: BigInt(recipe.seed),
      stopping_strategy: strategy,
    },
    why: [recipe.examples, why],
    stamp: recipe.stamp,
  };
  return jsonText(document, 1) + "\n";
}

function stoppingOf(recipe, sources) {
  const texts = recipe.stopping;
  if (!recipe.epochs) return texts.unknown;
  const used = sources.map(([, , i]) => recipe.epochs[i] ?? Infinity);
  const [least, most] = [Math.min(...used), Math.max(...used)];
  const [strategy, text] = most <= 1 ? texts.none : least <= 1 ? texts.some : texts.all;
  const number = (x) => (x === Infinity ? "inf" : general(x, 3));
  return [strategy, text.replace("{most}", number(most)).replace("{least}", number(least))];
}

function yamlLines(document, words) {
  return entriesOf(document).flatMap(([name, value]) => {
    const plain = new RegExp(`^(?:${words.plain})$`).test(name);
    const label = plain && !words.taken.includes(name.toLowerCase()) ? name : jsonText(name);
    if (Array.isArray(value) && typeof value[0] === "object") {
      const items = value.flatMap((item) =>
        yamlLines(item, words).map((line, i) => (i ? "    " : "  - ") + line),
      );
      return [label + ":\n", ...items];
    }
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      return [label + ":\n", ...yamlLines(value, words).map((line) => "  " + line)];
    }
    return [`${label}: ${jsonText(value)}\n`];
  });
}

function olmixForm(recipe) {
  const sources = sourcesOf(recipe);
  const mix = sources.map(([domain, weight, i]) => {
    const times = recipe.epochs ? Math.max(1, recipe.epochs[i] ?? 1) : 1;
    return [domain, { weight, repetition_factor: times }];
  });
  const comment = Object.entries(recipe.stamp).map(([name, text]) => `# bimix_jax ${name}: ${text}\n`);
  const where = ([domain, , i]) => ({ name: domain, paths: recipe.paths[i] });
  const data = recipe.paths ? yamlLines({ data: { sources: sources.map(where) } }, recipe.yaml) : [];
  const lines = yamlLines({ mix: new Map(mix) }, recipe.yaml);
  return [...comment, ...data, ...lines].join("");
}

const FORMS = { megatron: megatronForm, hf: hfForm, olmix: olmixForm, json: jsonForm };
