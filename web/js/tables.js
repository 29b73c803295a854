// Draws the table of a node: the figures of SVFR Metrics with a bar for each, the files of SVFR Get Weights.
// What the server sends is described in nodes/tables.py. All of it is set as text: nothing that it holds is run.
import { app } from "../../../scripts/app.js";
import { translator } from "./words.js";

const KINDS = ["SVFRMetrics", "SVFRGetWeights"];
const LEAST = 150; // pixels of height, before there is a table
const STYLE = "overflow: auto; font: 12px/1.35 sans-serif; color: var(--input-text, #ddd); user-select: text";
const CELL = "padding: 3px 8px 3px 0; text-align: left; vertical-align: top; border-bottom: 1px solid #8884";
const BAR = "position: relative; width: 90px; height: 9px; margin-top: 4px; border-radius: 2px; background: #8883";
const FILL = "height: 100%; border-radius: 2px; background: #4a9fd8";
const MARK = "position: absolute; top: -3px; width: 2px; height: 15px; background: #ffb347";

function made(kind, style, text = "", ...children) {
  const element = document.createElement(kind);
  element.style.cssText = style;
  element.textContent = text;
  element.append(...children);
  return element;
}

function bar(cell) {
  const track = made("div", BAR, "", made("div", `${FILL}; width: ${100 * cell.bar}%`));
  if (cell.mark != null) track.append(made("div", `${MARK}; left: calc(${100 * cell.mark}% - 1px)`));
  track.title = cell.text ?? "";
  return track;
}

function content(cell, translate) {
  if (typeof cell === "string") return translate(cell);
  if (cell.bar != null) return bar(cell);
  if (!cell.address?.startsWith("https://")) return cell.text;
  const link = made("a", "color: #6db3ff", cell.text);
  Object.assign(link, { href: cell.address, target: "_blank", rel: "noreferrer" });
  return link;
}

function row(kind, cells, translate) {
  const boxes = cells.map((cell) => {
    const box = made(kind, CELL);
    box.append(content(cell, translate));
    return box;
  });
  return made("tr", "", "", ...boxes);
}

function draw(element, { head, titles, rows, notes }, translate) {
  const body = made("table", "border-collapse: collapse; margin: 4px 0", "", row("th", titles, translate));
  body.append(...rows.map((cells) => row("td", cells, translate)));
  element.replaceChildren(made("div", "font-weight: bold", translate(head)), body);
  element.append(...notes.map((note) => made("div", "opacity: 0.75", translate(note))));
}

app.registerExtension({
  name: "SVFR.Tables",

  nodeCreated(node) {
    if (!KINDS.includes(node.comfyClass)) return;
    const element = made("div", STYLE);
    const getMinHeight = () => LEAST;
    const widget = node.addDOMWidget("table", "svfr_table", element, { serialize: false, getMinHeight });
    widget.serialize = false; // figures belong to a run, not to the workflow
    const before = node.onExecuted;
    node.onExecuted = function (output) {
      const answer = before?.apply(this, arguments);
      const [table] = output?.svfr_table ?? [];
      if (table) {
        translator().then((translate) => draw(element, table, translate));
        this.setSize([Math.max(this.size[0], 640), Math.max(this.size[1], 380)]);
      }
      return answer;
    };
  },
});
