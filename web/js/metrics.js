// Shows the table of SVFR Metrics in its node. Without this the frontend shows the text of its own nodes only.
import { app } from "../../../scripts/app.js";

app.registerExtension({
  name: "SVFR.Metrics",

  nodeCreated(node) {
    if (node.comfyClass !== "SVFRMetrics") return;
    const table = document.createElement("pre");
    table.style.cssText = "margin: 0; overflow: auto; font-size: 10px; user-select: text";
    const widget = node.addDOMWidget("report", "svfr_report", table, { serialize: false, getMinHeight: () => 180 });
    widget.serialize = false; // a figure belongs to a run, not to the workflow
    const executed = node.onExecuted;
    node.onExecuted = function (output) {
      executed?.apply(this, arguments);
      table.textContent = output?.text?.join("") ?? "";
    };
  },
});
