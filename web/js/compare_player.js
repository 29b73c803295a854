// The player in SVFR Compare: two videos on one canvas, what works them by hand and by keys. Knows nothing of ComfyUI.
import { VideoPair } from "./compare_pair.js";
import { ComparePicture } from "./compare_picture.js";

const MODES = ["wipe", "side", "flicker"];
const SWITCHES = ["overlay", "face", "loop"];
const SIGNS = { play: "▶", pause: "❚❚", back: "◀|", next: "|▶" };
const MOST_ZOOM = 16;

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
    this.pair = new VideoPair(
      () => this._show(),
      () => this.picture.paint()
    );
    this.picture = new ComparePicture(this.pair);
    this.data = null;
    this.root = document.createElement("div");
    this.root.className = "svfr-compare";
    this.root.tabIndex = 0;
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.root.append(style, ...this.pair.videos, this.picture.canvas, this._transport(), this._modes());
    this._listen();
    this._show();
  }

  _transport() {
    this.play = button(() => this.pair.toggle());
    this.back = button(() => this.pair.step(-1));
    this.next = button(() => this.pair.step(1));
    this.bar = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 0, step: 1, value: 0 });
    this.bar.addEventListener("input", () => this.pair.seek(Number(this.bar.value)));
    this.count = document.createElement("output");
    this.back.textContent = SIGNS.back;
    this.next.textContent = SIGNS.next;
    return rowOf(this.play, this.back, this.next, this.bar, this.count);
  }

  _modes() {
    const made = (names, action) => Object.fromEntries(names.map((name) => [name, button(() => action(name))]));
    this.modes = made(MODES, (mode) => this.setMode(mode));
    this.switches = made(SWITCHES, (name) => this.switchOf(name));
    return rowOf(...Object.values(this.modes), ...Object.values(this.switches));
  }

  // Put texts on it. say: from words.js
  speak(say) {
    this.root.title = say("compare_keys");
    for (const name of ["play", "back", "next"]) entitle(this[name], say(`compare_${name}`));
    this.bar.ariaLabel = say("compare_frame");
    for (const [name, element] of Object.entries({ ...this.modes, ...this.switches })) {
      element.textContent = say(`compare_${name}`);
      entitle(element, say(`compare_${name}_tip`));
    }
    this.picture.set({ words: { empty: say("compare_empty"), failed: say("compare_failed") } });
  }

  _listen() {
    const { canvas } = this.picture;
    this.root.addEventListener("keydown", (event) => this._key(event));
    this.root.addEventListener("wheel", (event) => this._wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this._grab(event));
    canvas.addEventListener("dblclick", () => this.picture.zoomTo(1));
  }

  _show() {
    const { pair, picture } = this;
    this.play.textContent = pair.playing ? SIGNS.pause : SIGNS.play;
    for (const [mode, element] of Object.entries(this.modes)) element.ariaPressed = String(picture.mode === mode);
    for (const [name, element] of Object.entries(this.switches)) element.ariaPressed = String(this._holder(name)[name]);
    this.switches.face.disabled = !picture.marks?.tracks.length;
    this.switches.overlay.disabled = !(picture.marks?.tracks.length || picture.marks?.shapes.length);
    this.bar.max = Math.max(0, pair.count - 1);
    this.bar.value = pair.frame;
    this.count.textContent = pair.count ? `${pair.frame + 1} / ${pair.count}` : "";
  }

  // data: before, after (addresses), sizes, count, fps, labels, and overlay, an address or null
  async load(data) {
    this.data = data;
    this.picture.set({ sizes: data.sizes, labels: data.labels, marks: null });
    const loaded = this.pair.load([data.before, data.after], data.count, data.fps);
    if (data.overlay) {
      const answer = await fetch(data.overlay);
      const marks = answer.ok ? await answer.json() : null;
      if (this.data === data) this.picture.marks = marks;
    }
    await loaded;
    if (this.data === data) await this.pair.seek(0);
    this._show();
    this.picture.paint();
  }

  dispose() {
    this.pair.dispose();
    this.picture.dispose();
  }

  setMode(mode) {
    this.picture.set({ mode });
    this._show();
  }

  // Whose property a switch is.
  _holder(name) {
    return name === "loop" ? this.pair : this.picture;
  }

  switchOf(name) {
    if (this.switches[name].disabled) return;
    const holder = this._holder(name);
    holder[name] = !holder[name];
    this._show();
    this.picture.paint();
  }

  // Before instead of after, and back.
  flip() {
    this.picture.set({ mode: "flicker", after: !this.picture.after });
    this._show();
  }

  _key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 10 : 1;
    const action = {
      " ": () => this.pair.toggle(),
      ArrowLeft: () => this.pair.step(-far),
      ArrowRight: () => this.pair.step(far),
      Home: () => this.pair.seek(0),
      End: () => this.pair.seek(this.pair.count - 1),
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

  _grab(event) {
    this.root.focus({ preventScroll: true });
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    const { picture } = this;
    const { canvas } = picture;
    canvas.setPointerCapture(event.pointerId);
    if (picture.mode === "flicker" && !event.shiftKey) this.flip();
    let last = event;
    const move = (now) => {
      if (now.shiftKey || picture.mode !== "wipe") picture.move(now.clientX - last.clientX, now.clientY - last.clientY);
      else picture.setWipe(picture.partAt(now.clientX));
      last = now;
    };
    if (!event.shiftKey && picture.mode === "wipe") move(event);
    const end = () => canvas.removeEventListener("pointermove", move);
    canvas.addEventListener("pointermove", move);
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, end, { once: true });
  }

  _wheel(event) {
    if (!this.root.contains(document.activeElement)) return; // the canvas of the graph is zoomed instead
    event.preventDefault();
    event.stopPropagation();
    const zoom = this.picture.view.zoom * Math.exp(-event.deltaY / 400);
    this.picture.zoomTo(Math.min(MOST_ZOOM, Math.max(1, zoom)));
  }
}

function rowOf(...children) {
  const row = document.createElement("div");
  row.className = "row";
  row.append(...children);
  return row;
}

function button(action) {
  const element = document.createElement("button");
  element.type = "button";
  element.addEventListener("click", action);
  element.addEventListener("pointerdown", (event) => event.stopPropagation());
  return element;
}

function entitle(element, title) {
  Object.assign(element, { title, ariaLabel: title });
}
