// "Choose faces": a dialog on SVFR Face Crop and SVFR Restore Video. It shows a frame of each shot with the faces found in
// it, and writes those that are clicked into the node's widget `faces`, which is saved with the workflow.
// The faces come from the route in nodes/face_route.py; how the choice is read is in nodes/by_eye.py.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { words } from "./words.js";

const KINDS = ["SVFRFaceCrop", "SVFRRestoreVideo"];
const SAME_PLACE = 0.5; // overlap, common area over joint area, by which a saved mark is shown as a face of the scan
const STYLE = `
  .svfr-faces { width: min(1100px, 92vw); max-height: 90vh; padding: 16px; border: 1px solid #555; border-radius: 8px;
    background: var(--comfy-menu-bg, #222); color: var(--input-text, #ddd); font: 14px sans-serif; overflow: auto; }
  .svfr-faces::backdrop { background: #000a; }
  .svfr-faces h2 { margin: 0 0 4px; font-size: 17px; }
  .svfr-faces .shots { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 12px; margin: 12px 0; }
  .svfr-faces figure { margin: 0; }
  .svfr-faces .view { position: relative; margin-bottom: 4px; }
  .svfr-faces img { display: block; width: 100%; }
  .svfr-faces .face { position: absolute; padding: 0; border: 3px solid #fffc; border-radius: 4px; background: none;
    color: #fff; font: bold 13px sans-serif; text-align: left; cursor: pointer; }
  .svfr-faces .face span { position: absolute; top: -3px; left: -3px; padding: 1px 5px; background: #000b; border-radius: 4px; white-space: nowrap; }
  .svfr-faces .face[aria-pressed=true] { border-color: #3ecf5e; background: #3ecf5e33; }
  .svfr-faces .face[aria-pressed=true] span { background: #1d8a38; }
  .svfr-faces .face:focus-visible { outline: 2px solid #6db3ff; }
  .svfr-faces .row { display: flex; gap: 8px; align-items: center; flex-wrap: wrap; }
  .svfr-faces .row button { padding: 6px 12px; border: 1px solid #666; border-radius: 6px; background: #333; color: #eee; cursor: pointer; }
  .svfr-faces .row .save { background: #2a6fb0; }
  .svfr-faces .space { flex: 1; }
  .svfr-faces progress { width: 100%; }
`;

function made(kind, className = "", text = "", ...children) {
  const element = document.createElement(kind);
  element.className = className;
  element.textContent = text;
  element.append(...children);
  return element;
}

function button(className, text, action) {
  const element = made("button", className, text);
  element.type = "button";
  element.onclick = action;
  return element;
}

const widgetOf = (node) => node.widgets?.find((widget) => widget.name === "faces");

function stored(node) {
  try {
    return JSON.parse(widgetOf(node)?.value || "null");
  } catch {
    return null; // the server says so when the node runs
  }
}

function overlap(a, b) {
  const shared =
    Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return shared / (area(a) + area(b) - shared || 1);
}

// All faces of a scan with the frame that shows each.
const facesOf = (scan) =>
  scan.shots.flatMap((shot) => shot.views.flatMap((view) => view.faces.map((face) => ({ ...face, frame: view.frame }))));

// The tracks of a scan that a saved choice means.
function chosenIn(scan, choice) {
  if (!choice || String(choice.size) !== String(scan.size)) return new Set();
  const meant = (face) =>
    choice.marks.some(([frame, ...box]) => frame === face.frame && overlap(box, face.box) > SAME_PLACE);
  return new Set(facesOf(scan).filter(meant).map((face) => face.track));
}

function write(node, scan, chosen) {
  const faces = facesOf(scan).filter((face) => chosen.has(face.track));
  const marks = faces.map((face) => [face.frame, ...face.box]);
  const widget = widgetOf(node);
  widget.value = marks.length
    ? JSON.stringify({ size: scan.size, frames: scan.frames, of: facesOf(scan).length, marks })
    : "";
  widget.callback?.(widget.value);
  node.graph?.setDirtyCanvas(true, true);
  app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState?.();
}

async function ask(node, signal) {
  const { output: graph } = await app.graphToPrompt();
  const id = graph[node.id] ? String(node.id) : Object.keys(graph).find((key) => key.endsWith(`:${node.id}`));
  const body = JSON.stringify({ graph, node: id ?? String(node.id) });
  const headers = { "Content-Type": "application/json" };
  const answer = await api.fetchApi("/svfr/faces", { method: "POST", body, headers, signal });
  const found = await answer.json().catch(() => ({ error: answer.statusText }));
  if (found.error || !answer.ok) throw new Error(found.error ?? answer.statusText);
  return found;
}

// The pictures with a button on each face. draw() shows what is chosen.
function gallery(scan, chosen, throughout, say, changed) {
  const buttons = [];
  const draw = () => {
    for (const [element, face] of buttons) element.setAttribute("aria-pressed", String(chosen.has(face.track)));
    changed();
  };
  const toggle = (face) => {
    const take = !chosen.has(face.track);
    const meant = facesOf(scan).filter((other) =>
      throughout.checked ? other.person === face.person : other.track === face.track,
    );
    for (const { track } of meant) take ? chosen.add(track) : chosen.delete(track);
    draw();
  };
  const [width, height] = scan.size;
  const shown = (view) => {
    const picture = made("img");
    picture.src = view.picture;
    const box = made("div", "view", "", picture);
    for (const face of view.faces) {
      const element = button("face", "", () => toggle(face));
      element.append(made("span", "", String(face.track)));
      element.title = say("person", face.person);
      const [x1, y1, x2, y2] = face.box;
      element.style.left = `${(100 * x1) / width}%`;
      element.style.top = `${(100 * y1) / height}%`;
      element.style.width = `${(100 * (x2 - x1)) / width}%`;
      element.style.height = `${(100 * (y2 - y1)) / height}%`;
      buttons.push([element, face]);
      box.append(element);
    }
    return box;
  };
  const shots = scan.shots.map((shot, number) => {
    const nobody = shot.views.every((view) => !view.faces.length);
    const line = say("shot", number + 1, shot.first, shot.stop - 1);
    const caption = made("figcaption", "", nobody ? `${line}: ${say("nobody")}` : line);
    return made("figure", "", "", ...shot.views.map(shown), caption);
  });
  return { element: made("div", "shots", "", ...shots), draw };
}

function fill(dialog, node, scan, say) {
  const chosen = chosenIn(scan, stored(node));
  const throughout = made("input");
  throughout.type = "checkbox";
  const total = facesOf(scan).length;
  const count = made("span");
  const changed = () => {
    count.textContent = chosen.size ? say("chosen", chosen.size, total) : say("by_widget");
  };
  const { element, draw } = gallery(scan, chosen, throughout, say, changed);
  const all = button("", say("all"), () => {
    for (const face of facesOf(scan)) chosen.add(face.track);
    draw();
  });
  const none = button("", say("none"), () => {
    chosen.clear();
    draw();
  });
  const save = button("save", say("save"), () => {
    write(node, scan, chosen);
    dialog.close();
  });
  const cancel = button("", say("cancel"), () => dialog.close());
  const tools = made("div", "row", "", all, none, made("label", "", "", throughout, ` ${say("throughout")}`));
  const end = made("div", "row", "", count, made("span", "space"), cancel, save);
  dialog.replaceChildren(made("h2", "", say("title")), made("div", "", say("how")), element, tools, end);
  draw();
}

async function open(node) {
  const say = await words();
  const stop = new AbortController();
  const bar = made("progress");
  bar.max = 1;
  const dialog = made("dialog", "svfr-faces", "", made("style", "", STYLE), made("h2", "", say("title")));
  const style = dialog.firstChild;
  const told = ({ detail }) => {
    if (detail.node.split(":").pop() === String(node.id)) bar.value = detail.share;
  };
  const close = button("", say("cancel"), () => dialog.close());
  dialog.append(made("div", "", say("searching")), bar, made("div", "row", "", close));
  dialog.onkeydown = (event) => event.stopPropagation(); // ComfyUI has keys of its own
  dialog.onclose = () => {
    stop.abort();
    api.removeEventListener("svfr.faces", told);
    dialog.remove();
  };
  api.addEventListener("svfr.faces", told);
  document.body.append(dialog);
  dialog.showModal();
  try {
    fill(dialog, node, await ask(node, stop.signal), say);
  } catch (error) {
    if (stop.signal.aborted) return;
    dialog.replaceChildren(made("h2", "", say("title")), made("p", "error", say("failed", error.message)));
    dialog.append(made("div", "row", "", close));
  }
  dialog.prepend(style);
}

app.registerExtension({
  name: "SVFR.Faces",

  async nodeCreated(node) {
    if (!KINDS.includes(node.comfyClass)) return;
    const kept = widgetOf(node);
    if (!kept) return;
    kept.hidden = true; // of the canvas
    kept.options.hidden = true; // of Nodes 2.0
    kept.computeSize = () => [0, -4];
    const press = node.addWidget("button", "choose_faces", null, () => open(node), { serialize: false });
    press.serialize = false;
    const say = await words();
    press.label = say("choose");
    const label = () => {
      const choice = stored(node);
      press.label = choice ? `${say("choose")} (${choice.marks.length}/${choice.of})` : say("choose");
    };
    const before = kept.callback;
    kept.callback = function (...given) {
      const answer = before?.apply(this, given);
      label();
      return answer;
    };
    const configure = node.onConfigure;
    node.onConfigure = function (...given) {
      const answer = configure?.apply(this, given);
      label();
      return answer;
    };
    label();
  },
});
