/* The viewer's page: a list of videos, a player that shows each frame together with its landmarks, and a timeline.

   `start(data)` builds it. All it knows comes through `data`, an object with these functions, each of which returns a
   promise; `dataset` is a number:

     datasets()                               what is shown as a whole (library.py, Library.describe)
     list(dataset, {search, sort, first, count})   {total, first, rows}: a piece of the list
     find(dataset, split, video, {search, sort})   {row, place}: a video and its place in the list
     landmarks(dataset, split, video)         the landmarks of a video as an ArrayBuffer (transfer.py)
     source(dataset, split, video)            {frames, is_changed, error}: how many frames the source has, and
                                              whether its files are not those of the landmarks
     picture(dataset, split, video, frame)    a frame as a Blob

   Names and annotations come from anyone: they are set as text, never as markup.

   Sections: data · landmarks · measures · drawing · pictures · list · view · player · timeline · side · page. */

const STATES = { missing: 0, found: 1, failed: 2, unreadable: 3, absent: 4 };
const STATE_COLOURS = { failed: "#ff5d6c", unreadable: "#b58cff", missing: "#1d2430", stripe: "#2a3342" };
const FAINT = "#8a94a6", GRID = "#232a36", DISTANCE = "#ff78c8";
const SPEEDS = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 4];
const DEFAULT_FPS = 25;

/* ---- data: asks the server ---- */

export function serverData() {
  const ask = async (name, query, signal) => {
    const answer = await fetch(`api/${name}?${new URLSearchParams(query)}`, { signal });
    if (answer.ok) return answer;
    const text = await answer.text();
    let message = text;
    try { message = JSON.parse(text).error; } catch { /* plain text */ }
    throw new Error(message);
  };
  const json = async (name, query) => (await ask(name, query)).json();
  return {
    datasets: () => json("datasets", {}),
    list: (dataset, query) => json("videos", { dataset, ...query }),
    find: (dataset, split, video, query) => json("video", { dataset, split, video, ...query }),
    landmarks: async (dataset, split, video) => (await ask("landmarks", { dataset, split, video })).arrayBuffer(),
    source: (dataset, split, video) => json("source", { dataset, split, video }),
    picture: async (dataset, split, video, frame) => (await ask("frame", { dataset, split, video, frame })).blob(),
  };
}

/* ---- landmarks: the bytes of a video as arrays ---- */

const ARRAY_TYPES = { float32: Float32Array, float64: Float64Array, int32: Int32Array, uint8: Uint8Array };

export class Landmarks {
  constructor(buffer, layout) {
    const length = new DataView(buffer).getUint32(0, true);
    this.header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const start = Math.ceil((4 + length) / 8) * 8;
    this.arrays = {};
    for (const { name, type, shape, place } of this.header.arrays) {
      const size = shape.reduce((product, side) => product * side, 1);
      this.arrays[name] = new ARRAY_TYPES[type](buffer, start + place, size);
    }
    this.layout = layout;
    this.frames = this.header.frames;
    this.rows = this.arrays.frame_index.length;
    this.rowOf = new Int32Array(this.frames).fill(-1);
    this.arrays.frame_index.forEach((frame, row) => { this.rowOf[frame] = row; });
    this.states = Object.fromEntries(layout.parts.map((part) => [part.name, this.#states(part)]));
    this.fps = this.header.fps || DEFAULT_FPS;
  }

  status(frame) {
    const row = this.rowOf[frame];
    return row < 0 || row === undefined ? "absent" : this.header.statuses[this.arrays.status[row]];
  }

  /* Width and height in pixels; where they are not known, those of another frame. */
  size(frame) {
    const sizes = this.arrays.sizes, row = this.rowOf[frame] ?? -1;
    if (row >= 0 && sizes[2 * row] > 0) return [sizes[2 * row], sizes[2 * row + 1]];
    for (let other = 0; other < this.rows; other++) {
      if (sizes[2 * other] > 0) return [sizes[2 * other], sizes[2 * other + 1]];
    }
    return [4, 3];
  }

  /* The points of a part in a frame, [x, y, …] of each, or null where it is missing. */
  points(part, frame) {
    if (this.states[part.name]?.[frame] !== STATES.found) return null;
    const stride = part.points.length * part.axes.length, row = this.rowOf[frame];
    return this.arrays[`points/${part.name}`].subarray(row * stride, (row + 1) * stride);
  }

  score(part, frame) {
    const row = this.rowOf[frame];
    return row >= 0 ? this.arrays[`scores/${part.name}`][row] : NaN;
  }

  time(frame) {
    const row = this.rowOf[frame], time = row >= 0 ? this.arrays.timestamps[row] : NaN;
    return Number.isNaN(time) ? frame / this.fps : time;
  }

  /* Seconds from a frame to the next. */
  duration(frame) {
    const between = this.header.fps_varies ? this.time(frame + 1) - this.time(frame) : 0;
    return between > 0 ? between : 1 / this.fps;
  }

  #states(part) {
    const states = new Uint8Array(this.frames), values = this.arrays[`points/${part.name}`];
    const count = part.points.length, axes = part.axes.length;
    for (let frame = 0; frame < this.frames; frame++) {
      const row = this.rowOf[frame];
      if (row < 0) { states[frame] = STATES.absent; continue; }
      states[frame] = STATES[this.header.statuses[this.arrays.status[row]]] ?? STATES.missing;
      for (let point = 0; point < count; point++) {
        if (!Number.isNaN(values[(row * count + point) * axes])) { states[frame] = STATES.found; break; }
      }
    }
    return states;
  }
}

/* ---- measures: what the curves show ---- */

const median = (values) => {
  if (!values.length) return NaN;
  const sorted = Float32Array.from(values).sort(), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/* Lengths of the ways between two sets of points in pixels, of the points that both have. */
function lengths(from, fromAxes, to, toAxes, pairs, [width, height]) {
  const found = [];
  for (const [first, second] of pairs) {
    const x = from[first * fromAxes] - to[second * toAxes], y = from[first * fromAxes + 1] - to[second * toAxes + 1];
    const length = Math.hypot(x * width, y * height);
    if (!Number.isNaN(length)) found.push(length);
  }
  return found;
}

/* Pixels that the median point of a part has moved since the frame before; NaN where it is not in both. */
function speedAt(landmarks, part, frame) {
  const now = landmarks.points(part, frame), before = frame > 0 ? landmarks.points(part, frame - 1) : null;
  if (!now || !before) return NaN;
  const pairs = part.points.map((_, point) => [point, point]);
  return median(lengths(now, part.axes.length, before, part.axes.length, pairs, landmarks.size(frame)));
}

/* Pairs of points of two parts that have the same name. */
function pairsByName(part, other) {
  const places = new Map(other.points.map((name, place) => [name, place]));
  return part.points.flatMap((name, place) => (places.has(name) ? [[place, places.get(name)]] : []));
}

/* Mean distance in pixels between the points of a part in two datasets. */
function distanceAt(landmarks, part, other, otherPart, pairs, frame) {
  const ours = landmarks.points(part, frame), theirs = other.points(otherPart, frame);
  if (!ours || !theirs) return NaN;
  const found = lengths(ours, part.axes.length, theirs, otherPart.axes.length, pairs, landmarks.size(frame));
  return found.length ? found.reduce((sum, length) => sum + length, 0) / found.length : NaN;
}

/* Fill curves bit by bit, so that a long video does not stop the page. */
async function measureAll(frames, curves, isWanted, note) {
  let until = performance.now() + 8, said = performance.now();
  for (let frame = 0; frame < frames; frame++) {
    for (const { values, measure } of curves) values[frame] = measure(frame);
    if (performance.now() > until) {
      if (performance.now() > said + 300) { note(frame); said = performance.now(); }
      await new Promise((resolve) => setTimeout(resolve, 4));
      if (!isWanted()) return;
      until = performance.now() + 8;
    }
  }
  note(frames);
}

/* ---- drawing: the rules of viewer/overlay.py ---- */

/* The axis that says how sure a point is, and from which value on it counts as seen; undefined where there is none. */
function surenessOf(part, drawing) {
  for (const [name, seenFrom] of Object.entries(drawing.seen_from)) {
    const axis = part.axes.indexOf(name);
    if (axis >= 0) return { name, axis, seenFrom };
  }
}

function groups(part, landmarks, frame, drawing) {
  const points = landmarks.points(part, frame);
  if (!points) return [];
  const axes = part.axes.length, skipped = new Set();
  if (part.name === "pose") {
    for (const [finer, names] of Object.entries(drawing.duplicates)) {
      const finerPart = landmarks.layout.parts.find((other) => other.name === finer);
      if (finerPart && landmarks.points(finerPart, frame)) names.forEach((name) => skipped.add(name));
    }
  }
  const shown = [];
  part.points.forEach((name, point) => {
    if (!skipped.has(name) && Number.isFinite(points[point * axes]) && Number.isFinite(points[point * axes + 1])) shown.push(point);
  });
  const sureness = surenessOf(part, drawing);
  if (!sureness) return [{ points: new Set(shown), opacity: 1 }];
  const seen = shown.filter((point) => points[point * axes + sureness.axis] >= sureness.seenFrom);
  return [{ points: new Set(shown), opacity: drawing.guess_opacity }, { points: new Set(seen), opacity: 1 }];
}

/* Draw the landmarks of a frame into a picture of width x height pixels of the canvas. */
export function drawSkeleton(context, landmarks, frame, drawing, shown, width, height) {
  const unit = Math.max(width, height) / 1000;
  const order = (part) => drawing.order.indexOf(part.name);
  for (const part of [...landmarks.layout.parts].sort((a, b) => order(a) - order(b))) {
    const look = shown[part.name] ?? { visible: true, lines: true, points: part.point > 0 };
    if (!look.visible) continue;
    const values = landmarks.points(part, frame), axes = part.axes.length;
    for (const { points, opacity } of groups(part, landmarks, frame, drawing)) {
      const lines = new Path2D(), dots = [];
      for (const [from, to] of look.lines ? part.edges : []) {
        if (!points.has(from) || !points.has(to)) continue;
        lines.moveTo(values[from * axes] * width, values[from * axes + 1] * height);
        lines.lineTo(values[to * axes] * width, values[to * axes + 1] * height);
      }
      if (look.points) points.forEach((point) => dots.push([values[point * axes] * width, values[point * axes + 1] * height]));
      const line = Math.max(1, part.line * unit), dot = Math.max(1.2, (part.point || 1.6) * unit);
      paint(context, lines, dots, drawing.halo, line * drawing.halo_width, dot * 1.5, opacity * part.opacity * drawing.halo_opacity);
      paint(context, lines, dots, part.colour, line, dot, opacity * part.opacity);
      paint(context, null, dots, drawing.point_core, 0, dot * 0.45, opacity * part.opacity);
    }
  }
}

function paint(context, lines, dots, colour, lineWidth, radius, opacity) {
  context.globalAlpha = opacity;
  context.strokeStyle = context.fillStyle = colour;
  context.lineCap = context.lineJoin = "round";
  if (lines) { context.lineWidth = lineWidth; context.stroke(lines); }
  const circles = new Path2D();
  for (const [x, y] of dots) { circles.moveTo(x + radius, y); circles.arc(x, y, radius, 0, 2 * Math.PI); }
  context.fill(circles);
  context.globalAlpha = 1;
}

/* ---- pictures: frames of a video, decoded and kept, a few asked for ahead ---- */

class Pictures {
  static MOST_PIXELS = 64e6;
  static MOST_REQUESTS = 5;

  constructor(fetchPicture, frames, noteReady) {
    this.fetchPicture = fetchPicture;
    this.frames = frames;
    this.noteReady = noteReady;
    this.kept = new Map();
    this.failures = new Map();
    this.asked = new Set();
    this.queue = [];
    this.pixels = 0;
    this.closed = false;
  }

  isReady(frame) { return this.kept.has(frame) || this.failures.has(frame) || frame >= this.frames; }

  /* Ask for a frame and those after it; what was asked for before and has not begun is forgotten. */
  want(frame, ahead, skip) {
    this.queue = [];
    for (let next = frame; next < Math.min(frame + ahead + 1, this.frames); next++) {
      if (!this.isReady(next) && !this.asked.has(next) && !skip(next)) this.queue.push(next);
    }
    this.#pump();
  }

  close() {
    this.closed = true;
    this.queue = [];
    this.kept.forEach((picture) => picture.close());
    this.kept.clear();
  }

  async #pump() {
    while (this.queue.length && this.asked.size < Pictures.MOST_REQUESTS) {
      const frame = this.queue.shift();
      this.asked.add(frame);
      this.#load(frame).finally(() => {
        this.asked.delete(frame);
        if (!this.closed) { this.noteReady(frame); this.#pump(); }
      });
    }
  }

  async #load(frame) {
    try {
      const picture = await createImageBitmap(await this.fetchPicture(frame));
      if (this.closed) return picture.close();
      this.kept.set(frame, picture);
      this.pixels += picture.width * picture.height;
      for (const [oldest, old] of this.kept) {
        if (this.pixels <= Pictures.MOST_PIXELS || oldest === frame) break;
        this.kept.delete(oldest);
        this.pixels -= old.width * old.height;
        old.close();
      }
    } catch (error) {
      this.failures.set(frame, error.message);
    }
  }
}

/* ---- list: only the rows in sight exist ---- */

const ROW = 52, PAGE_ROWS = 100, TALLEST = 6e6;

class List {
  constructor(data, open) {
    this.data = data;
    this.open = open;
    this.box = byId("rows");
    this.space = byId("rows-space");
    this.query = { search: "", sort: "split" };
    this.total = 0;
    this.pages = new Map();
    this.place = null;
    this.opened = null;
    this.layout = null;
    this.version = 0;
    this.box.addEventListener("scroll", () => this.render());
    new ResizeObserver(() => this.render()).observe(this.box);
    let typing;
    byId("search").addEventListener("input", (event) => {
      clearTimeout(typing);
      typing = setTimeout(() => this.ask({ search: event.target.value }), 150);
    });
    for (const button of byId("sort").children) {
      button.addEventListener("click", () => this.ask({ sort: button.dataset.sort }));
    }
  }

  /* Begin the list again with another search or order. */
  async ask(changes = {}, keepsScroll = false, rows = null) {
    Object.assign(this.query, changes);
    const version = ++this.version, top = this.box.scrollTop;
    for (const button of byId("sort").children) button.ariaPressed = String(button.dataset.sort === this.query.sort);
    const page = await (rows ?? this.#fetch(0));
    if (version !== this.version) return;
    this.pages = new Map([[0, page.rows]]);
    this.total = page.total;
    byId("count").textContent = page.total === 1 ? "1 video" : `${page.total.toLocaleString("en")} videos`;
    this.space.style.height = `${Math.min(this.total * ROW, TALLEST)}px`;
    this.box.scrollTop = keepsScroll ? top : 0;
    this.place = null;
    if (this.opened && !keepsScroll) this.reveal(this.opened.split, this.opened.video_id, false);
    this.render();
  }

  /* Rows between two places, loaded as far as they are not. */
  async row(place) {
    if (place < 0 || place >= this.total) return null;
    const number = Math.floor(place / PAGE_ROWS);
    if (!this.pages.has(number)) await this.#load(number);
    return this.pages.get(number)?.[place % PAGE_ROWS] ?? null;
  }

  /* Find the place of a video; scroll to it if it is out of sight. */
  async reveal(split, video, scrolls = true) {
    const { row, place } = await this.data.find(0, split, video, this.query);
    this.opened = row;
    this.place = place;
    if (place !== null && scrolls) this.scrollTo(place);
    this.render();
    return row;
  }

  /* Open the next or the previous video. */
  async step(direction) {
    const place = this.place === null ? 0 : this.place + direction, row = await this.row(place);
    if (!row) return;
    this.place = place;
    this.scrollTo(place);
    this.open(row);
  }

  mark(row) {
    this.opened = row;
    this.render();
  }

  scrollTo(place) {
    const first = this.#firstInSight(), visible = this.box.clientHeight / ROW;
    if (place >= first && place + 1 <= first + visible) return;
    const scale = this.#rowsPerPixel();
    this.box.scrollTop = Math.max(0, place - visible / 2) / scale;
  }

  render() {
    const first = this.#firstInSight(), count = Math.ceil(this.box.clientHeight / ROW) + 1;
    const start = Math.max(0, Math.floor(first)), end = Math.min(this.total, start + count);
    const shift = this.box.scrollTop - (first - start) * ROW;
    const rows = [];
    for (let place = start; place < end; place++) {
      const number = Math.floor(place / PAGE_ROWS), row = this.pages.get(number)?.[place % PAGE_ROWS];
      if (!this.pages.has(number)) this.#load(number);
      const element = this.#describe(row, place);
      element.style.transform = `translateY(${shift + (place - start) * ROW}px)`;
      rows.push(element);
    }
    this.space.replaceChildren(...rows);
  }

  /* A million rows are higher than a browser allows; then the bar moves by more than a row per row. */
  #rowsPerPixel() {
    const height = Math.min(this.total * ROW, TALLEST), visible = this.box.clientHeight;
    return height > visible ? (this.total - visible / ROW) / (height - visible) : 1 / ROW;
  }

  #firstInSight() { return this.box.scrollTop * this.#rowsPerPixel(); }

  #fetch(number) {
    return this.data.list(0, { ...this.query, first: number * PAGE_ROWS, count: PAGE_ROWS });
  }

  async #load(number) {
    const version = this.version;
    this.pages.set(number, []);
    const page = await this.#fetch(number).catch(() => null);
    if (version !== this.version) return;
    if (page) this.pages.set(number, page.rows); else this.pages.delete(number);
    if (this.pages.size > 60) this.pages.delete(this.pages.keys().next().value);
    if (page) this.render();
  }

  #describe(row, place) {
    const element = make("div", "row");
    if (!row) { element.classList.add("loading"); element.textContent = "…"; return element; }
    element.classList.toggle("open", Boolean(this.opened && same(row, this.opened)));
    element.append(make("span", "name", row.video_id), this.#rates(row));
    const detail = make("span", "detail");
    if (row.committed < row.frames) detail.append(make("span", "why", `${row.committed} of ${row.frames} frames · `));
    const bad = row.statuses.failed + row.statuses.unreadable;
    if (this.query.sort === "worth" && row.reasons.length) {
      detail.append(make("span", "why", row.reasons.join(" · ")));
    } else {
      if (bad) detail.append(make("span", "bad", `${bad} bad · `));
      detail.append([row.split, row.signer, `${row.frames} frames`, row.gloss].filter(Boolean).join(" · "));
    }
    element.title = [row.video_id, row.gloss, row.translation, ...row.reasons].filter(Boolean).join("\n");
    element.append(detail);
    element.addEventListener("click", () => { this.place = place; this.open(row); });
    return element;
  }

  #rates(row) {
    const rates = make("span", "rates");
    for (const part of this.layout.parts) {
      const bar = make("i");
      bar.style.setProperty("--rate", `${100 * row.rates[part.name]}%`);
      bar.style.setProperty("--colour", part.colour);
      bar.title = `${part.label} in ${(100 * row.rates[part.name]).toFixed(1)} % of frames`;
      rates.append(bar);
    }
    return rates;
  }
}

/* ---- view: picture and skeleton of one dataset ---- */

class View {
  constructor(number, dataset, isAlone) {
    this.number = number;
    this.dataset = dataset;
    this.landmarks = null;
    this.pictures = null;
    this.element = make("figure", "view");
    this.room = make("div", "room");
    this.frameBox = make("div", "frame");
    this.picture = make("canvas", "picture");
    this.overlay = make("canvas", "overlay");
    this.remark = make("div", "remark");
    this.frameBox.append(this.picture, this.overlay, this.remark);
    this.room.append(this.frameBox);
    this.element.append(this.room);
    if (!isAlone) {
      const caption = make("figcaption", "", dataset.path);
      caption.prepend(make("b", "", "AB"[number]));
      this.element.append(caption);
    }
    this.frameBox.hidden = true;
  }

  /* Whether picture and landmarks of a frame can be drawn together. */
  isReady(frame, withPictures) {
    return !this.landmarks || !this.needsPicture(frame, withPictures) || this.pictures.isReady(frame);
  }

  needsPicture(frame, withPictures) {
    return withPictures && Boolean(this.pictures) && this.landmarks.status(frame) !== "unreadable";
  }

  draw(frame, { withPictures, drawing, shown, other }) {
    this.frameBox.hidden = !this.landmarks;
    if (!this.landmarks) return;
    const picture = withPictures ? this.pictures?.kept.get(frame) : undefined;
    const [width, height] = picture ? [picture.width, picture.height] : this.landmarks.size(frame);
    this.#fit(width, height);
    if (this.picture.width !== width || this.picture.height !== height) Object.assign(this.picture, { width, height });
    const context = this.picture.getContext("2d");
    if (picture) context.drawImage(picture, 0, 0); else context.clearRect(0, 0, width, height);
    const overlay = this.overlay.getContext("2d");
    overlay.clearRect(0, 0, this.overlay.width, this.overlay.height);
    drawSkeleton(overlay, this.landmarks, frame, drawing, shown, this.overlay.width, this.overlay.height);
    if (other?.landmarks) this.#drawDistances(overlay, frame, other, shown);
    this.#remark(frame, withPictures);
    this.element.dataset.frame = frame;
    this.element.dataset.video = this.landmarks.header.video_id;
    this.element.dataset.pictured = Boolean(picture);
  }

  /* Lines from our points to those of the other dataset. */
  #drawDistances(context, frame, other, shown) {
    const { width, height } = this.overlay, lines = new Path2D();
    for (const { part, otherPart, pairs } of other.matches) {
      const ours = this.landmarks.points(part, frame), theirs = other.landmarks.points(otherPart, frame);
      if (!ours || !theirs || !shown[part.name].visible) continue;
      const [axes, otherAxes] = [part.axes.length, otherPart.axes.length];
      for (const [mine, its] of pairs) {
        if (Number.isNaN(ours[mine * axes]) || Number.isNaN(theirs[its * otherAxes])) continue;
        const [x, y] = [ours[mine * axes] * width, ours[mine * axes + 1] * height];
        const [otherX, otherY] = [theirs[its * otherAxes] * width, theirs[its * otherAxes + 1] * height];
        if (Math.hypot(otherX - x, otherY - y) < 1) continue;
        lines.moveTo(x, y);
        lines.lineTo(otherX, otherY);
      }
    }
    context.strokeStyle = DISTANCE;
    context.lineCap = "butt";
    context.lineWidth = Math.max(1.2, Math.max(width, height) / 500);
    context.stroke(lines);
  }

  #fit(width, height) {
    const scale = Math.min(this.room.clientWidth / width, this.room.clientHeight / height);
    const [boxWidth, boxHeight] = [Math.floor(width * scale), Math.floor(height * scale)];
    this.frameBox.style.width = `${boxWidth}px`;
    this.frameBox.style.height = `${boxHeight}px`;
    const density = window.devicePixelRatio || 1;
    const [pixels, lines] = [Math.max(1, Math.round(boxWidth * density)), Math.max(1, Math.round(boxHeight * density))];
    if (this.overlay.width !== pixels || this.overlay.height !== lines) Object.assign(this.overlay, { width: pixels, height: lines });
  }

  #remark(frame, withPictures) {
    const status = this.landmarks.status(frame);
    const words = { unreadable: "unreadable frame", failed: "the model failed on this frame", no_person: "no person found", absent: "not computed yet" };
    const failure = withPictures ? this.pictures?.failures.get(frame) : undefined;
    const beyond = withPictures && this.pictures && frame >= this.pictures.frames ? "the source has no such frame" : "";
    this.remark.textContent = [words[status], failure, beyond].filter(Boolean).join(" · ");
    this.remark.hidden = !this.remark.textContent;
  }

  /* The visible point nearest to a place on the screen, within 12 pixels. */
  nearest(event, frame, shown) {
    if (!this.landmarks) return null;
    const box = this.frameBox.getBoundingClientRect();
    let best = null, least = 12;
    for (const part of this.landmarks.layout.parts) {
      const points = shown[part.name].visible ? this.landmarks.points(part, frame) : null, axes = part.axes.length;
      for (let point = 0; points && point < part.points.length; point++) {
        const [x, y] = [points[point * axes], points[point * axes + 1]];
        const distance = Math.hypot(x * box.width + box.left - event.clientX, y * box.height + box.top - event.clientY);
        if (distance < least) { least = distance; best = { part, point, values: points.subarray(point * axes, (point + 1) * axes) }; }
      }
    }
    return best;
  }
}

/* ---- player: which frame is shown ---- */

class Player {
  constructor(views, drawing, shown, noteShown) {
    this.views = views;
    this.drawing = drawing;
    this.looks = shown;
    this.noteShown = noteShown;
    this.frames = 0;
    this.shown = -1;
    this.wanted = 0;
    this.withPictures = true;
    this.isPlaying = false;
    this.loops = true;
    this.speed = 1;
  }

  get landmarks() { return this.views[0].landmarks ?? this.views[1]?.landmarks; }

  /* Start with a video whose landmarks the views have. */
  begin(frames, frame) {
    this.frames = frames;
    this.shown = -1;
    this.seek(frame);
  }

  /* Show a frame as soon as its pictures are there; until then the frame before stays, with its own landmarks. */
  seek(frame) {
    if (!this.frames) return;
    this.wanted = Math.max(0, Math.min(this.frames - 1, Math.round(frame)));
    this.elapsed = 0;
    this.#ask(this.wanted);
    if (this.#isReady(this.wanted)) this.#show(this.wanted);
  }

  step(frames) { this.pause(); this.seek(this.wanted + frames); }

  play() {
    if (!this.frames || this.isPlaying) return;
    if (this.wanted >= this.frames - 1) this.seek(0);
    this.isPlaying = true;
    this.before = performance.now();
    this.elapsed = 0;
    requestAnimationFrame((now) => this.#tick(now));
    this.noteShown(this.shown);
  }

  pause() {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    this.noteShown(this.shown);
  }

  toggle() { if (this.isPlaying) this.pause(); else this.play(); }

  redraw() { if (this.shown >= 0) this.#show(this.shown); }

  /* Called when a picture has come: while seeking, what is nearer to the wanted frame is shown at once. */
  noteReady(frame) {
    if (this.isPlaying || this.shown === this.wanted || !this.frames) return;
    const isNearer = this.shown < 0 || Math.abs(frame - this.wanted) < Math.abs(this.shown - this.wanted);
    if (isNearer && this.#isReady(frame)) this.#show(frame);
  }

  #tick(now) {
    if (!this.isPlaying) return;
    requestAnimationFrame((next) => this.#tick(next));
    this.elapsed += Math.min(0.25, (now - this.before) / 1000) * this.speed;
    this.before = now;
    let target = this.shown < 0 ? this.wanted : this.shown, length = this.landmarks.duration(target), passed = 0;
    while (this.elapsed - passed >= length && target < this.frames - 1) {
      passed += length;
      target += 1;
      length = this.landmarks.duration(target);
    }
    if (this.shown === this.frames - 1 && this.elapsed >= length) {
      if (!this.loops) { this.pause(); return; }
      this.elapsed = 0;
      this.wanted = 0;
      this.#ask(0);
      if (this.#isReady(0)) this.#show(0);
      return;
    }
    while (target > this.shown && !this.#isReady(target)) target -= 1;
    if (target > this.shown) {
      for (let frame = this.shown; frame < target; frame++) this.elapsed -= frame < 0 ? 0 : this.landmarks.duration(frame);
      this.wanted = target;
      this.#show(target);
    } else if (this.shown >= 0) {
      // Nothing is ready: time waits.
      this.elapsed = Math.min(this.elapsed, this.landmarks.duration(this.shown));
    }
    this.#ask(Math.min(this.frames - 1, this.shown + 1));
  }

  #isReady(frame) { return this.views.every((view) => view.isReady(frame, this.withPictures)); }

  #ask(frame) {
    if (!this.withPictures) return;
    const ahead = this.isPlaying ? 20 : 4, distinct = new Set(this.views.map((view) => view.pictures).filter(Boolean));
    const landmarks = this.landmarks;
    distinct.forEach((pictures) => pictures.want(frame, ahead, (next) => landmarks?.status(next) === "unreadable"));
  }

  /* The only place that draws: all pictures and landmarks of one frame, in one step. */
  #show(frame) {
    const [first, second] = this.views;
    const common = { withPictures: this.withPictures, drawing: this.drawing, shown: this.looks };
    first.draw(frame, common);
    second?.draw(frame, { ...common, other: first.landmarks && { landmarks: first.landmarks, matches: second.matches } });
    this.shown = frame;
    this.noteShown(frame);
  }
}

/* ---- timeline: strips and curves ---- */

const STRIP = 13, GAP = 5, CURVES = { speed: 58, score: 40, distance: 58 };

class Timeline {
  constructor(seek) {
    this.box = byId("tracks");
    this.still = byId("tracks-still");
    this.marker = byId("marker");
    this.rows = [];
    this.frames = 0;
    let dragging = false;
    const go = (event) => seek(((event.clientX - this.box.getBoundingClientRect().left) / this.box.clientWidth) * this.frames - 0.5);
    this.box.addEventListener("pointerdown", (event) => { dragging = true; this.box.setPointerCapture(event.pointerId); go(event); });
    this.box.addEventListener("pointermove", (event) => { if (dragging) go(event); });
    for (const end of ["pointerup", "pointercancel"]) this.box.addEventListener(end, () => { dragging = false; });
    new ResizeObserver(() => { this.draw(); this.mark(this.frame ?? 0); }).observe(this.box);
  }

  /* Show rows: {kind: "strip", label, colour, states: [Uint8Array, …]} or
     {kind: "curve", label, height, series: [{name, colour, values}], most}. */
  use(rows, frames) {
    Object.assign(this, { rows, frames });
    let top = 0;
    const labels = rows.map((row) => {
      row.top = top;
      row.height = row.kind === "strip" ? STRIP : CURVES[row.id];
      const label = make("div", `label ${row.kind}`);
      label.style.height = `${row.height}px`;
      label.style.marginBottom = `${GAP}px`;
      if (row.kind === "strip") {
        const swatch = make("i");
        swatch.style.setProperty("--colour", row.colour);
        label.append(swatch);
      }
      label.append(make("span", "", row.label));
      const value = make("span", "value", row.note ?? "");
      row.outputs = row.series?.map(({ colour }) => {
        const output = make("span");
        output.style.setProperty("--colour", colour);
        return output;
      });
      value.append(...(row.outputs ?? []));
      label.append(value);
      top += row.height + GAP;
      return label;
    });
    byId("labels").replaceChildren(...labels);
    this.box.style.height = `${Math.max(0, top - GAP)}px`;
    this.draw();
  }

  draw() {
    const context = fitCanvas(this.still, this.box);
    const width = this.box.clientWidth;
    for (const row of this.rows) {
      if (row.kind === "strip") this.#drawStrip(context, row, width); else this.#drawCurve(context, row, width);
    }
  }

  /* Move the marker, and say the values of the frame. */
  mark(frame) {
    this.frame = frame;
    if (!this.frames) return;
    const slot = this.box.clientWidth / this.frames;
    this.marker.style.width = `${Math.max(2, slot)}px`;
    this.marker.style.transform = `translateX(${frame * slot}px)`;
    for (const row of this.rows) {
      row.outputs?.forEach((output, number) => {
        const value = row.series[number].values[frame];
        output.textContent = Number.isNaN(value) || value === undefined ? "–" : value.toFixed(row.digits);
      });
    }
  }

  #drawStrip(context, row, width) {
    const lane = (row.height - (row.states.length - 1) * 2) / row.states.length;
    row.states.forEach((states, number) => {
      const top = row.top + number * (lane + 2), columns = Math.min(width, this.frames);
      for (let column = 0; column < columns; column++) {
        const start = Math.floor((column * this.frames) / columns), end = Math.max(start + 1, Math.floor(((column + 1) * this.frames) / columns));
        const counts = [0, 0, 0, 0, 0];
        for (let frame = start; frame < end; frame++) counts[states?.[frame] ?? STATES.absent] += 1;
        const left = Math.round((column * width) / columns), right = Math.round(((column + 1) * width) / columns);
        const box = [left, top, right - left - (right - left > 10 ? 1 : 0), lane];
        if (counts[STATES.failed]) fillBox(context, STATE_COLOURS.failed, 1, box);
        else if (counts[STATES.unreadable]) fillBox(context, STATE_COLOURS.unreadable, 1, box);
        else if (counts[STATES.absent] === end - start) fillBox(context, STATE_COLOURS.stripe, 1, [left, top + lane / 2 - 1, right - left, 1.5]);
        else {
          fillBox(context, STATE_COLOURS.missing, 1, box);
          fillBox(context, row.colour, (0.88 * counts[STATES.found]) / (end - start), box);
        }
      }
    });
  }

  #drawCurve(context, row, width) {
    const { top, height } = row, most = row.most ?? niceCeiling(row.series);
    context.fillStyle = "#191f2a";
    context.fillRect(0, top, width, height);
    context.fillStyle = GRID;
    context.fillRect(0, Math.round(top + height / 2), width, 1);
    for (const { colour, values } of row.series) {
      context.strokeStyle = colour;
      context.lineWidth = 1.4;
      context.globalAlpha = 0.9;
      context.lineJoin = "round";
      context.beginPath();
      let isDown = false;
      for (let frame = 0; frame < this.frames; frame++) {
        const value = values[frame];
        if (Number.isNaN(value)) { isDown = false; continue; }
        const x = ((frame + 0.5) * width) / this.frames, y = top + height - 3 - (Math.min(value, most) / most) * (height - 6);
        if (isDown) context.lineTo(x, y); else { context.moveTo(x - 0.4, y); context.lineTo(x + 0.4, y); }
        isDown = true;
      }
      context.stroke();
      context.globalAlpha = 1;
    }
    context.fillStyle = FAINT;
    context.font = "10px system-ui, sans-serif";
    context.textAlign = "right";
    context.fillText(`${most}${row.unit}`, width - 5, top + 13);
  }
}

function fillBox(context, colour, opacity, box) {
  context.globalAlpha = opacity;
  context.fillStyle = colour;
  context.fillRect(...box);
  context.globalAlpha = 1;
}

/* A round number above nearly all values, so that one jump does not flatten the rest. */
function niceCeiling(series) {
  const values = series.flatMap(({ values }) => Array.from(values).filter((value) => !Number.isNaN(value))).sort((a, b) => a - b);
  const high = values.length ? Math.max(values[Math.floor(values.length * 0.985)], values[values.length - 1] / 4, 0.1) : 1;
  const power = 10 ** Math.floor(Math.log10(high));
  return Number(([1, 1.5, 2, 3, 5, 7.5, 10].find((step) => step * power >= high) * power).toPrecision(2));
}

function fitCanvas(canvas, box) {
  const density = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(box.clientWidth * density));
  canvas.height = Math.max(1, Math.round(box.clientHeight * density));
  const context = canvas.getContext("2d");
  context.scale(density, density);
  return context;
}

/* ---- side: parts on and off, facts of frame and video ---- */

function buildParts(layout, looks, changed) {
  byId("parts").replaceChildren(...layout.parts.map((part) => {
    const row = make("div", "part"), label = make("label"), box = make("input", "swatch"), look = looks[part.name];
    row.style.setProperty("--colour", part.colour);
    row.dataset.part = part.name;
    Object.assign(box, { type: "checkbox", checked: look.visible });
    box.addEventListener("change", () => { look.visible = box.checked; changed(); });
    label.append(box, part.label);
    row.append(label);
    for (const what of ["lines", "points"]) {
      const button = make("button", "mini", what);
      button.ariaPressed = String(look[what]);
      button.addEventListener("click", () => {
        look[what] = !look[what];
        button.ariaPressed = String(look[what]);
        changed();
      });
      row.append(button);
    }
    return row;
  }));
}

/* Show names and values; where the names are those of before, only what has changed. */
function describe(list, facts) {
  const known = facts.filter(([, value]) => value);
  const names = [...list.querySelectorAll("dt")].map((name) => name.textContent);
  if (names.join() === known.map(([name]) => name).join()) {
    list.querySelectorAll("dd").forEach((value, place) => setText(value, known[place][1]));
  } else {
    list.replaceChildren(...known.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
  }
}

/* ---- page: puts all together ---- */

const byId = (id) => document.getElementById(id);
const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const same = (a, b) => a.split === b.split && a.video_id === b.video_id;

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

export async function start(data) {
  const firstRows = data.list(0, { search: "", sort: "split", first: 0, count: PAGE_ROWS });
  let world = await data.datasets();
  const { drawing } = world;
  const layout = world.datasets[0].layout, isAlone = world.datasets.length === 1;
  const looks = Object.fromEntries(world.datasets.flatMap((dataset) => dataset.layout.parts).map((part) => [part.name, { visible: true, lines: true, points: part.point > 0 }]));
  const views = world.datasets.map((dataset, number) => new View(number, dataset, isAlone));
  byId("stage").replaceChildren(...views.map((view) => view.element));
  if (views[1]) {
    views[1].matches = world.datasets[1].layout.parts.flatMap((part) => {
      const otherPart = layout.parts.find(({ name }) => name === part.name);
      return otherPart ? [{ part, otherPart, pairs: pairsByName(part, otherPart) }] : [];
    });
  }
  let opened = null, opening = 0, wantedFrame = 0;

  const player = new Player(views, drawing, looks, (frame) => noteShown(frame));
  const timeline = new Timeline((frame) => { player.pause(); player.seek(frame); });
  const list = new List(data, (row) => open(row, 0));
  list.layout = layout;
  buildParts(layout, looks, () => { player.redraw(); });

  /* Open a video: landmarks of all datasets first, then whatever pictures there are. */
  async function open(row, frame) {
    const ticket = ++opening;
    const isAgain = opened !== null && same(row, opened);
    if (!isAgain) player.pause();
    opened = row;
    wantedFrame = frame;
    list.mark(row);
    if (!isAgain) views.forEach((view) => { view.element.dataset.frame = ""; });
    byId("video-name").textContent = row.video_id;
    document.title = `${row.video_id} · ${world.datasets.map(({ path }) => path.split("/").filter(Boolean).at(-1)).join(" | ")}`;
    byId("message").textContent = "";
    const early = startPictures(row, frame);
    const buffers = await Promise.all(views.map((view) => data.landmarks(view.number, row.split, row.video_id).catch((error) => error)));
    if (ticket !== opening) { early.forEach((pictures) => pictures?.close()); return; }
    views.forEach((view, number) => {
      view.pictures?.close();
      view.pictures = early[number];
      const failed = buffers[number] instanceof Error;
      view.landmarks = failed ? null : new Landmarks(buffers[number], view.dataset.layout);
      if (failed) say(isAlone ? buffers[number].message : `${"AB"[number]}: ${buffers[number].message}`);
    });
    const frames = Math.max(0, ...views.map((view) => view.landmarks?.frames ?? 0));
    showVideo(row, frames);
    player.begin(frames, frame);
    checkSource(ticket, row);
    if (!frames) views.forEach((view) => { view.frameBox.hidden = true; });
  }

  /* Ask for the first picture while the landmarks are on their way. Datasets of one source share pictures. */
  function startPictures(row, frame) {
    const started = [];
    for (const view of views) {
      const { state, root } = world.datasets[view.number].source;
      if (state !== "ready") { started.push(null); continue; }
      const shared = views.findIndex((other) => other.number < view.number && world.datasets[other.number].source.root === root);
      const pictures = shared >= 0 ? started[shared] : makePictures(view, row, row.frames);
      pictures.want(frame, 0, () => false);
      started.push(pictures);
    }
    return started;
  }

  const makePictures = (view, row, frames) => new Pictures(
    (frame) => data.picture(view.number, row.split, row.video_id, frame), frames, (frame) => player.noteReady(frame),
  );

  /* Find out how many frames the source has. `watch` calls this again when the source is listed. */
  function checkSource(ticket, row) {
    for (const view of views) {
      const { state } = world.datasets[view.number].source;
      if (state !== "ready" || !view.landmarks) continue;
      data.source(view.number, row.split, row.video_id).then(({ frames, is_changed, error }) => {
        if (ticket !== opening) return;
        if (error) { say(error); view.pictures = null; }
        else if (view.pictures) view.pictures.frames = frames;
        else view.pictures = makePictures(view, row, frames);
        if (!error && frames !== view.landmarks.frames) say(`The source has ${frames} frames, the dataset ${view.landmarks.frames}.`);
        else if (is_changed) say("The source has changed since the landmarks were computed: pictures and landmarks may not belong together.");
        player.seek(player.wanted);
        if (player.shown === player.wanted) player.redraw();
      }).catch((failure) => say(failure.message));
    }
  }

  function showVideo(row, frames) {
    const landmarks = player.landmarks;
    const fps = landmarks?.header.fps ? `${+landmarks.header.fps.toFixed(3)} fps${landmarks.header.fps_varies ? " (varies)" : ""}` : `no clock: shown at ${DEFAULT_FPS} fps`;
    byId("video-facts").textContent = [row.split, row.signer, `${frames} frames`, fps, row.gloss].filter(Boolean).join("  ·  ");
    const annotation = Object.entries(landmarks?.header.annotation ?? {});
    describe(byId("video-details"), annotation);
    byId("video-heading").hidden = !annotation.length;
    const strips = layout.parts.map((part) => {
      const states = views.map((view) => view.landmarks?.states[part.name]);
      const found = states[0] ? states[0].filter((state) => state === STATES.found).length / Math.max(1, views[0].landmarks.rows) : 0;
      return { kind: "strip", label: part.label, colour: part.colour, states, note: `${(100 * found).toFixed(found === 1 ? 0 : 1)} %`, part: part.name };
    });
    const curve = (id, label, unit, most, digits, measure) => ({
      kind: "curve", id, label, unit, most, digits,
      series: layout.parts.map((part) => ({ colour: part.colour, values: new Float32Array(frames).fill(NaN), measure: measure(part) })),
    });
    const first = views[0].landmarks;
    /* MediaPipe's scores are probabilities, those of other networks have units of their own. */
    const mostScore = layout.parts.some((part) => part.axes.includes("confidence")) ? null : 1;
    const curves = [
      curve("speed", `speed${isAlone ? "" : " of A"}, px per frame`, " px", null, 1, (part) => (frame) => (first ? speedAt(first, part, frame) : NaN)),
      curve("score", `presence score${isAlone ? "" : " of A"}`, "", mostScore, 2, (part) => (frame) => (first ? first.score(part, frame) : NaN)),
    ];
    if (views[1]) {
      curves.push(curve("distance", "distance A to B, px", " px", null, 2, (part) => {
        const match = views[1].matches.find(({ otherPart }) => otherPart.name === part.name), second = views[1].landmarks;
        if (!match || !first || !second) return () => NaN;
        const pairs = match.pairs.map(([ours, theirs]) => [theirs, ours]);
        return (frame) => distanceAt(first, part, second, match.part, pairs, frame);
      }));
    }
    timeline.use([...strips, ...curves], frames);
    const ticket = opening;
    timeline.measured = 0;
    // The first frame comes first.
    setTimeout(() => measureAll(frames, curves.flatMap(({ series }) => series), () => ticket === opening, (frame) => {
      timeline.measured = frame;
      timeline.draw();
      timeline.mark(Math.max(0, player.shown));
    }), 120);
  }

  function noteShown(frame) {
    byId("play").classList.toggle("playing", player.isPlaying);
    const landmarks = player.landmarks;
    if (frame < 0 || !landmarks) return;
    setText(byId("position-frame"), String(frame));
    setText(byId("position-last"), ` / ${player.frames - 1}`);
    setText(byId("position-time"), `${landmarks.time(frame).toFixed(2)} s`);
    timeline.mark(frame);
    const row = landmarks.rowOf[frame], [width, height] = landmarks.size(frame);
    describe(byId("frame-facts"), [
      ["name", row >= 0 ? landmarks.header.frame_names[row] : ""],
      ["status", landmarks.status(frame).replace("_", " ")],
      ["size", row >= 0 && landmarks.arrays.sizes[2 * row] > 0 ? `${width} × ${height}` : "not known"],
    ]);
    if (!player.isPlaying) keepLink(frame);
  }

  function say(text) { byId("message").textContent = byId("message").title = text; }

  /* Links: the address holds video and frame. */
  let linkTimer, ownLink = "";
  function keepLink(frame) {
    clearTimeout(linkTimer);
    linkTimer = setTimeout(() => {
      ownLink = `#${new URLSearchParams({ split: opened.split, video: opened.video_id, frame })}`;
      history.replaceState(null, "", ownLink);
    }, 150);
  }
  async function followLink() {
    if (!location.hash || location.hash === ownLink) return false;
    const link = new URLSearchParams(location.hash.slice(1)), frame = Number(link.get("frame") ?? 0) || 0;
    if (!link.has("video")) return false;
    const [split, video] = [link.get("split") ?? "", link.get("video")];
    if (opened && same(opened, { split, video_id: video })) { player.pause(); player.seek(frame); return true; }
    try { await open(await list.reveal(split, video), frame); } catch (error) { say(error.message); return false; }
    return true;
  }
  window.addEventListener("hashchange", followLink);

  /* Notes of the bar: what a run is doing, what the source is. */
  function describeWorld() {
    byId("datasets").replaceChildren(...world.datasets.map((dataset, number) => {
      const name = make("div"), path = make("span");
      if (!isAlone) name.append(make("b", "", "AB"[number]));
      path.append(make("bdi", "", dataset.path));
      name.append(path);
      name.title = `${dataset.path}\n${dataset.videos} videos, ${dataset.frames} frames\n${dataset.layout.name}`;
      return name;
    }));
    const notes = [];
    world.datasets.forEach(({ source, unfinished, is_written: isWritten }, number) => {
      const of = isAlone ? "" : `${"AB"[number]}: `;
      if (isWritten) notes.push([`${of}a run is writing`, "warn"]);
      if (unfinished) notes.push([`${of}${unfinished.toLocaleString("en")} unfinished`, "warn"]);
      if (source.state === "listing") notes.push([`${of}listing the source: ${source.listed.toLocaleString("en")} videos`, ""]);
      if (source.state === "absent") notes.push([`${of}skeletons only (--source says where the frames are): ${source.message}`, "warn"]);
      if (source.state === "off") notes.push([`${of}skeletons only`, ""]);
    });
    byId("frames-choice").hidden = world.datasets.every(({ source }) => source.state === "off" || source.state === "absent");
    byId("notes").replaceChildren(...notes.map(([text, kind]) => {
      const note = make("span", `note ${kind}`, text);
      note.title = text;
      return note;
    }));
  }

  /* Look again while something can change: soon at first, because most sources are listed in a moment. */
  async function watch(pause = 100) {
    const isListing = world.datasets.some(({ source }) => source.state === "listing");
    const isGrowing = world.datasets.some((dataset) => dataset.is_written || dataset.unfinished);
    setTimeout(async () => {
      const before = world.datasets;
      try {
        world = await data.datasets();
        describeWorld();
        const changed = (what) => world.datasets.some((dataset, number) => what(dataset) !== what(before[number]));
        if (opened && changed(({ source }) => source.state)) checkSource(opening, opened);
        if (changed(({ generation }) => generation)) await showNewRows();
      } catch (error) {
        byId("notes").replaceChildren(make("span", "note warn", `the server does not answer: ${error.message}`));
      }
      watch(Math.min(1000, pause * 1.5));
    }, isListing ? pause : isGrowing ? 3000 : 30000);
  }

  async function showNewRows() {
    await list.ask({}, true);
    const lacksFrames = views.some(({ landmarks }) => !landmarks || landmarks.rows < landmarks.frames);
    if (!opened || !lacksFrames || player.isPlaying) return;
    const { row } = await data.find(0, opened.split, opened.video_id, list.query);
    await open(row, Math.max(0, player.wanted));
  }

  /* Controls. */
  const setSpeed = (step) => {
    const place = SPEEDS.indexOf(player.speed) + step;
    player.speed = step === 0 ? 1 : SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, place))];
    byId("speed").textContent = `${player.speed}×`;
  };
  const setFrames = (isOn) => {
    byId("frames").checked = player.withPictures = isOn;
    player.seek(player.wanted);
    player.redraw();
  };
  const setLoop = (isOn) => { byId("loop").checked = player.loops = isOn; };
  const togglePart = (number) => byId("parts").children[number]?.querySelector("input").click();
  const clicks = {
    play: () => player.toggle(), first: () => player.step(-Infinity), last: () => player.step(Infinity),
    back: () => player.step(-1), forward: () => player.step(1), slower: () => setSpeed(-1), faster: () => setSpeed(1),
    "help-button": () => byId("help").showModal(),
  };
  for (const [id, action] of Object.entries(clicks)) byId(id).addEventListener("click", (event) => { action(); event.currentTarget.blur(); });
  byId("frames").addEventListener("change", (event) => { setFrames(event.target.checked); event.target.blur(); });
  byId("loop").addEventListener("change", (event) => { setLoop(event.target.checked); event.target.blur(); });
  const keys = {
    " ": () => player.toggle(), ArrowLeft: (many) => player.step(many ? -10 : -1), ArrowRight: (many) => player.step(many ? 10 : 1),
    Home: () => player.step(-Infinity), End: () => player.step(Infinity), "[": () => setSpeed(-1), "]": () => setSpeed(1), "\\": () => setSpeed(0),
    ArrowUp: () => list.step(-1), ArrowDown: () => list.step(1), l: () => setLoop(!player.loops),
    f: () => setFrames(!player.withPictures), "/": () => byId("search").focus(), "?": () => byId("help").showModal(),
  };
  window.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches("input[type=search]");
    if (isTyping && event.key === "Escape") event.target.blur();
    if (isTyping || byId("help").open || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = /^[1-9]$/.test(event.key) ? () => togglePart(Number(event.key) - 1) : keys[event.key];
    if (!action) return;
    event.preventDefault();
    action(event.shiftKey);
  });

  /* Names of points. */
  byId("stage").addEventListener("pointermove", (event) => {
    const view = views.find(({ frameBox }) => frameBox.contains(event.target)), tip = byId("tip");
    const found = view?.nearest(event, player.shown, looks);
    tip.hidden = !found;
    if (!found) return;
    const [width, height] = view.landmarks.size(player.shown), sureness = surenessOf(found.part, drawing);
    const place = `${(found.values[0] * width).toFixed(1)}, ${(found.values[1] * height).toFixed(1)} px`;
    const visibility = sureness ? `   ${sureness.name} ${found.values[sureness.axis].toFixed(2)}` : "";
    tip.textContent = `${found.part.label} · ${found.part.points[found.point].replaceAll("_", " ")}\n${place}${visibility}`;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${event.clientY + 16}px`;
  });
  byId("stage").addEventListener("pointerleave", () => { byId("tip").hidden = true; });
  new ResizeObserver(() => player.redraw()).observe(byId("stage"));

  describeWorld();
  await list.ask({}, false, firstRows);
  if (!(await followLink())) {
    const row = await list.row(0), problem = byId("message").textContent;
    if (row) { list.place = 0; await open(row, 0); }
    // A link to a video that is not here shows another: say so.
    if (problem) say(problem);
  }
  watch();
  return { player, list, timeline, views, data };
}

/* The server's page; one that brings its data along calls `start` itself. */
if (document.documentElement.dataset.own === undefined) {
  start(serverData()).then((viewer) => { window.viewer = viewer; }, (error) => {
    byId("stage").replaceChildren(make("p", "empty", error.message));
  });
}
