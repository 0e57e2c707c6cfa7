// A form for one operation of an OpenAPI document, which sends it to this service and shows the answer.

import { make } from "./make.js";

// As the page keeps it: in this tab's storage, which goes when the tab is closed.
const KEY = "kintsugi.api-key";
// What of an answer's headers says something of it.
const TELLING = ["content-type", "x-model-version", "x-image-notes", "x-request-id", "location", "retry-after"];
const LONGEST_SHOWN = 20000;

/** The part of a section that tries its operation. */
export function tryingOf({ path, method, operation }) {
  const form = make("form", {});
  const answer = make("div", { class: "answer", role: "status" });
  const fields = fieldsOf(path, operation);
  const send = make("button", { type: "submit", class: "primary" }, "Send");
  form.append(...fields.map((field) => field.row), send);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    answer.replaceChildren("Sending …");
    try {
      answer.replaceChildren(...await sent(path, method, fields));
    } catch (error) {
      answer.replaceChildren(make("p", { role: "alert" }, `No answer: ${error.message}`));
    }
    send.disabled = false;
  });
  return make("details", { class: "try" }, make("summary", {}, "Try it"), form, answer);
}

/** What is asked for: { in, name, row, values() }; values are what is sent, [] for nothing. */
function fieldsOf(path, operation) {
  const content = operation.requestBody?.content ?? {};
  const form = content["multipart/form-data"]?.schema;
  const [json] = form ? [] : Object.entries(content).filter(([type]) => type === "application/json");
  const open = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const asked = (operation.parameters ?? []).filter((each) => !open.includes(each.name));
  return [
    ...(operation.security ? [keyField()] : []),
    ...open.map((name) => field("path", name, {}, { required: true })),
    ...asked.map((each) => field(each.in, each.name, each.schema)),
    ...Object.entries(form?.properties ?? {}).map(([name, schema]) =>
      field("form", name, schema, { required: form.required?.includes(name) })),
    ...(json ? [jsonField(json[1].example)] : []),
  ];
}

function field(place, name, schema, more = {}) {
  const input = inputOf(schema, more.required);
  const values = () => {
    if (input.type === "file") return [...input.files];
    return input.value === "" ? [] : [input.value];
  };
  return { in: place, name, values, row: rowOf(name, input) };
}

function inputOf(schema, required) {
  const kinds = schema.anyOf ?? [schema];
  const needed = required ? { required: "" } : {};
  const isMany = schema.type === "array";
  if ((isMany ? schema.items : schema).format === "binary") {
    return make("input", { type: "file", ...(isMany ? { multiple: "" } : {}), ...needed });
  }
  const words = schema.enum ?? (schema.type === "boolean" ? ["true", "false"] : null);
  if (words) {
    const choices = words.map((word) => make("option", {}, word));
    return make("select", needed, make("option", { value: "" }, presetOf(schema)), ...choices);
  }
  const isNumber = kinds.length === 1 && ["integer", "number"].includes(schema.type);
  return make("input", { type: isNumber ? "number" : "text", step: "any", placeholder: presetOf(schema), ...needed });
}

const presetOf = ({ default: preset }) => (preset === undefined || preset === "" ? "" : `preset: ${preset}`);

/** One key for all forms of the page. */
function keyField() {
  const input = make("input", { type: "password", autocomplete: "off", class: "key" });
  input.value = sessionStorage.getItem(KEY) ?? "";
  input.addEventListener("change", () => {
    sessionStorage.setItem(KEY, input.value.trim());
    for (const other of document.querySelectorAll("input.key")) other.value = input.value;
  });
  const values = () => (input.value.trim() ? [input.value.trim()] : []);
  return { in: "header", name: "x-api-key", values, row: rowOf("x-api-key", input) };
}

function jsonField(example) {
  const input = make("textarea", { rows: "8", spellcheck: "false" }, JSON.stringify(example ?? {}, null, 2));
  return { in: "json", name: "body", values: () => [input.value], row: rowOf("body", input) };
}

function rowOf(name, input) {
  return make("label", { class: "row" }, make("code", {}, name), input);
}

/** Send what the fields hold; gives what shows the answer. */
async function sent(path, method, fields) {
  const given = (place) => fields.filter((each) => each.in === place)
    .flatMap(({ name, values }) => values().map((value) => [name, value]));
  const open = path.replace(/\{(\w+)\}/g, (_, name) =>
    encodeURIComponent(given("path").find(([each]) => each === name)?.[1] ?? ""));
  const address = new URL(open.slice(1), document.baseURI);
  for (const [name, value] of given("query")) address.searchParams.set(name, value);
  const [json] = given("json");
  const headers = Object.fromEntries(given("header"));
  if (json) headers["content-type"] = "application/json";
  const takesForm = fields.some((each) => each.in === "form");
  const started = performance.now();
  const response = await fetch(address, { method, headers, body: json?.[1] ?? (takesForm ? formOf(given("form")) : undefined) });
  const body = await response.blob();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const said = TELLING.filter((name) => response.headers.has(name))
    .map((name) => `${name}: ${response.headers.get(name)}`);
  const head = [`${response.status} ${response.statusText} after ${seconds} s`, ...said];
  return [make("pre", { tabindex: "0" }, head.join("\n")), ...await shown(body)];
}

function formOf(values) {
  const form = new FormData();
  for (const [name, value] of values) {
    if (value instanceof File) form.append(name, value, value.name);
    else form.append(name, value);
  }
  return form;
}

/** An image as one with a link to save it; else text. */
async function shown(body) {
  if (body.size === 0) return [];
  if (!body.type.startsWith("image/")) return [make("pre", { tabindex: "0" }, await textOf(body))];
  const url = URL.createObjectURL(body);
  const name = `answer.${body.type.replace("image/", "")}`;
  const image = make("img", { src: url, alt: "The answer" });
  // Of a format that browsers do not show: it can be saved all the same.
  image.addEventListener("error", () => image.remove());
  return [image, make("p", {}, make("a", { href: url, download: name }, `Save it, ${body.size.toLocaleString("en")} bytes`))];
}

async function textOf(body) {
  const text = await body.text();
  try {
    return JSON.stringify(JSON.parse(text), null, 2).slice(0, LONGEST_SHOWN);
  } catch {
    return text.slice(0, LONGEST_SHOWN);
  }
}
