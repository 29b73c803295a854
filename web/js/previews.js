// Plays the preview of a clip that is being restored. ComfyUI sends one picture of it; nodes/phases.py sends some frames
// more, which take its place in turn, in whichever way the page shows previews.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const SHOWN = "b_preview_with_metadata";
const PERIOD = 125; // milliseconds for a frame
const ENDS = ["executed", "execution_success", "execution_error", "execution_interrupted"];

const playing = new Map(); // by the node's id: its timer
const last = new Map(); // by the node's id: what ComfyUI's own preview said of it

function pictureOf(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/jpeg" });
}

function stop(node) {
  clearInterval(playing.get(node));
  playing.delete(node);
}

function play({ node, frames }) {
  stop(node);
  const pictures = frames.map(pictureOf);
  let number = 0;
  const next = () => {
    number = (number + 1) % pictures.length;
    const detail = { displayNodeId: node, nodeId: node, ...last.get(node), blob: pictures[number], svfr: true };
    api.dispatchCustomEvent(SHOWN, detail);
    app.canvas?.setDirty(true); // where nodes are drawn on the canvas
  };
  playing.set(node, setInterval(next, PERIOD));
}

app.registerExtension({
  name: "SVFR.Previews",

  setup() {
    if (typeof api.dispatchCustomEvent !== "function") return; // then the one picture stays
    api.addEventListener(SHOWN, ({ detail }) => {
      if (!detail.svfr) last.set(detail.nodeId, detail);
    });
    api.addEventListener("svfr.preview", ({ detail }) => play(detail));
    const end = () => [...playing.keys()].forEach(stop);
    for (const event of ENDS) api.addEventListener(event, end);
    api.addEventListener("executing", ({ detail }) => {
      for (const node of [...playing.keys()]) if (node !== String(detail?.node ?? detail)) stop(node);
    });
  },
});
