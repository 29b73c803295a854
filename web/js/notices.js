// Shows a node's text in the node itself, such as a warning. By default the frontend shows text only for its own nodes.
import { app } from "../../../scripts/app.js";
import { translator } from "./words.js";

const STYLE =
  "margin: 0; overflow: auto; font: 10px sans-serif; user-select: text; white-space: pre-wrap; color: #ffb347";

function textWidget(node) {
  const element = document.createElement("pre");
  element.style.cssText = STYLE;
  const getMinHeight = () => 30 + 14 * Math.ceil(element.textContent.length / 50);
  const widget = node.addDOMWidget("report", "svfr_report", element, { serialize: false, getMinHeight });
  widget.serialize = false; // the text belongs to a run, not to the workflow
  return widget;
}

// With a preset, SVFR Task Vector ignores its switches, so they are greyed out.
function greySwitches(node) {
  const preset = node.widgets?.find((widget) => widget.name === "preset");
  if (!preset) return;
  for (const widget of node.widgets) {
    if (["restore", "colorize", "inpaint"].includes(widget.name)) widget.disabled = preset.value !== "switches below";
  }
}

function follow(node, method, action) {
  const before = node[method];
  node[method] = function (...given) {
    const answer = before?.apply(this, given);
    action(...given);
    return answer;
  };
}

app.registerExtension({
  name: "SVFR.Notices",

  nodeCreated(node) {
    if (!/^(SVFR|STC)[A-Z]/.test(node.comfyClass ?? "")) return;
    let widget = null; // a warning takes no room before there is one
    let height = null; // of the node before it grew
    follow(node, "onExecuted", async (output) => {
      const translate = await translator();
      const text = output?.svfr_table ? "" : (output?.text?.map(translate).join("\n\n") ?? ""); // see tables.js
      if (!text && !widget) return;
      widget ??= textWidget(node);
      widget.element.textContent = text;
      widget.hidden = !text;
      if (text) {
        height ??= node.size[1];
        node.setSize([node.size[0], Math.max(height, node.computeSize()[1])]);
      } else if (height !== null) {
        node.setSize([node.size[0], height]);
        height = null;
      }
    });
    if (node.comfyClass !== "SVFRTaskVector") return;
    for (const method of ["onConfigure", "onWidgetChanged"]) follow(node, method, () => greySwitches(node));
    greySwitches(node);
  },
});
