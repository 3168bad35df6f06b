// What the explorer computes. The data hold the law, its draws and the cost of every choice, written by
// vlmscale.report.explorer; nothing here knows an LLM or a formula of cost. All functions are pure.
"use strict";

const model = {
  // GFLOPs as a polynomial in text tokens q and generated tokens g, with the coefficients of
  // 1, q, g, q^2, q g, g^2.
  polynomial: ([one, q1, g1, q2, qg, g2], q, g) =>
    one + q1 * q + g1 * g + q2 * q * q + qg * q * g + g2 * g * g,

  quantile(values, p) {
    const sorted = Float64Array.from(values).sort();
    const at = (sorted.length - 1) * p;
    const low = Math.floor(at);
    const part = at - low;
    if (part === 0) return sorted[low];
    return sorted[low] + (sorted[low + 1] - sorted[low]) * part;
  },

  interval: (values) => [model.quantile(values, 0.025), model.quantile(values, 0.975)],

  predict: (law, n, v) =>
    law.amplitude * Math.exp(-law.alpha * Math.log(n) - law.beta * Math.log(v)) + law.floor,

  // The error at (n, v) by each draw of the law.
  predictDraws({ amplitude, alpha, beta, floor }, n, v) {
    const logN = Math.log(n);
    const logV = Math.log(v);
    return amplitude.map((a, i) => a * Math.exp(-alpha[i] * logN - beta[i] * logV) + floor[i]);
  },

  // Which of the prompts in the data is put, and the part of an image's cost that one answer pays.
  prompt: (settings) => (settings.cached ? "cached" : settings.keep ? "kept" : "new"),
  share: (settings) => (settings.unit === "ms" ? 1 : settings.image ? 0 : 1 / settings.k),
  // The part of an image's tokens in the LLM that one answer pays.
  prefixShare: (data, settings) => (data.sharing[model.prompt(settings)].prefix ? model.share(settings) : 1),

  // GB that an answer of `llm` takes by token count.
  memoryOf(data, settings, llm) {
    const lines = data.memories[settings.unit === "ms" ? "tower" : data.costs[settings.cost].memory][llm.name];
    return (v) => Math.max(...lines.map(([fixed, each]) => fixed + each * (settings.q + settings.g + v)));
  },

  // The cost of one answer of `llm` by token count: a function v -> cost, infinite where not known.
  costOf(data, settings, law, llm) {
    if (settings.unit === "ms") {
      const rows = model.latencies(data, settings, llm);
      return (v) => {
        if (!rows.length || v < rows[0].v || v > rows[rows.length - 1].v) return Infinity;
        const after = rows.findIndex((row) => row.v >= v);
        const right = rows[after];
        if (right.v === v) return right.ms;
        const left = rows[after - 1];
        return left.ms + ((right.ms - left.ms) / (right.v - left.v)) * (v - left.v);
      };
    }
    const table = data.costs[settings.cost].llms[llm.name];
    if (!table) return () => Infinity;
    const share = model.share(settings);
    const terms = new Map(table[model.prompt(settings)].map(([v, image, ...c]) => [v, { image, c }]));
    return (v) => {
      const found = terms.get(v);
      return found ? share * found.image + model.polynomial(found.c, settings.q, settings.g) : Infinity;
    };
  },

  latencies: (data, settings, llm) =>
    (data.latencies || [])
      .filter(
        (row) =>
          row.llm === llm.name &&
          row.q === settings.q &&
          row.cached === (settings.cached || settings.q === 0),
      )
      .map((row) => ({ v: row.v, ms: row.ms + settings.g * row.decode_ms }))
      .sort((a, b) => a.v - b.v),

  // How a choice lies outside of what the law was fitted on; "" where it does not.
  extrapolation(law, n, v) {
    const outside = [];
    for (const [value, [low, high], what, unit] of [
      [n, law.fitted.n, "LLM", "B"],
      [v, law.fitted.v, "token count", ""],
    ]) {
      if (value >= low && value <= high) continue;
      const [word, end] = value > high ? ["largest", high] : ["smallest", low];
      outside.push(`${what} ${+value.toPrecision(6)}${unit} is beyond the ${word} one fitted, ${+end.toPrecision(6)}${unit}`);
    }
    return outside.join("; ");
  },

  // Each LLM with its best token count within the budget, lowest predicted error first.
  rank(data, settings) {
    const law = data.laws[settings.law];
    const llms = law.llms.filter((llm) => settings.llms.includes(llm.name));
    const rows = [];
    let least = { cost: Infinity };
    let leastMemory = { gb: Infinity };
    for (const llm of llms) {
      const cost = model.costOf(data, settings, law, llm);
      const memory = model.memoryOf(data, settings, llm);
      let best = null;
      for (const v of law.counts) {
        const gb = memory(v);
        if (gb < leastMemory.gb) leastMemory = { gb, llm: llm.name };
        const price = settings.memory === null || gb <= settings.memory ? cost(v) : Infinity;
        if (price < least.cost) least = { cost: price, llm: llm.name, v };
        if (!(price <= settings.budget)) continue;
        const error = model.predict(law.fit, llm.n, v);
        if (best === null || error < best.error) best = { llm: llm.name, n: llm.n, v, cost: price, error, gb };
      }
      if (best) rows.push(best);
    }
    const draws = rows.map((row) => model.predictDraws(law.draws, row.n, row.v));
    const wins = rows.map(() => 0);
    const total = rows.length ? draws[0].length : 0;
    for (let i = 0; i < total; i++) {
      let best = 0;
      for (let j = 1; j < rows.length; j++) if (draws[j][i] < draws[best][i]) best = j;
      wins[best] += 1;
    }
    rows.forEach((row, j) => {
      [row.low, row.high] = model.interval(draws[j]);
      row.share = wins[j] / total;
      row.extrapolates = model.extrapolation(law, row.n, row.v);
    });
    rows.sort((a, b) => a.error - b.error || a.cost - b.cost);
    rows.forEach((row) => (row.margin = row.error - rows[0].error));
    return { rows, least, leastMemory };
  },

  // V* of a ratio alpha / beta: at a fixed cost 2 N (q + V), within the counts of the law. An answer that
  // pays the part s of V costs 2 N (q + s V), as 2 N s (q / s + V).
  optimum(ratio, q, [low, high]) {
    const best = ratio > 1 && Number.isFinite(q) ? q / (ratio - 1) : Infinity; // with q / s = 0 / 0, too
    return Math.min(Math.max(best, low), high);
  },

  // V* by text tokens, with its 95 % interval over the draws.
  optima(law, texts, share) {
    const range = [law.counts[0], law.counts[law.counts.length - 1]];
    const ratios = law.draws.alpha.map((alpha, i) => model.ratio(alpha, law.draws.beta[i]));
    return texts.map((q) => {
      const [low, high] = model.interval(ratios.map((ratio) => model.optimum(ratio, q / share, range)));
      return { q, v: model.optimum(model.ratio(law.fit.alpha, law.fit.beta), q / share, range), low, high };
    });
  },

  ratio: (alpha, beta) => (beta > 0 ? alpha / beta : alpha > 0 ? Infinity : 1),

  // The measured points with the cost of one answer, and which of them are on the Pareto front.
  measured(data, settings) {
    const law = data.laws[settings.law];
    const costs = new Map(law.llms.map((llm) => [llm.name, model.costOf(data, settings, law, llm)]));
    const points = law.points
      .map((point) => ({ ...point, cost: (costs.get(point.llm) || (() => Infinity))(point.v) }))
      .filter((point) => Number.isFinite(point.cost));
    let least = Infinity;
    for (const point of [...points].sort((a, b) => a.cost - b.cost || a.error - b.error)) {
      point.front = point.error < least;
      if (point.front) least = point.error;
    }
    return points;
  },
};
