// Two videos on one canvas at the same moment: what SVFR Compare shows. Knows nothing of ComfyUI.
//
// The videos have one frame for each frame of the clips and one rate. While they play, the second follows the first by
// small changes of its speed; while they stand, both are on the middle of the same frame.

const COLORS = ["#50dc50", "#ff8c28", "#5aa0ff", "#f05adc", "#fae646", "#46e6e6"]; // of people, as in the previews
const MODES = { wipe: "Wipe", side: "Side by side", flicker: "Flicker" };
const KEYS =
  "Space: play. Arrows: one frame, with Shift ten. Home, End. W: wipe, S: side by side, F: flicker. X: before or after. " +
  "O: overlay. Z: face. L: loop. Wheel: zoom, drag with Shift: move, double click: whole picture.";
const FACE_ROOM = 1.15; // how much wider than the crop the view of a face is
const MOST_ZOOM = 16;
const DRIFT = 0.25; // of a frame, from which the second video changes its speed
const LOST = 3; // frames, from which it jumps
const HASTE = 0.08; // how much faster or slower it then plays

const STYLE = `
.svfr-compare { display: flex; flex-direction: column; gap: 4px; width: 100%; height: 100%; box-sizing: border-box;
  font: 12px sans-serif; color: #ddd; background: #1a1a1a; border-radius: 4px; padding: 4px; outline: none;
  pointer-events: auto; overflow: hidden; }
.svfr-compare:focus { box-shadow: inset 0 0 0 1px #5aa0ff; }
.svfr-compare canvas { flex: 1 1 0; min-height: 0; width: 100%; cursor: ew-resize; touch-action: none; background: #000; }
.svfr-compare .row { display: flex; gap: 3px; align-items: center; flex: none; flex-wrap: wrap; }
.svfr-compare button { background: #333; color: inherit; border: 1px solid #555; border-radius: 3px; padding: 2px 7px;
  font: inherit; cursor: pointer; min-width: 24px; }
.svfr-compare button[aria-pressed=true] { background: #2f5f9f; border-color: #5aa0ff; color: #fff; }
.svfr-compare button:disabled { opacity: 0.4; cursor: default; }
.svfr-compare input[type=range] { flex: 1; min-width: 60px; margin: 0 4px; }
.svfr-compare output { min-width: 64px; text-align: right; font-variant-numeric: tabular-nums; }
.svfr-compare video { position: absolute; width: 1px; height: 1px; opacity: 0; pointer-events: none; }
`;

export class ComparePlayer {
  constructor() {
    this.mode = "wipe";
    this.wipe = 0.5; // where the line is, as a part of the picture's width
    this.after = true; // which one is seen when they flicker
    this.loop = true;
    this.overlay = false;
    this.face = false;
    this.frame = 0;
    this.data = null;
    this.marks = null; // boxes, crops and masks
    this.view = { zoom: 1, x: 0.5, y: 0.5 }; // how much larger than fitting, and what is in the middle
    this.playing = false;
    this._seeking = null; // the frame that both videos are on their way to
    this._build();
  }

  // The page -------------------------------------------------------------------------------------------------------

  _build() {
    this.root = document.createElement("div");
    this.root.className = "svfr-compare";
    this.root.tabIndex = 0;
    this.root.title = KEYS;
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.canvas = document.createElement("canvas");
    this.videos = [0, 1].map(() => {
      const video = document.createElement("video");
      Object.assign(video, { muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
      return video;
    });
    this.root.append(style, ...this.videos, this.canvas, this._transport(), this._modes());
    this._listen();
    this._observer = new ResizeObserver(() => this.paint());
    this._observer.observe(this.canvas);
    this._show();
  }

  _transport() {
    const row = rowOf();
    this.play = button("▶", "Play or pause (Space)", () => this.toggle());
    this.back = button("◀|", "One frame back (left arrow)", () => this.step(-1));
    this.next = button("|▶", "One frame on (right arrow)", () => this.step(1));
    this.bar = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 0, step: 1, value: 0 });
    this.bar.ariaLabel = "Frame";
    this.bar.addEventListener("input", () => this.seek(Number(this.bar.value)));
    this.count = document.createElement("output");
    row.append(this.play, this.back, this.next, this.bar, this.count);
    return row;
  }

  _modes() {
    const row = rowOf();
    this.modes = Object.fromEntries(
      Object.entries(MODES).map(([mode, label]) => [mode, button(label, `${label} (${mode[0].toUpperCase()})`, () => this.setMode(mode))])
    );
    this.switches = {
      overlay: button("Overlay", "Boxes, crops and masks (O)", () => this.switchOf("overlay")),
      face: button("Face", "Zoom in on the face (Z)", () => this.switchOf("face")),
      loop: button("Loop", "Begin again at the end (L)", () => this.switchOf("loop")),
    };
    row.append(...Object.values(this.modes), ...Object.values(this.switches));
    return row;
  }

  _listen() {
    this.root.addEventListener("keydown", (event) => this._key(event));
    this.canvas.addEventListener("pointerdown", (event) => this._grab(event));
    this.canvas.addEventListener("dblclick", () => this.setView({ zoom: 1, x: 0.5, y: 0.5 }));
    this.root.addEventListener("wheel", (event) => this._wheel(event), { passive: false });
    for (const video of this.videos) {
      video.addEventListener("seeked", () => this._arrived());
      video.addEventListener("loadeddata", () => this.paint());
      video.addEventListener("error", () => this.paint());
    }
    this.videos[0].addEventListener("ended", () => this._ended());
  }

  _show() {
    this.play.textContent = this.playing ? "❚❚" : "▶";
    for (const [mode, element] of Object.entries(this.modes)) element.ariaPressed = String(this.mode === mode);
    for (const [name, element] of Object.entries(this.switches)) element.ariaPressed = String(this[name]);
    this.switches.face.disabled = !this.marks?.tracks.length;
    this.switches.overlay.disabled = !(this.marks?.tracks.length || this.marks?.shapes.length);
    this.bar.max = Math.max(0, (this.data?.count ?? 1) - 1);
    this.bar.value = this.frame;
    this.count.textContent = this.data ? `${this.frame + 1} / ${this.data.count}` : "";
  }

  // What it is told ------------------------------------------------------------------------------------------------

  // data: before, after (addresses), sizes, count, fps, labels, and overlay, an address or null
  async load(data) {
    this.pause();
    this.data = data;
    this.marks = null;
    this.frame = 0;
    this._seeking = null;
    this.videos[0].src = data.before;
    this.videos[1].src = data.after;
    this._show();
    if (data.overlay) {
      const answer = await fetch(data.overlay);
      if (answer.ok && this.data === data) this.marks = await answer.json();
    }
    await Promise.all(this.videos.map((video) => ready(video)));
    if (this.data === data) await this.seek(0);
    this._show();
    this.paint();
  }

  dispose() {
    this.pause();
    this._observer.disconnect();
    for (const video of this.videos) {
      video.removeAttribute("src");
      video.load();
    }
  }

  setMode(mode) {
    this.mode = mode;
    this._show();
    this.paint();
  }

  switchOf(name) {
    if (this.switches[name].disabled) return;
    this[name] = !this[name];
    this._show();
    this.paint();
  }

  setWipe(part) {
    this.wipe = Math.min(1, Math.max(0, part));
    this.paint();
  }

  setView(view) {
    this.view = view;
    this.paint();
  }

  // Time -----------------------------------------------------------------------------------------------------------

  get fps() {
    return this.data?.fps ?? 25;
  }

  // The frame that each video shows.
  get frames() {
    const last = (this.data?.count ?? 1) - 1;
    return this.videos.map((video) => Math.min(last, Math.max(0, Math.floor(video.currentTime * this.fps + 1e-3))));
  }

  toggle() {
    return this.playing ? this.pause() : this.start();
  }

  async start() {
    if (!this.data || this.playing) return;
    this.playing = true;
    this._show();
    if (this.frame >= this.data.count - 1) await this.seek(0);
    await this._run();
  }

  async _run() {
    try {
      await Promise.all(this.videos.map((video) => video.play()));
    } catch {
      return this.pause(); // paused or loaded anew meanwhile
    }
    const tick = () => {
      if (!this.playing) return;
      this._follow();
      this.frame = this.frames[0];
      this._show();
      this.paint();
      this._tick = requestAnimationFrame(tick);
    };
    cancelAnimationFrame(this._tick);
    tick();
  }

  pause() {
    const was = this.playing;
    this.playing = false;
    cancelAnimationFrame(this._tick);
    for (const video of this.videos) {
      video.pause();
      video.playbackRate = 1;
    }
    if (was) this.seek(this.frames[0]);
    this._show();
  }

  step(count) {
    return this.seek(this.frame + count);
  }

  // Both videos to a frame; resolves once both show it. While they are on their way, only the last wish counts.
  seek(frame) {
    if (!this.data) return Promise.resolve();
    if (this.playing) {
      this.playing = false;
      this.pause();
    }
    this.frame = Math.min(this.data.count - 1, Math.max(0, Math.round(frame)));
    this._show();
    this._done ??= new Promise((resolve) => (this._resolve = resolve));
    const done = this._done;
    if (this._seeking === null) this._depart();
    return done;
  }

  _depart() {
    this._seeking = this.frame;
    this._missing = 2;
    for (const video of this.videos) video.currentTime = (this.frame + 0.5) / this.fps;
  }

  _arrived() {
    if (this._seeking === null || --this._missing > 0) return;
    const reached = this._seeking;
    this._seeking = null;
    this.paint();
    if (reached !== this.frame) return this._depart();
    this._resolve?.();
    this._done = this._resolve = null;
  }

  // Keep the second video at the first one's moment.
  _follow() {
    const [first, second] = this.videos;
    const drift = (second.currentTime - first.currentTime) * this.fps;
    if (Math.abs(drift) > LOST) second.currentTime = first.currentTime;
    second.playbackRate = Math.abs(drift) < DRIFT ? 1 : drift > 0 ? 1 - HASTE : 1 + HASTE;
    if (second.paused && !second.ended && !first.ended) second.play().catch(() => {});
  }

  async _ended() {
    if (!this.playing) return;
    if (!this.loop) return this.pause();
    this.playing = false;
    cancelAnimationFrame(this._tick);
    for (const video of this.videos) video.pause();
    await this.seek(0);
    await this.start();
  }

  // Hand -----------------------------------------------------------------------------------------------------------

  _key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 10 : 1;
    const action = {
      " ": () => this.toggle(),
      ArrowLeft: () => this.step(-far),
      ArrowRight: () => this.step(far),
      Home: () => this.seek(0),
      End: () => this.seek((this.data?.count ?? 1) - 1),
      w: () => this.setMode("wipe"),
      s: () => this.setMode("side"),
      f: () => this.setMode("flicker"),
      x: () => this.flip(),
      o: () => this.switchOf("overlay"),
      z: () => this.switchOf("face"),
      l: () => this.switchOf("loop"),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation(); // or ComfyUI would take them for its own
    action();
  }

  // Before instead of after, and back.
  flip() {
    this.mode = "flicker";
    this.after = !this.after;
    this._show();
    this.paint();
  }

  _grab(event) {
    this.root.focus({ preventScroll: true });
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    this.canvas.setPointerCapture(event.pointerId);
    if (this.mode === "flicker" && !event.shiftKey) this.flip();
    let last = event;
    const move = (now) => {
      if (now.shiftKey || this.mode !== "wipe") this._drag(now.clientX - last.clientX, now.clientY - last.clientY);
      else this.setWipe(this._part(now));
      last = now;
    };
    if (!event.shiftKey && this.mode === "wipe") move(event);
    const end = () => this.canvas.removeEventListener("pointermove", move);
    this.canvas.addEventListener("pointermove", move);
    for (const kind of ["pointerup", "pointercancel"]) this.canvas.addEventListener(kind, end, { once: true });
  }

  // Where the pointer is, as a part of the pane's width.
  _part(event) {
    const box = this.canvas.getBoundingClientRect();
    const pane = this._panes()[0];
    return ((event.clientX - box.left) * (this.canvas.width / box.width) - pane.x) / pane.width;
  }

  _drag(dx, dy) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this._scale(this._panes()[0]) * (box.width / this.canvas.width);
    const [width, height] = this._size();
    this.setView({ ...this.view, x: this.view.x - dx / (scale * width), y: this.view.y - dy / (scale * height) });
  }

  _wheel(event) {
    if (!this.root.contains(document.activeElement)) return; // the canvas of the graph is zoomed instead
    event.preventDefault();
    event.stopPropagation();
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.view.zoom * Math.exp(-event.deltaY / 400)));
    this.setView(zoom === 1 ? { zoom, x: 0.5, y: 0.5 } : { ...this.view, zoom });
  }

  // Picture --------------------------------------------------------------------------------------------------------

  // Width and height of what is shown: of the clip after.
  _size() {
    return this.data?.sizes[1] ?? [16, 9];
  }

  // Where clips are drawn on the canvas: x, y, width, height, and which of them.
  _panes() {
    const { width, height } = this.canvas;
    if (this.mode !== "side") return [{ x: 0, y: 0, width, height, which: 1 }];
    const half = Math.floor(width / 2) - 1;
    return [0, 1].map((which) => ({ x: which * (half + 2), y: 0, width: half, height, which }));
  }

  // What is in the middle of the view, and how much it is enlarged: the face, or what the hand has chosen.
  _look(pane) {
    const corners = this.face ? this._track()?.crop : null;
    if (!corners) return this.view;
    const [width, height] = this.marks.size;
    const xs = corners.filter((_, index) => index % 2 === 0);
    const ys = corners.filter((_, index) => index % 2 === 1);
    const [wide, high] = [Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys)];
    const fit = Math.min(pane.width / width, pane.height / height);
    const zoom = Math.min(pane.width / wide, pane.height / high) / fit / FACE_ROOM;
    const middle = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    return { zoom: Math.max(1, zoom), x: middle(xs) / width, y: middle(ys) / height };
  }

  _scale(pane) {
    const [width, height] = this._size();
    return Math.min(pane.width / width, pane.height / height) * this._look(pane).zoom;
  }

  // The first track that is in this frame, with its box and crop there.
  _track() {
    return this._tracks()[0];
  }

  _tracks() {
    const there = (this.marks?.tracks ?? []).filter(
      (track) => this.frame >= track.start && this.frame < track.start + track.boxes.length
    );
    return there.map((track) => {
      const entry = this.frame - track.start;
      return { ...track, box: track.boxes[entry], crop: track.crops[entry] };
    });
  }

  paint() {
    const pixels = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight].map((side) =>
      Math.max(2, Math.round(side * pixels))
    );
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const pen = this.canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, width, height);
    if (!this.data) return this._say(pen, "Run the workflow to compare");
    if (this.videos.some((video) => video.error)) return this._say(pen, "This browser cannot play the videos");
    for (const pane of this._panes()) this._paintPane(pen, pane);
  }

  _say(pen, words) {
    pen.fillStyle = "#888";
    pen.font = `${13 * (window.devicePixelRatio || 1)}px sans-serif`;
    pen.textAlign = "center";
    pen.fillText(words, this.canvas.width / 2, this.canvas.height / 2);
  }

  _paintPane(pen, pane) {
    const [width, height] = this._size();
    const look = this._look(pane);
    const scale = this._scale(pane);
    const place = {
      x: pane.x + pane.width / 2 - look.x * width * scale,
      y: pane.y + pane.height / 2 - look.y * height * scale,
      width: width * scale,
      height: height * scale,
    };
    pen.save();
    clip(pen, pane.x, pane.y, pane.width, pane.height);
    pen.imageSmoothingEnabled = scale < 4 * (window.devicePixelRatio || 1); // from there on pixels are what is looked at
    const line = pane.x + this.wipe * pane.width;
    if (this.mode === "wipe") {
      this._draw(pen, 1, place);
      pen.save();
      clip(pen, pane.x, pane.y, line - pane.x, pane.height);
      this._draw(pen, 0, place);
      pen.restore();
    } else {
      this._draw(pen, this.mode === "side" ? pane.which : Number(this.after), place);
    }
    if (this.overlay && this.marks) this._mark(pen, place);
    if (this.mode === "wipe") this._line(pen, pane, line);
    this._names(pen, pane);
    pen.restore();
  }

  _draw(pen, which, place) {
    const video = this.videos[which];
    if (video.readyState < 2) return;
    const [width, height] = this.data.sizes[which];
    pen.drawImage(video, 0, 0, width, height, place.x, place.y, place.width, place.height);
  }

  _line(pen, pane, line) {
    pen.fillStyle = "#fff";
    pen.fillRect(Math.round(line) - 1, pane.y, 2, pane.height);
    pen.beginPath();
    pen.arc(line, pane.y + pane.height / 2, 7 * (window.devicePixelRatio || 1), 0, 2 * Math.PI);
    pen.fill();
  }

  _names(pen, pane) {
    const large = 12 * (window.devicePixelRatio || 1);
    pen.font = `${large}px sans-serif`;
    pen.textBaseline = "top";
    const name = (which, x, align) => {
      pen.textAlign = align;
      pen.lineWidth = large / 4;
      pen.strokeStyle = "#000";
      pen.fillStyle = "#fff";
      pen.strokeText(this.data.labels[which], x, pane.y + large / 2);
      pen.fillText(this.data.labels[which], x, pane.y + large / 2);
    };
    const [left, right] = [pane.x + large / 2, pane.x + pane.width - large / 2];
    if (this.mode === "wipe") {
      name(0, left, "left");
      name(1, right, "right");
    } else name(this.mode === "side" ? pane.which : Number(this.after), left, "left");
  }

  // Boxes in the person's colour, crops in white, what was missing in red.
  _mark(pen, place) {
    const [sx, sy] = [place.width / this.marks.size[0], place.height / this.marks.size[1]];
    const path = (points) => {
      pen.beginPath();
      for (let i = 0; i < points.length; i += 2) pen.lineTo(place.x + points[i] * sx, place.y + points[i + 1] * sy);
      pen.closePath();
    };
    pen.lineWidth = 1.5 * (window.devicePixelRatio || 1);
    const shapes = this.marks.shapes[this.marks.masks[this.frame]] ?? [];
    for (const shape of shapes) {
      path(shape);
      pen.fillStyle = "rgba(255, 60, 60, 0.25)";
      pen.fill();
      pen.strokeStyle = "#ff3c3c";
      pen.stroke();
    }
    for (const track of this._tracks()) {
      const [x1, y1, x2, y2] = track.box;
      path(track.crop);
      pen.strokeStyle = "#fff";
      pen.stroke();
      path([x1, y1, x2, y1, x2, y2, x1, y2]);
      pen.strokeStyle = pen.fillStyle = COLORS[track.person % COLORS.length];
      pen.stroke();
      pen.font = `${11 * (window.devicePixelRatio || 1)}px sans-serif`;
      pen.textAlign = "left";
      pen.textBaseline = "bottom";
      pen.fillText(`#${track.id}`, place.x + x1 * sx, place.y + y1 * sy - 2);
    }
  }
}

function rowOf() {
  const row = document.createElement("div");
  row.className = "row";
  return row;
}

function button(label, title, action) {
  const element = document.createElement("button");
  Object.assign(element, { type: "button", textContent: label, title, ariaLabel: title });
  element.addEventListener("click", action);
  element.addEventListener("pointerdown", (event) => event.stopPropagation());
  return element;
}

function clip(pen, x, y, width, height) {
  pen.beginPath();
  pen.rect(x, y, width, height);
  pen.clip();
}

function ready(video) {
  if (video.readyState >= 2 || video.error) return Promise.resolve();
  return new Promise((resolve) => {
    for (const kind of ["loadeddata", "error"]) video.addEventListener(kind, resolve, { once: true });
  });
}
