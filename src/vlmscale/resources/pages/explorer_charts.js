// The explorer's charts, drawn with Observable Plot from what explorer_model.js computes.
"use strict";

const charts = (() => {
  const spread = (low, high, count) =>
    Array.from({ length: count }, (_, i) => low * (high / low) ** (i / (count - 1)));
  const short = (value) => String(+value.toPrecision(3));
  const plain = (value) => (value >= 1000 ? d3.format("~s")(value) : short(value));
  const style = { background: "transparent", fontSize: "12px", overflow: "visible" };
  // From small to large LLMs; the palest end of the scheme cannot be seen on white, the darkest not on black.
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const family = (law) => {
    const [first, last] = dark.matches ? [0.3, 1] : [0, 0.86];
    return {
      type: "ordinal",
      domain: law.llms.map((llm) => llm.name),
      range: law.llms.map((_, i) => d3.interpolateViridis(first + ((last - first) * i) / Math.max(1, law.llms.length - 1))),
    };
  };

  function describe(point) {
    const scores = Object.entries(point.scores || {}).map(([name, score]) => `${name} ${score.toFixed(3)}`);
    const held = point.role === "holdout" ? " (held out: not fitted)" : "";
    return [`${point.llm}, V = ${point.v}${held}`, `error ${point.error.toFixed(4)}`, ...scores].join("\n");
  }

  // Figure 1: error against the cost of an answer, with the law, its band and the Pareto front.
  function cost(data, settings, answer, width) {
    const law = data.laws[settings.law];
    const points = model.measured(data, settings).filter((point) => point.cost > 0);
    const lines = [];
    for (const llm of law.llms.filter((one) => settings.llms.includes(one.name))) {
      const price = model.costOf(data, settings, law, llm);
      for (const v of law.counts.length > 60 ? thin(law.counts) : law.counts) {
        if (!Number.isFinite(price(v)) || !(price(v) > 0)) continue; // the axis is logarithmic
        const [low, high] = model.interval(model.predictDraws(law.draws, llm.n, v));
        lines.push({ llm: llm.name, v, cost: price(v), error: model.predict(law.fit, llm.n, v), low, high });
      }
    }
    const front = points.filter((point) => point.front).sort((a, b) => a.cost - b.cost);
    const chosen = answer.rows.slice(0, 1).filter((row) => row.cost > 0);
    return Plot.plot({
      width, height: 340, style, marginLeft: 50, marginBottom: 42,
      ariaLabel: "Error against the cost of an answer",
      x: { type: "log", labelOffset: 38, label: `cost of an answer (${settings.unit}) →`, ticks: 6, tickFormat: plain, grid: true },
      y: { label: "↑ error", domain: range([...lines.map((row) => row.error), ...points.map((row) => row.error)]), clamp: true, grid: true },
      color: { ...family(law), legend: true },
      marks: [
        Plot.areaY(lines, { x: "cost", y1: "low", y2: "high", z: "llm", fill: "llm", fillOpacity: 0.12, clip: true }),
        Plot.lineY(lines, { x: "cost", y: "error", z: "llm", stroke: "llm", strokeWidth: 1.5, clip: true }),
        Plot.lineY(front, { x: "cost", y: "error", curve: "step-after", stroke: "currentColor", strokeDasharray: "2 3" }),
        Plot.ruleX([settings.budget], { stroke: "var(--accent)", strokeDasharray: "4 3" }),
        Plot.dot(points, { x: "cost", y: "error", fill: "llm", r: 4, symbol: (row) => (row.role === "holdout" ? "diamond" : "circle"), stroke: "var(--ground)", strokeWidth: 0.7, title: describe, tip: true }),
        Plot.dot(chosen, { x: "cost", y: "error", stroke: "var(--accent)", strokeWidth: 2.5, r: 9 }),
        Plot.text(chosen, { x: "cost", y: "error", text: () => "your choice", dy: -16, stroke: "var(--ground)", fill: "var(--accent)", fontWeight: 600 }),
      ],
    });
  }

  const thin = (counts) => [...new Set(spread(counts[0], counts[counts.length - 1], 40).map(Math.round))];

  function range(values) {
    const low = Math.max(0, Math.min(...values));
    const high = Math.min(1, Math.max(...values));
    const room = 0.06 * (high - low || 0.1);
    return [Math.max(0, low - room), Math.min(1, high + room)];
  }

  // The best number of visual tokens against text tokens.
  function optimum(data, settings, width) {
    const law = data.laws[settings.law];
    const most = law.counts[law.counts.length - 1];
    const texts = [0, ...spread(1, Math.max(300, 2 * settings.q), 50)];
    const share = model.prefixShare(data, settings);
    const rows = model.optima(law, texts, share);
    const here = model.optima(law, [settings.cached ? settings.g : settings.q + settings.g], share);
    return Plot.plot({
      width, height: 260, style, marginLeft: 50, marginBottom: 42,
      ariaLabel: "Best number of visual tokens against text tokens",
      x: { labelOffset: 38, label: "text tokens that are not cached (Q + G) →", grid: true },
      y: { type: "log", domain: [law.counts[0], most], label: "↑ best number of visual tokens", ticks: 5, tickFormat: "~s", grid: true, clamp: true },
      marks: [
        Plot.areaY(rows, { x: "q", y1: "low", y2: "high", fill: "var(--accent)", fillOpacity: 0.15 }),
        Plot.lineY(rows, { x: "q", y: "v", stroke: "var(--accent)", strokeWidth: 2 }),
        Plot.dot(here, { x: "q", y: "v", r: 5, fill: "var(--accent)", title: (row) => `Q + G = ${row.q}: ${short(row.v)} tokens (95 %: ${short(row.low)} to ${short(row.high)})`, tip: true }),
      ],
    });
  }

  // The plane of N and V: lines of equal error and of equal cost, and the path of the optimum.
  function plane(data, settings, answer, width) {
    const law = data.laws[settings.law];
    const { amplitude, alpha, beta, floor } = law.fit;
    const text = (settings.cached ? 0 : settings.q) + settings.g;
    const [first, last] = [law.counts[0], law.counts[law.counts.length - 1]];
    const sizes = law.llms.map((llm) => llm.n);
    const [small, large] = [Math.min(...sizes) / 1.5, Math.max(...sizes) * 1.5];
    const counts = spread(first, last, 60);
    const inside = (rows) => rows.filter((row) => row.n >= small && row.n <= large);
    const corner = [[small, first], [large, last]].map(([n, v]) => model.predict(law.fit, n, v));
    const levels = d3.ticks(Math.min(...corner), Math.max(...corner), 7);
    const errors = alpha > 0
      ? levels.filter((level) => level > floor).flatMap((level) =>
          inside(counts.map((v) => ({ level, v, n: (amplitude * v ** -beta / (level - floor)) ** (1 / alpha) }))))
      : [];
    const share = model.prefixShare(data, settings);
    const paid = (v) => Math.max(share * v + text, 1e-9); // tokens that an answer pays for
    const budgets = spread(2 * small * paid(first), 2 * large * paid(last), 7);
    const costs = budgets.flatMap((level) => inside(counts.map((v) => ({ level, v, n: level / (2 * paid(v)) }))));
    const best = model.optimum(model.ratio(alpha, beta), text / share, [first, last]);
    const labels = d3.groups(errors, (row) => row.level).map(([level, rows]) => ({ level, ...rows[rows.length - 1] }));
    return Plot.plot({
      width, height: 300, style, marginLeft: 50, marginBottom: 42, marginRight: 44,
      ariaLabel: "Lines of equal error and of equal cost over visual tokens and LLM size",
      x: { type: "log", labelOffset: 38, label: "visual tokens V →", domain: [first, last], ticks: 6, tickFormat: "~s" },
      y: { type: "log", label: `↑ LLM size N (billions)`, domain: [small, large], ticks: 5, tickFormat: (n) => short(n) },
      marks: [
        Plot.line(costs, { x: "v", y: "n", z: "level", stroke: "currentColor", strokeOpacity: 0.25, strokeDasharray: "2 3" }),
        Plot.line(errors, { x: "v", y: "n", z: "level", stroke: "level", strokeWidth: 1.5 }),
        Plot.text(labels, { x: "v", y: "n", text: (row) => short(row.level), textAnchor: "start", dx: 4, fontSize: 11 }),
        Plot.ruleX([best], { stroke: "var(--accent)", strokeWidth: 2 }),
        Plot.dot(law.points, { x: "v", y: "n", r: 2.5, fill: "currentColor", fillOpacity: 0.6, title: describe, tip: true }),
        Plot.dot(answer.rows.slice(0, 1), { x: "v", y: "n", r: 8, stroke: "var(--accent)", strokeWidth: 2.5 }),
      ],
    });
  }

  // Where the law misses: measured less predicted error.
  function residuals(data, settings, width) {
    const law = data.laws[settings.law];
    const rows = law.points.map((point) => ({ ...point, miss: point.error - model.predict(law.fit, point.n, point.v) }));
    return Plot.plot({
      width, height: 240, style, marginLeft: 55, marginBottom: 42,
      ariaLabel: "Measured error less the law's, against visual tokens",
      x: { type: "log", labelOffset: 38, label: "visual tokens V →", ticks: 6, tickFormat: "~s", grid: true },
      y: { label: "↑ measured less predicted error", grid: true },
      color: family(law),
      marks: [
        Plot.ruleY([0]),
        Plot.lineY(rows, { x: "v", y: "miss", z: "llm", stroke: "llm", strokeOpacity: 0.5 }),
        Plot.dot(rows, { x: "v", y: "miss", fill: "llm", r: 4, symbol: (row) => (row.role === "holdout" ? "diamond" : "circle"), title: describe, tip: true }),
      ],
    });
  }

  return { dark, cost, optimum, plane, residuals };
})();
