// Words in the language that ComfyUI is set to, from locales/<language>/main.json: those of our own widgets and dialogs
// by their keys (svfr), and what the server tells, by its English text (svfr_told).
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

let told = null;

async function spoken() {
  told ??= api.fetchApi("/i18n").then((answer) => answer.json());
  const all = await told;
  const language = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
  return { english: all.en ?? {}, own: all[language] ?? {} };
}

const filled = (text, values) => text.replace(/\{(\d)\}/g, (_, number) => values[number]);

// A function from a key, and what stands for {0}, {1}..., to words; English where a language lacks some.
export async function words() {
  const { english, own } = await spoken();
  const known = { ...english.svfr, ...own.svfr };
  return (key, ...values) => filled(known[key] ?? key, values);
}

// A function from a text of the server to the same in the user's language. A text that is known with {0}, {1}... fits
// whatever stands there, which is translated too, also part by part. What is not known stays as it is.
export async function translator() {
  const known = (await spoken()).own.svfr_told ?? {};
  const forms = Object.keys(known).filter((english) => english.includes("{0}"));
  forms.sort((one, other) => other.replace(/\{\d\}/g, "").length - one.replace(/\{\d\}/g, "").length);
  const patterns = forms.map((english) => [patternOf(english), known[english]]);
  const whole = (text) => {
    if (typeof text !== "string") return null;
    if (Object.hasOwn(known, text)) return known[text];
    for (const [{ pattern, order }, own] of patterns) {
      const found = pattern.exec(text);
      if (!found) continue;
      const values = [];
      order.forEach((number, place) => (values[number] = translate(found[place + 1])));
      return filled(own, values);
    }
    return null;
  };
  const translate = (text) =>
    whole(text) ?? (text?.includes?.(", ") ? text.split(", ").map((part) => whole(part) ?? part).join(", ") : text);
  return translate;
}

// What matches a text with {0}, {1}..., and in which order they stand.
function patternOf(english) {
  const order = [...english.matchAll(/\{(\d)\}/g)].map(([, number]) => Number(number));
  const literal = english.split(/\{\d\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return { pattern: new RegExp(`^${literal.join("(.+?)")}$`, "s"), order };
}
