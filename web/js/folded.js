// Folds a node's advanced inputs away where nodes are drawn on the canvas. Nodes 2.0 does so by itself; the canvas knows
// the flag, but shows such widgets all the same.
import { app } from "../../../scripts/app.js";
import { words } from "./words.js";

function isWired(node, widget) {
  return node.inputs?.some((input) => input.widget?.name === widget.name && input.link != null);
}

function fold(node, advanced, button, say) {
  for (const widget of advanced) widget.hidden = !node.showAdvanced && !isWired(node, widget);
  if (say) button.label = node.showAdvanced ? say("fewer") : say("more", advanced.length);
  node.setDirtyCanvas(true, true);
}

app.registerExtension({
  name: "SVFR.Folded",

  nodeCreated(node) {
    if (!/^(SVFR|STC)[A-Z]/.test(node.comfyClass ?? "")) return;
    const advanced = node.widgets?.filter(({ options }) => options?.advanced && !options.hidden) ?? [];
    if (!advanced.length) return;
    const options = { serialize: false, canvasOnly: true };
    let say = null; // until the words have come, a moment after the page
    const toggle = () => {
      node.showAdvanced = !node.showAdvanced;
      fold(node, advanced, button, say);
      node.setSize([node.size[0], node.computeSize()[1]]);
    };
    const button = node.addWidget("button", "advanced", null, toggle, options);
    button.serialize = false; // last of all, so that saved values keep their places
    const configured = node.onConfigure;
    node.onConfigure = function (...given) {
      configured?.apply(this, given);
      fold(this, advanced, button, say);
    };
    fold(node, advanced, button, say);
    node.setSize([node.size[0], node.computeSize()[1]]);
    words().then((come) => {
      say = come;
      fold(node, advanced, button, say);
    });
  },
});
