/* The page of a run: how far it is, what its workers do, and the frames that it committed last.

   All of it comes from the run's status.json (`api/run`: run_status.describe_runs), asked for every two seconds, and
   from the dataset, for pictures. Names come from anyone: they are set as text, never as markup. */

import { serverData, Landmarks, drawSkeleton } from "./viewer.js";

const INTERVAL = 2000, MOST_RATES = 900, MOST_TRIES = 20;
const byId = (id) => document.getElementById(id);
const data = serverData();
const rates = [];
const pictures = new Map();

function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

const number = (value) => value.toLocaleString("en-US");

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.max(0, Math.round(seconds)), hours = Math.floor(whole / 3600), minutes = Math.floor((whole % 3600) / 60);
  if (hours) return `${hours} h ${String(minutes).padStart(2, "0")} min`;
  return minutes ? `${minutes} min ${String(whole % 60).padStart(2, "0")} s` : `${whole} s`;
}

/* Fill a table; `numbers` are the columns that are aligned to the right. */
function table(target, heads, rows, numbers = []) {
  const line = (cells, tag) => {
    const row = document.createElement("tr");
    row.append(...cells.map((cell, column) => make(tag, cell, numbers.includes(column) ? "number" : "")));
    return row;
  };
  target.replaceChildren(line(heads, "th"), ...rows.map((cells) => line(cells, "td")));
}

/* ---- sections ---- */

function showSummary(run) {
  const status = run.whole, before = status?.frames_committed_before ?? 0;
  byId("state").textContent = run.state;
  byId("state").className = { finished: "ended-well", failed: "trouble", died: "trouble", incomplete: "trouble" }[run.state] ?? "";
  // The state is beside it.
  byId("run-id").textContent = run.description.replace(`: ${run.state}`, "");
  document.title = run.state;
  byId("figures").replaceChildren();
  if (!status) { byId("frames").textContent = run.runs.length ? "" : "This page waits for a run that writes here."; return; }
  const all = before + status.frames_planned, share = (frames) => (all ? (100 * frames) / all : 0);
  byId("bar-before").style.width = `${share(before)}%`;
  byId("bar-done").style.width = `${share(status.frames_done)}%`;
  const done = all ? share(before + status.frames_done) : 100;
  byId("bar").setAttribute("aria-valuenow", done.toFixed(1));
  document.title = `${done.toFixed(0)} % · ${run.state}`;
  const earlier = before ? `, of which earlier runs computed ${number(before)}` : "";
  byId("frames").textContent = `${done.toFixed(1)} %: ${number(before + status.frames_done)} of ${number(all)} frames${earlier}`;
  const wanted = status.workers_wanted > status.workers ? ` of ${number(status.workers_wanted)}` : "";
  const atWork = [
    ["frames per second", status.frames_per_second.toFixed(1)],
    ["time left", duration(status.seconds_left)],
    ["workers", number(status.workers) + wanted],
    ["shards at workers", number(status.shards_in_flight)],
    ["shards waiting", number(status.shards_waiting)],
  ];
  const figures = [
    ...(run.is_over ? [] : atWork),
    ["elapsed", duration(status.elapsed_seconds)],
    ["failures", number(status.failures), status.failures ? "trouble" : ""],
  ];
  for (const [name, value, className] of figures) {
    const box = make("div", "", className);
    box.append(make("dt", name), make("dd", value));
    byId("figures").append(box);
  }
}

function showNotes(run) {
  const notes = [...run.remarks];
  if (run.whole?.failures) notes.push(run.failures_command);
  byId("notes").replaceChildren(...notes.map((text) => make("span", text, "note warn")));
}

function showRates(run) {
  if (run.whole && !run.is_over && rates.at(-1)?.updated !== run.whole.updated) {
    rates.push({ updated: run.whole.updated, rate: run.whole.frames_per_second });
    if (rates.length > MOST_RATES) rates.shift();
  }
  byId("rates-section").hidden = run.is_over && rates.length < 2;
  const canvas = byId("rates"), scale = devicePixelRatio, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = "#8a94a6";
  if (rates.length < 2) {
    context.fillText("Measured since this page was opened.", 12, 20);
    return;
  }
  const [first, last] = [rates[0].updated, rates.at(-1).updated], top = Math.max(...rates.map(({ rate }) => rate), 1e-9) * 1.15;
  const place = ({ updated, rate }) => [((updated - first) / (last - first)) * (width - 2) + 1, height - 2 - (rate / top) * (height - 26)];
  context.beginPath();
  rates.forEach((point) => context.lineTo(...place(point)));
  context.strokeStyle = "#9db1ff";
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.stroke();
  context.fillText(`${rates.at(-1).rate.toFixed(1)} frames/s ${run.is_over ? "at the end" : "now"}, seen for ${duration(last - first)}`, 12, 16);
}

function showShares(run) {
  byId("shares-section").hidden = run.runs.length < 2;
  table(byId("shares"), ["share", "state", "progress"], run.runs.map(({ share, description, progress }) => [share, description, progress]));
}

function showWorkers(run) {
  const status = run.whole, busy = run.is_over ? [] : (status?.at_work ?? []);
  byId("workers-section").hidden = run.is_over;
  const rows = busy.map(({ node, process, split, video_id, first, last, since }) =>
    [node, String(process), `${split}/${video_id}`, `${number(first)}–${number(last - 1)}`, duration(run.now - since)]);
  table(byId("workers"), rows.length ? ["node", "process", "video", "frames", "for"] : [], rows, [1, 3, 4]);
  const more = status && !run.is_over ? status.workers - busy.length : 0;
  byId("workers-note").textContent = more > 0 ? `${number(more)} more ${more === 1 ? "worker" : "workers"} ready.` : busy.length ? "" : "No worker has a shard yet.";
}

/* ---- last pictures ---- */

function showLatest(run) {
  const latest = run.whole?.latest ?? [];
  byId("latest-section").hidden = run.is_over && !latest.length;
  if (!latest.length) { byId("latest").textContent = "Nothing yet."; return; }
  const name = ({ split, video_id, first, last }) => JSON.stringify([split, video_id, first, last]);
  const wanted = new Map(latest.map((shard) => [name(shard), shard]));
  for (const known of [...pictures.keys()]) if (!wanted.has(known)) pictures.delete(known);
  for (const [key, shard] of wanted) {
    if (!pictures.has(key)) pictures.set(key, new ShardPicture(shard));
    if (run.has_dataset) pictures.get(key).draw();
  }
  byId("latest").replaceChildren(...[...wanted.keys()].map((key) => pictures.get(key).link));
}

/* The frame in the middle of a shard, with a link to it. */
class ShardPicture {
  constructor({ split, video_id, first, last }) {
    Object.assign(this, { split, video: video_id, frame: Math.floor((first + last - 1) / 2), state: "waits", tries: 0 });
    this.link = document.createElement("a");
    this.canvas = document.createElement("canvas");
    this.link.append(this.canvas, make("span", `${split}/${video_id}, frame ${number(this.frame)}`));
  }

  /* Draw it unless that is done. The server sees new rows after some seconds, so it is tried several times. */
  async draw() {
    if (this.state !== "waits" || this.tries >= MOST_TRIES) return;
    this.state = "draws";
    this.tries += 1;
    this.link.href = `/#${new URLSearchParams({ split: this.split, video: this.video, frame: this.frame })}`;
    try {
      this.state = (await this.#drawNow()) ? "done" : "waits";
    } catch (error) {
      this.link.title = error.message;
      this.state = "waits";
    }
  }

  async #drawNow() {
    const { datasets, drawing } = await data.datasets();
    const landmarks = new Landmarks(await data.landmarks(0, this.split, this.video), datasets[0].layout);
    if (landmarks.status(this.frame) === "absent") return false;
    const [width, height] = landmarks.size(this.frame), factor = Math.max(1, Math.round(520 / height));
    const picture = datasets[0].source.state === "off" ? null : await this.#picture();
    const canvas = Object.assign(this.canvas, { width: width * factor, height: height * factor });
    const context = canvas.getContext("2d");
    if (picture) context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    drawSkeleton(context, landmarks, this.frame, drawing, {}, canvas.width, canvas.height);
    return true;
  }

  /* A skeleton shows enough where the source cannot be read. */
  async #picture() {
    try {
      return await createImageBitmap(await data.picture(0, this.split, this.video, this.frame));
    } catch {
      return null;
    }
  }
}

/* ---- page ---- */

async function look() {
  const answer = await fetch("api/run");
  if (!answer.ok) throw new Error((await answer.json()).error);
  const run = await answer.json();
  byId("root").textContent = run.root;
  byId("viewer").hidden = !run.has_dataset;
  showSummary(run);
  showNotes(run);
  showRates(run);
  showShares(run);
  showWorkers(run);
  showLatest(run);
}

async function watch() {
  for (;;) {
    try {
      await look();
    } catch (error) {
      byId("notes").replaceChildren(make("span", `The server does not answer: ${error.message}`, "note warn"));
    }
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
}

watch();
