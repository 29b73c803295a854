// Two videos at the same moment. They have one frame for each frame of the clips and one rate. While they play, the second
// follows the first by small changes of its speed; while they stand, both are on the middle of the same frame.

const DRIFT = 0.25; // of a frame, from which the second video changes its speed
const LOST = 3; // frames, from which it jumps
const HASTE = 0.08; // how much faster or slower it then plays

export class VideoPair {
  // changed: called when the frame that is meant, or whether they play, has changed; seen: when there is another picture
  constructor(changed, seen) {
    this.frame = 0;
    this.count = 0; // of frames; 0 before there are any
    this.fps = 25;
    this.loop = true;
    this.playing = false;
    this._changed = changed;
    this._seen = seen;
    this._seeking = null; // the frame that both videos are on their way to
    this.videos = [0, 1].map(() => {
      const video = document.createElement("video");
      Object.assign(video, { muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
      return video;
    });
    for (const video of this.videos) {
      video.addEventListener("seeked", () => this._arrived());
      video.addEventListener("loadeddata", seen);
      video.addEventListener("error", seen);
    }
    this.videos[0].addEventListener("ended", () => this._ended());
  }

  // addresses: of both videos. Resolves once both have a frame to show, or have failed.
  async load(addresses, count, fps) {
    this.pause();
    Object.assign(this, { count, fps, frame: 0, _seeking: null });
    this.videos.forEach((video, which) => (video.src = addresses[which]));
    await Promise.all(this.videos.map((video) => ready(video)));
  }

  dispose() {
    this.pause();
    for (const video of this.videos) {
      video.removeAttribute("src");
      video.load();
    }
  }

  get failed() {
    return this.videos.some((video) => video.error);
  }

  // Whether they are on their way to a frame.
  get moving() {
    return this._seeking !== null;
  }

  // The frame that each video shows.
  get frames() {
    const last = Math.max(0, this.count - 1);
    return this.videos.map((video) => Math.min(last, Math.max(0, Math.floor(video.currentTime * this.fps + 1e-3))));
  }

  toggle() {
    return this.playing ? this.pause() : this.start();
  }

  async start() {
    if (!this.count || this.playing) return;
    if (this.frame >= this.count - 1) await this.seek(0);
    this.playing = true;
    this._changed();
    try {
      await Promise.all(this.videos.map((video) => video.play()));
    } catch {
      return this.pause(); // paused or loaded anew meanwhile
    }
    const tick = () => {
      if (!this.playing) return;
      this._follow();
      this.frame = this.frames[0];
      this._changed();
      this._seen();
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
    this._changed();
  }

  step(count) {
    return this.seek(this.frame + count);
  }

  // Both videos to a frame; resolves once both show it. While they are on their way, only the last wish counts.
  seek(frame) {
    if (!this.count) return Promise.resolve();
    if (this.playing) {
      this.playing = false;
      this.pause();
    }
    this.frame = Math.min(this.count - 1, Math.max(0, Math.round(frame)));
    this._changed();
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
    this._seen();
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
}

function ready(video) {
  if (video.readyState >= 2 || video.error) return Promise.resolve();
  return new Promise((resolve) => {
    for (const kind of ["loadeddata", "error"]) video.addEventListener(kind, resolve, { once: true });
  });
}
