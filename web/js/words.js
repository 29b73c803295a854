// Words of our own widgets and dialogs in the language that ComfyUI is set to, from locales/<language>/main.json.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

let told = null;

// A function from a key, and what stands for {0}, {1}..., to words; English where a language lacks some.
export async function words() {
  told ??= api.fetchApi("/i18n").then((answer) => answer.json());
  const all = await told;
  const language = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
  const own = { ...all.en?.svfr, ...all[language]?.svfr };
  return (key, ...values) => (own[key] ?? key).replace(/\{(\d)\}/g, (_, number) => values[number]);
}
