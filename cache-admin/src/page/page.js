// The page: polls the API with the token, draws what it says, and acts on keys and locks.

const POLL = 2_000;
const PATIENCE = 30_000;
const $ = (id) => document.getElementById(id);
// Under whatever path the API is mounted.
const BASE = location.pathname.replace(/\/?$/, "/");

class Refused extends Error {}
// Whoever asked has signed out meanwhile: the answer is nobody's.
class Late extends Error {}

// Another object for each sign-in, the token being the same or not.
const signedIn = (token) => token && { token };
let session = signedIn(sessionStorage.getItem("token"));
let points = [];
let last = null;
let timer = 0;

async function ask(path, { body, parse = JSON.parse } = {}) {
  const asking = session;
  const headers = { Authorization: `Bearer ${asking.token}` };
  const options = { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  let response, text;
  try {
    response = await fetch(BASE + path, options);
    text = await response.text();
  } catch {
    if (session !== asking) throw new Late();
    throw new Error("The service does not answer.");
  }
  if (session !== asking) throw new Late();
  let answer = null;
  try {
    answer = parse(text);
  } catch { /* It is something else than JSON. */ }
  if (answer && (response.ok || (path === "health" && answer.status))) return answer;
  const message = answer?.error?.message ?? `The service answered ${response.status}, and nothing that this page understands.`;
  if (response.status === 401) throw new Refused("This token is not known here.");
  throw Object.assign(new Error(message), { status: response.status });
}

function complain(message) {
  $("alert").hidden = !message;
  if ($("alert").textContent !== message) $("alert").textContent = message;
}

// What a caller has asked for, and what goes wrong with it.
function attempt(action, place) {
  return async (event) => {
    event?.preventDefault();
    try {
      await action(event);
    } catch (error) {
      if (error instanceof Late) return;
      if (error instanceof Refused) return signOut(error.message);
      place.replaceChildren(el("p", { class: "bad" }, error.message));
    }
  };
}

// Signing in and out.

function show() {
  $("signin").hidden = Boolean(session);
  $("board").hidden = $("signout").hidden = !session;
}

function signOut(message = "") {
  clearTimeout(timer);
  sessionStorage.removeItem("token");
  session = last = null;
  points = [];
  for (const id of ["tiles", "charts", "entry", "locks"]) $(id).replaceChildren();
  setStatus("", "not signed in");
  show();
  complain(message);
  $("token").focus();
}

$("signin-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  // A header takes nothing else.
  if (!/^[\x21-\x7e]+$/.test(token)) return signOut("A token has no blanks and only ASCII characters.");
  $("token").value = "";
  session = signedIn(token);
  sessionStorage.setItem("token", token);
  complain("");
  show();
  $("top").focus();
  poll();
});
$("signout").addEventListener("click", () => signOut());

// Figures.

const rate = (of) => (point) => point.rates && of(point.rates);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1, notation: "compact" });
const perSecond = (value) => number.format(value);
const percent = (value) => `${(value * 100).toFixed(value < 0.9995 && value > 0 ? 1 : 0)} %`;
const millis = (value) => (value < 1 ? `${Math.round(value * 1000)} µs` : `${number.format(value)} ms`);

const STATE = (up, words) => [up ? "up" : "down", words];
const CHARTS = [
  lineChart({
    name: "Hit ratio", format: percent, top: 1,
    series: [{ name: "near and far", of: rate((r) => r.ratio) }],
  }),
  lineChart({
    name: "Lookups per second", format: perSecond,
    series: [
      { name: "near", of: rate((r) => r.local_hits) },
      { name: "far", of: rate((r) => r.remote_hits) },
      { name: "miss", of: rate((r) => r.misses) },
    ],
  }),
  lineChart({
    name: "Loads per second", format: perSecond,
    series: [
      { name: "loads", of: rate((r) => r.loads) },
      { name: "failed", of: rate((r) => r.load_failures) },
      { name: "shared", of: rate((r) => r.coalesced) },
    ],
  }),
];
const FAR_CHARTS = [
  lineChart({
    name: "Latency of the far tier", format: millis, least: 0.1,
    series: [
      { name: "half below", of: rate((r) => r.p50) },
      { name: "95 % below", of: rate((r) => r.p95) },
    ],
  }),
  stateChart({
    name: "State", wide: true,
    rows: [
      { name: "Redis", of: ({ redis }) => STATE(redis.state === "up", redis.state) },
      { name: "Bus", of: ({ tiers }) => STATE(tiers.bus_up, tiers.bus_up ? "up" : "lost") },
      {
        name: "Near tier",
        of: ({ tiers }) => tiers.has_near ? STATE(tiers.near_served, tiers.near_served ? "served" : "bypassed") : ["off", "off"],
      },
      {
        name: "Breaker",
        of: ({ tiers: { far_open, bus_open } }) => STATE(!far_open && !bus_open,
          far_open && bus_open ? "open for far tier and bus" : far_open ? "open for the far tier" : bus_open ? "open for the bus" : "closed"),
      },
    ],
  }),
];

// What this fraction of calls took at most, in milliseconds, straight between the steps' bounds.
function quantile(steps, fraction) {
  const calls = steps.reduce((sum, step) => sum + step.calls, 0);
  let left = calls * fraction, from = 0;
  for (const step of steps) {
    const to = step.below_us ?? from * 2;
    if (step.calls > 0 && left <= step.calls) return (from + (to - from) * (left / step.calls)) / 1000;
    left -= step.calls;
    from = to;
  }
  return null;
}

// What has changed from one answer to the next, per second; null if the service has started anew.
function rates(before, after) {
  const seconds = (after.time_ms - before.time_ms) / 1000;
  const names = ["local_hits", "remote_hits", "misses", "loads", "load_failures", "coalesced"];
  const made = {};
  for (const name of names) made[name] = (after.cache[name] - before.cache[name]) / seconds;
  if (!(seconds > 0) || Object.values(made).some((value) => value < 0)) return null;
  const hits = made.local_hits + made.remote_hits;
  made.ratio = hits + made.misses > 0 ? hits / (hits + made.misses) : null;
  made.p50 = made.p95 = null;
  if (before.tiers && after.tiers) {
    const steps = after.tiers.far_latency.map((step, i) => ({ ...step, calls: step.calls - before.tiers.far_latency[i].calls }));
    made.p50 = quantile(steps, 0.5);
    made.p95 = quantile(steps, 0.95);
  }
  return made;
}

function setStatus(state, words) {
  $("status").className = `pill ${state}`;
  if ($("status").textContent !== words) $("status").textContent = words;
}

function tiles({ cache, tiers }) {
  const shown = [
    ["Hit ratio", percent(cache.hit_ratio)],
    ["Entries held", number.format(cache.entries)],
    ["Near hits", number.format(cache.local_hits)],
    ["Far hits", number.format(cache.remote_hits)],
    ["Misses", number.format(cache.misses)],
    ["Loads", number.format(cache.loads)],
    ["Invalidations", number.format(cache.invalidations)],
  ];
  if (tiers) shown.push(["To be replayed", number.format(tiers.replays_pending)]);
  $("tiles").replaceChildren(...shown.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function draw() {
  const stats = last;
  const now = stats.time_ms;
  const charts = stats.tiers ? [...CHARTS, ...FAR_CHARTS] : CHARTS;
  if ($("charts").childElementCount !== charts.length) {
    $("charts").replaceChildren(...charts.map((chart) => chart.figure));
  }
  charts.forEach((chart) => chart.draw(points, now));
  tiles(stats);
}

async function poll() {
  clearTimeout(timer);
  try {
    const [stats, health] = await Promise.all([ask("stats"), ask("health")]);
    const point = { time: stats.time_ms, tiers: stats.tiers, redis: stats.redis, rates: last && rates(last, stats) };
    points = [...points, point].filter(({ time }) => time > stats.time_ms - SPAN && time <= stats.time_ms);
    last = stats;
    draw();
    setStatus(health.status, { ok: "all well", degraded: "degraded", failing: "failing" }[health.status]);
    complain("");
  } catch (error) {
    if (error instanceof Late) return;
    if (error instanceof Refused) return signOut(error.message);
    setStatus("failing", "no figures");
    complain(error.message);
  }
  timer = setTimeout(poll, POLL);
}

// A key.

const UNITS = [[86_400_000, "d"], [3_600_000, "h"], [60_000, "min"], [1_000, "s"], [1, "ms"]];
function time(ms) {
  if (ms === null) return "for good";
  const [unit, name] = UNITS.find(([unit]) => ms >= unit) ?? [1, "ms"];
  return `${number.format(ms / unit)} ${name}`;
}

function table(caption, head, rows) {
  // Short words and figures stay on one line; keys and holders may be long.
  const kind = (cell) => (typeof cell === "string" && cell.length > 16 ? {} : { class: "figure" });
  const body = rows.map((cells) => el("tr", {}, ...cells.map((cell, i) => el("td", { ...kind(cell), "data-label": head[i] }, cell))));
  const cells = head.map((name) => el("th", { scope: "col" }, name));
  return el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, ...cells)), el("tbody", {}, ...body));
}

// A value's numbers stay as they were written, where the browser can: a script's own would round them.
const exactly = (text) => JSON.parse(text, (_, value, context) => (
  typeof value === "number" && context?.source && JSON.rawJSON ? JSON.rawJSON(context.source) : value));
const withExactValue = (text) => ({ ...JSON.parse(text), value: exactly(text).value });

function entry(found) {
  const rows = [["process", found.near], ["Redis", found.far]].filter(([, tier]) => tier).map(([name, tier]) => [
    name, tier.absent ? `${tier.state}, says there is no value` : tier.state,
    time(tier.ttl_ms), time(tier.servable_ms), `${tier.bytes} bytes`, tier.served ? "yes" : "not now",
  ]);
  const shown = [table(found.key, ["Held in", "State", "Fresh for", "Servable for", "Size", "Served"], rows)];
  if (found.far_error) shown.push(el("p", { class: "bad" }, found.far_error));
  if (found.value_format) {
    const value = found.value_format === "json" ? JSON.stringify(found.value, null, 2) : found.value;
    const text = value.length > 20_000 ? `${value.slice(0, 20_000)}…` : value;
    shown.push(el("details", {}, el("summary", {}, `Value (${found.value_format})`), el("pre", { tabindex: "0" }, text)));
  }
  return shown;
}

$("key-form").addEventListener("submit", attempt(async () => {
  const key = $("key").value;
  try {
    $("entry").replaceChildren(...entry(await ask(`entries/${encodeURIComponent(key)}`, { parse: withExactValue })));
  } catch (error) {
    if (error.status !== 404) throw error;
    $("entry").replaceChildren(el("p", {}, `Nothing is held under ${key}.`));
  }
}, $("entry")));

$("invalidate").addEventListener("click", attempt(async () => {
  if (!$("key-form").reportValidity()) return;
  const key = $("key").value;
  const { removed } = await ask("invalidate", { body: { keys: [key] } });
  const words = removed === 0 ? "; nothing was there" : "";
  $("entry").replaceChildren(el("p", {}, `Invalidated ${key}${words}.`));
}, $("entry")));

// Locks.

// To take a lock away takes two presses: the second one within some seconds.
function releaseButton(lock) {
  const button = el("button", { type: "button", class: "danger" }, "Release");
  let armed = 0;
  button.addEventListener("click", attempt(async () => {
    if (!armed) {
      button.textContent = "Press again to release";
      armed = setTimeout(() => { armed = 0; button.textContent = "Release"; }, 8_000);
      return;
    }
    clearTimeout(armed);
    await ask(`locks/${encodeURIComponent(lock.key)}/release`, { body: { fence: lock.fence } });
    $("locks").replaceChildren(el("p", {}, `Released ${lock.key}.`));
    $("lock").focus();
  }, $("locks")));
  return button;
}

function locks(caption, found) {
  const rows = found.map((lock) => [
    lock.key, lock.holder, String(lock.fence), time(lock.held_for_ms), time(lock.remaining_ms), String(lock.waiters), releaseButton(lock),
  ]);
  return table(caption, ["Key", "Holder", "Fence", "Held for", "Lease left", "Waiters", "Action"], rows);
}

// Over Redis this goes through all its keys, so it is never asked for by itself.
async function allLocks() {
  const { locks: found, more } = await ask("locks");
  const caption = more ? `The first ${found.length} locks` : `${found.length} held`;
  $("locks").replaceChildren(found.length ? locks(caption, found) : el("p", {}, "No lock is held."));
}

$("lock-form").addEventListener("submit", attempt(async () => {
  const key = $("lock").value;
  if (!key) return allLocks();
  try {
    $("locks").replaceChildren(locks("1 held", [await ask(`locks/${encodeURIComponent(key)}`)]));
  } catch (error) {
    if (error.status !== 404) throw error;
    $("locks").replaceChildren(el("p", {}, `Nobody holds ${key}.`));
  }
}, $("locks")));
$("all-locks").addEventListener("click", attempt(allLocks, $("locks")));

addEventListener("resize", () => last && draw());
show();
if (session) poll(); else $("token").focus();
