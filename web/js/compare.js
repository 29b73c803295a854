// The page's part of SVFR Compare: a player in the node, in both renderers.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { ComparePlayer } from "./compare_player.js";
import { words } from "./words.js";

const SIZE = [520, 470];
const LEAST = 300; // height of the player in pixels

function address(filename) {
  return filename && api.apiURL(`/view?${new URLSearchParams({ filename, type: "temp", subfolder: "" })}`);
}

function show(node, output) {
  const told = output?.svfr_compare?.[0];
  const player = node?.svfrCompare;
  if (!told || !player || player.told === told.before) return;
  player.told = told.before; // the same run is told again when its workflow comes back to the front
  const [before, after, overlay] = [told.before, told.after, told.overlay].map(address);
  player.load({ ...told, before, after, overlay });
}

app.registerExtension({
  name: "SVFR.Compare",

  nodeCreated(node) {
    if (node.comfyClass !== "SVFRCompare") return;
    const player = new ComparePlayer();
    words().then((say) => player.speak(say));
    node.svfrCompare = player;
    const widget = node.addDOMWidget("compare", "svfr_compare", player.root, {
      serialize: false,
      hideOnZoom: false,
      getMinHeight: () => LEAST,
    });
    widget.serialize = false; // what is shown belongs to a run, not to the workflow
    node.setSize([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])]);
    const [executed, removed] = [node.onExecuted, node.onRemoved];
    node.onExecuted = function (output) {
      executed?.call(this, output);
      show(this, output);
    };
    node.onRemoved = function () {
      removed?.call(this);
      player.dispose();
    };
  },

  // Told when a workflow whose results are still known is opened again.
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs)) show(app.graph?.getNodeById(id), output);
  },
});
