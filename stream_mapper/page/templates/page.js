"use strict";
// What the page does once Bokeh has drawn it: StreamPage.start is called with the models that share the stars.
const StreamPage = (() => {
  const at = (id) => document.getElementById(id);
  let stars, along, curve, facts, rows, waiting = false;

  // Whether a star is in the range of the place that is shown; all are before one is chosen.
  const shown = (i) => { const x = stars.data[facts.along][i]; return x >= along.start && x <= along.end; };
  const threshold = () => Number(at("threshold").value);
  const likely = (i) => stars.data.p[i] > threshold();

  function refresh() {
    waiting = false;
    const { p, size, shade } = stars.data, limit = threshold();
    let members = 0, contamination = 0;
    for (let i = 0; i < rows; i++) {
      const visible = shown(i), above = visible && p[i] > limit;
      shade[i] = above ? p[i] : -1;
      size[i] = !visible ? 0 : above ? facts.large : facts.small;
      if (above) { members += 1; contamination += 1 - p[i]; }
    }
    at("threshold-value").value = String(limit);
    at("members").textContent = String(members);
    at("contamination").textContent = digits(contamination);
    at("share").textContent = members ? digits(100 * contamination / members) + " %" : "none";
    at("from").textContent = along.start.toFixed(2);
    at("to").textContent = along.end.toFixed(2);
    moveCurve();
    stars.change.emit();
    told();
  }

  // Changes come faster than stars can be drawn: once a frame is enough.
  function later() {
    if (!waiting) { waiting = true; requestAnimationFrame(refresh); }
  }

  const digits = (x) => x === 0 ? "0" : x < 1e-3 ? x.toExponential(1) : x >= 100 ? x.toFixed(0) : x.toPrecision(2);

  // The isochrone at the stream's distance in the middle of the range that is shown.
  function moveCurve() {
    if (!curve) return;
    const { place, modulus } = facts, x = (along.start + along.end) / 2, last = place.length - 1;
    let k = place.findIndex((edge) => edge >= x);
    k = k < 0 ? last : Math.max(k, 1);
    const step = place[k] - place[k - 1], t = Math.min(1, Math.max(0, step ? (x - place[k - 1]) / step : 0));
    const now = modulus[k - 1] + t * (modulus[k] - modulus[k - 1]);
    curve.data.magnitude = curve.data.absolute.map((m) => m + now);
    curve.change.emit();
  }

  function selection() { return Array.from(stars.selected.indices).filter(shown); }

  // Rows of what is downloaded: the selected stars, or without any those above the threshold, the likeliest first.
  function wanted() {
    const some = selection(), all = Array.from({ length: rows }, (_, i) => i);
    const found = some.length ? some : all.filter((i) => shown(i) && likely(i));
    return found.sort((a, b) => stars.data.p[b] - stars.data.p[a]);
  }

  function told() {
    const some = selection();
    at("selected").textContent = some.length
      ? `${some.length} selected, ${some.filter(likely).length} of them above ${threshold()}`
      : "Nothing selected: draw a box or a lasso in any view.";
    if (!at("simbad")) return;
    const [best] = some.sort((a, b) => stars.data.p[b] - stars.data.p[a]);
    const there = best !== undefined && Number.isFinite(stars.data.ra[best]) && Number.isFinite(stars.data.dec[best]);
    for (const name of ["simbad", "aladin"]) {
      if (there) at(name).href = address(name, stars.data.ra[best], stars.data.dec[best]);
      else at(name).removeAttribute("href");
    }
    at("chosen").textContent = there ? `of the likeliest selected star, ${stars.data.id[best]}` : "select a star first";
  }

  function address(name, ra, dec) {
    const place = encodeURIComponent(`${ra.toFixed(6)} ${dec < 0 ? "" : "+"}${dec.toFixed(6)}`);
    return name === "simbad"
      ? `https://simbad.cds.unistra.fr/simbad/sim-coo?Coord=${place}&Radius=5&Radius.unit=arcsec`
      : `https://aladin.cds.unistra.fr/AladinLite/?target=${place}&fov=0.05`;
  }

  const quoted = (text) => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;

  function cell(key, i) {
    const value = stars.data[key][i];
    if (typeof value === "string") return quoted(value);
    if (!Number.isFinite(value)) return "";
    return String(facts.double.includes(key) ? value : Number(value.toPrecision(8)));
  }

  function csv() {
    const head = facts.columns.map(([, title]) => quoted(title)).join(",");
    return [head, ...wanted().map((i) => facts.columns.map(([key]) => cell(key, i)).join(","))].join("\n") + "\n";
  }

  function download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = facts.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function start(models) {
    if (stars) return;
    ({ stars, along, curve } = models);
    facts = JSON.parse(at("facts").textContent);
    rows = stars.data.p.length;
    stars.data.size = new Float32Array(rows);
    stars.data.shade = new Float32Array(rows);
    at("threshold").addEventListener("input", later);
    at("download").addEventListener("click", download);
    at("clear").addEventListener("click", () => { stars.selected.indices = []; });
    at("everything").addEventListener("click", () => { [along.start, along.end] = facts.range; });
    refresh();
    document.body.dataset.ready = "yes";
  }

  return { start, later, told, csv, models: () => ({ stars, along, curve, facts }) };
})();
