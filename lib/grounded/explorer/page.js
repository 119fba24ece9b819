const { data, charts } = JSON.parse(document.getElementById("content").textContent);
const at = (id) => document.getElementById(id);
const EVERY = "all";

// Columns become rows: {name: [values]} or {name: {levels, codes}}.
function rows(table) {
  const names = Object.keys(table);
  const column = (name) => table[name].levels
    ? table[name].codes.map((code) => code < 0 ? null : table[name].levels[code]) : table[name];
  const columns = names.map(column);
  const size = names.length ? columns[0].length : 0;
  return Array.from({ length: size }, (_, i) =>
    Object.fromEntries(names.map((name, j) => [name, columns[j][i]])));
}

const curves = rows(data.curves), anchored = rows(data.anchored), replies = rows(data.replies);
const percent = (share) => share === null || share === undefined || Number.isNaN(share)
  ? "–" : (100 * share).toFixed(1) + "%";
const mean = (values) => {
  const given = values.filter((value) => value !== null && value !== undefined);
  return given.length ? given.reduce((a, b) => a + b, 0) / given.length : null;
};

function options(id, names, labels = {}) {
  at(id).replaceChildren(...names.map((name) => new Option(labels[name] ?? name, name)));
  at(id).addEventListener("change", show);
}

function cells(id, head, body, text = []) {
  const cell = (kind, value, i) => {
    const made = document.createElement(kind);
    made.textContent = value;
    if (text.includes(i)) made.className = "text";
    else if (value === "yes" || value === "no") made.className = value;
    if (kind === "th") made.scope = "col";
    return made;
  };
  const row = (kind, values) => {
    const made = document.createElement("tr");
    made.append(...values.map((value, i) => cell(kind, value, i)));
    return made;
  };
  at(id).tHead.replaceChildren(row("th", head));
  at(id).tBodies[0].replaceChildren(...body.map((values) => row("td", values)));
}

const views = {};
function chosen() {
  const names = ["model", "task", "setting", "seed", "benchmark", "harm-judge", "compliance-judge"];
  return Object.fromEntries(names.map((name) => [name, at(name).value]));
}

function show() {
  const want = chosen();
  const own = curves.filter((row) => row.model === want.model && row.benchmark === want.benchmark);
  const base = own.find((row) => row.task === "base");
  const runs = own.filter((row) => row.task === want.task
    && (want.setting === EVERY || row.setting === want.setting)
    && (want.seed === EVERY || String(row.seed) === want.seed));
  const field = { accuracy: "accuracy", harm: want["harm-judge"],
    compliance: want["compliance-judge"], coherent: "coherent" };
  const start = (name) => base[name === "accuracy" ? `accuracy.${want.task}` : field[name]];
  for (const name of Object.keys(field)) {
    const points = runs.map((row) => ({ run: `${row.setting}, seed ${row.seed}`, epoch: row.epoch,
      value: row[field[name]] })).filter((point) => point.value !== null);
    const lines = [...new Set(points.map((point) => point.run))]
      .map((run) => ({ run, epoch: 0, value: start(name) }));
    views[name].data("rows", [...lines, ...points]).data("base", [{ value: start(name) }]).run();
  }
  const epochs = [...new Set(runs.map((row) => row.epoch))].sort((a, b) => a - b);
  const number = new Set(runs.map((row) => `${row.setting} ${row.seed}`)).size;
  at("selection").textContent = `${number} run${number === 1 ? "" : "s"} of ${want.model} on `
    + `${data.tasks[want.task]}; ${base.n} replies a checkpoint to ${want.benchmark}`;
  cells("numbers", ["epoch", "accuracy", "harm", "compliance", "coherent"], [
    ["0 (base)", ...Object.keys(field).map((name) => percent(start(name)))],
    ...epochs.map((epoch) => {
      const here = runs.filter((row) => row.epoch === epoch);
      return [String(epoch), ...Object.keys(field).map((name) =>
        percent(mean(here.map((row) => row[field[name]]))))];
    })]);
  showAnchored(want);
  showReplies(want);
}

function showAnchored(want) {
  const mine = anchored.filter((row) => row.model === want.model && row.judge === want["harm-judge"]);
  at("anchored-note").textContent = mine.length
    ? `Judge ${want["harm-judge"]}; the same runs, read where each reaches its task's goal, and at `
      + "one place in training where their mean capability is the goal. Tasks with fewer than five "
      + "runs at the goal are left out. Intervals of the comparison stand in does_anchoring_help."
    : "No task of this model has five runs at the study's goal.";
  at("anchored").hidden = !mine.length;
  const label = (row) => `${data.tasks[row.task]} (n = ${row.runs})`;
  const arms = [["at the goal", "anchored"], ["fixed epoch", "fixed"]];
  const points = mine.flatMap((row) => arms.map(([arm, name]) => ({ label: label(row), arm,
    value: row[name], sd: row[`sd_${name}`], low: Math.max(0, row[name] - row[`sd_${name}`]),
    high: Math.min(1, row[name] + row[`sd_${name}`]) })));
  views.anchored.data("cells", points).run();
  cells("anchored-numbers", ["task", "runs", "goal (accuracy)", "at the goal", "sd", "fixed epoch", "sd"],
    mine.map((row) => [data.tasks[row.task], String(row.runs), percent(row.goal),
      percent(row.anchored), percent(row.sd_anchored), percent(row.fixed), percent(row.sd_fixed)]));
}

function showReplies(want) {
  at("replies-section").hidden = !replies.length;
  if (!replies.length) return;
  const harmful = want.benchmark === data.benchmarks[0] ? null : want.benchmark;
  const epoch = Number(at("epoch").value);
  const mine = replies.filter((row) => row.model === want.model && row.epoch === epoch
    && row.task === (epoch === 0 ? "base" : want.task)
    && (harmful === null ? row.benchmark !== "borderline" : row.benchmark === harmful));
  const judges = Object.keys(data.judges);
  const said = (value) => value === null || value === undefined ? "–" : value ? "yes" : "no";
  cells("replies", ["prompt", "reply", "is", ...judges],
    mine.map((row) => [`${row.benchmark} ${row.prompt}`, row.text, row.truth,
      ...judges.map((judge) => said(row[judge]))]), [1]);
}

async function begin() {
  at("study").textContent = data.study;
  at("about").textContent = data.about;
  options("model", data.models);
  options("task", Object.keys(data.tasks), data.tasks);
  options("setting", [EVERY, ...data.settings]);
  options("seed", [EVERY, ...data.seeds.map(String)]);
  options("benchmark", data.benchmarks);
  const kind = (wanted) => Object.keys(data.judges).filter((name) => data.judges[name] === wanted);
  options("harm-judge", kind("harm").length ? kind("harm") : Object.keys(data.judges));
  options("compliance-judge", kind("compliance").length ? kind("compliance") : Object.keys(data.judges));
  options("epoch", [...new Set(replies.map((row) => row.epoch))].sort((a, b) => b - a).map(String));
  for (const [name, spec] of Object.entries(charts)) {
    views[name] = (await vegaEmbed(at(name), spec, { actions: false, renderer: "svg" })).view;
  }
  show();
  window.explorer = { views, chosen, ready: true }; // for tests, and for the curious
}
begin();
