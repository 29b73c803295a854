// Our templates in the order of their numbers. ComfyUI's server lists the files of a pack as the disk has them, and the
// page shows them so; of other packs nothing is changed.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const PACK = decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-3)); // /extensions/PACK/js/templates.js

app.registerExtension({
  name: "SVFR.Templates",

  init() {
    const listed = api.getWorkflowTemplates;
    if (typeof listed !== "function") return; // a frontend to come may have another way
    api.getWorkflowTemplates = async function (...given) {
      const all = await listed.apply(this, given);
      if (Array.isArray(all?.[PACK])) all[PACK].sort();
      return all;
    };
  },
});
