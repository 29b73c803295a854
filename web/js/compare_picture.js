// What SVFR Compare draws of two videos: which of them where, from how near, and the marks over them.

const COLORS = ["#50dc50", "#ff8c28", "#5aa0ff", "#f05adc", "#fae646", "#46e6e6"]; // of people, as in the previews
const FACE_ROOM = 1.15; // how much wider than the crop the view of a face is
const WHOLE = { zoom: 1, x: 0.5, y: 0.5 }; // how much larger than fitting, and what is in the middle

export class ComparePicture {
  // pair: a VideoPair
  constructor(pair) {
    this.pair = pair;
    this.mode = "wipe"; // or "side", "flicker"
    this.wipe = 0.5; // where the line is, as a part of the picture's width
    this.after = true; // which one is seen when they flicker
    this.overlay = false;
    this.face = false; // whether the view follows the face
    this.view = WHOLE;
    this.sizes = null; // of both clips, and null before there are any
    this.labels = ["", ""];
    this.marks = null; // boxes, crops and masks
    this.words = { empty: "", failed: "" }; // what stands there instead of a picture
    this.canvas = document.createElement("canvas");
    this._observer = new ResizeObserver(() => this.paint());
    this._observer.observe(this.canvas);
  }

  dispose() {
    this._observer.disconnect();
  }

  set(values) {
    Object.assign(this, values);
    this.paint();
  }

  setWipe(part) {
    this.set({ wipe: Math.min(1, Math.max(0, part)) });
  }

  zoomTo(zoom) {
    this.set({ view: zoom === 1 ? WHOLE : { ...this.view, zoom } });
  }

  // Where a point of the page is, as a part of the pane's width.
  partAt(clientX) {
    const box = this.canvas.getBoundingClientRect();
    const pane = this.panes[0];
    return ((clientX - box.left) * (this.canvas.width / box.width) - pane.x) / pane.width;
  }

  // Move what is seen by so many pixels of the page.
  move(dx, dy) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.scaleOf(this.panes[0]) * (box.width / this.canvas.width);
    const [width, height] = this.size;
    this.set({ view: { ...this.view, x: this.view.x - dx / (scale * width), y: this.view.y - dy / (scale * height) } });
  }

  // Width and height of what is shown: of the clip after.
  get size() {
    return this.sizes?.[1] ?? [16, 9];
  }

  // Where clips are drawn on the canvas: x, y, width, height, and which of them.
  get panes() {
    const { width, height } = this.canvas;
    if (this.mode !== "side") return [{ x: 0, y: 0, width, height, which: 1 }];
    const half = Math.floor(width / 2) - 1;
    return [0, 1].map((which) => ({ x: which * (half + 2), y: 0, width: half, height, which }));
  }

  // The tracks that are in this frame, with their boxes and crops there.
  get tracks() {
    const { frame } = this.pair;
    const there = (this.marks?.tracks ?? []).filter(
      (track) => frame >= track.start && frame < track.start + track.boxes.length
    );
    return there.map((track) => ({
      ...track,
      box: track.boxes[frame - track.start],
      crop: track.crops[frame - track.start],
    }));
  }

  // What is in the middle of the view, and how much it is enlarged: the first face, or what the hand has chosen.
  lookOf(pane) {
    const corners = this.face ? this.tracks[0]?.crop : null;
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

  scaleOf(pane) {
    const [width, height] = this.size;
    return Math.min(pane.width / width, pane.height / height) * this.lookOf(pane).zoom;
  }

  // Where the whole clip would lie on the canvas.
  placeOf(pane) {
    const [width, height] = this.size;
    const look = this.lookOf(pane);
    const scale = this.scaleOf(pane);
    return {
      x: pane.x + pane.width / 2 - look.x * width * scale,
      y: pane.y + pane.height / 2 - look.y * height * scale,
      width: width * scale,
      height: height * scale,
    };
  }

  paint() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight].map((side) =>
      Math.max(2, Math.round(side * density()))
    );
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const pen = this.canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, width, height);
    if (!this.sizes) return this._say(pen, this.words.empty);
    if (this.pair.failed) return this._say(pen, this.words.failed);
    for (const pane of this.panes) this._paintPane(pen, pane);
  }

  _say(pen, words) {
    pen.fillStyle = "#888";
    pen.font = `${13 * density()}px sans-serif`;
    pen.textAlign = "center";
    pen.fillText(words, this.canvas.width / 2, this.canvas.height / 2);
  }

  _paintPane(pen, pane) {
    const place = this.placeOf(pane);
    pen.save();
    clip(pen, pane.x, pane.y, pane.width, pane.height);
    pen.imageSmoothingEnabled = this.scaleOf(pane) < 4 * density(); // from there on pixels are what is looked at
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
    const video = this.pair.videos[which];
    if (video.readyState < 2) return;
    const [width, height] = this.sizes[which];
    pen.drawImage(video, 0, 0, width, height, place.x, place.y, place.width, place.height);
  }

  _line(pen, pane, line) {
    pen.fillStyle = "#fff";
    pen.fillRect(Math.round(line) - 1, pane.y, 2, pane.height);
    pen.beginPath();
    pen.arc(line, pane.y + pane.height / 2, 7 * density(), 0, 2 * Math.PI);
    pen.fill();
  }

  _names(pen, pane) {
    const large = 12 * density();
    pen.font = `${large}px sans-serif`;
    pen.textBaseline = "top";
    const name = (which, x, align) => {
      pen.textAlign = align;
      pen.lineWidth = large / 4;
      pen.strokeStyle = "#000";
      pen.fillStyle = "#fff";
      pen.strokeText(this.labels[which], x, pane.y + large / 2);
      pen.fillText(this.labels[which], x, pane.y + large / 2);
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
    pen.lineWidth = 1.5 * density();
    for (const shape of this.marks.shapes[this.marks.masks[this.pair.frame]] ?? []) {
      path(shape);
      pen.fillStyle = "rgba(255, 60, 60, 0.25)";
      pen.fill();
      pen.strokeStyle = "#ff3c3c";
      pen.stroke();
    }
    for (const track of this.tracks) {
      const [x1, y1, x2, y2] = track.box;
      path(track.crop);
      pen.strokeStyle = "#fff";
      pen.stroke();
      path([x1, y1, x2, y1, x2, y2, x1, y2]);
      pen.strokeStyle = pen.fillStyle = COLORS[track.person % COLORS.length];
      pen.stroke();
      pen.font = `${11 * density()}px sans-serif`;
      pen.textAlign = "left";
      pen.textBaseline = "bottom";
      pen.fillText(`#${track.id}`, place.x + x1 * sx, place.y + y1 * sy - 2);
    }
  }
}

// Pixels of the canvas for one of the page.
const density = () => window.devicePixelRatio || 1;

function clip(pen, x, y, width, height) {
  pen.beginPath();
  pen.rect(x, y, width, height);
  pen.clip();
}
