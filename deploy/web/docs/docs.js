// The API's documentation from its OpenAPI document; knows no route by name.

import { exampleOf } from "./example.js";
import { make } from "./make.js";
import { tryingOf } from "./try.js";

const part = (name) => document.querySelector(`[data-part="${name}"]`);

/** Text in which what stands in backticks is code. */
function prose(text) {
  return text.split(/`+([^`]+)`+/).map((piece, at) => (at % 2 ? make("code", {}, piece) : piece));
}

/** What a value may be, in words. */
function typeOf(schema) {
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  if ("const" in schema) return String(schema.const);
  if (schema.format === "binary") return "file";
  if (schema.items?.format === "binary") return `files, up to ${schema.maxItems}`;
  if (schema.contentEncoding) return `file in ${schema.contentEncoding}`;
  const type = schema.type ?? "any value";
  const { minimum, maximum } = schema;
  if (minimum === undefined) return type;
  // Beyond that JavaScript would show another number.
  if (!(maximum <= Number.MAX_SAFE_INTEGER)) return `${type} from ${minimum} on`;
  return `${type}, ${minimum} to ${maximum}`;
}

function fieldsOf(schema) {
  const rows = Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const required = schema.required?.includes(name);
    const preset = field.default === undefined ? "" : `, preset ${JSON.stringify(field.default)}`;
    const type = make("small", {}, (required ? "needed: " : "") + typeOf(field) + preset);
    const said = make("dd", {}, ...prose(field.description ?? ""));
    return [make("dt", {}, make("code", {}, name), type), said];
  });
  return rows.length ? [make("dl", {}, ...rows)] : [];
}

function bodiesOf(operation, show) {
  const bodies = Object.entries(operation.requestBody?.content ?? {});
  return bodies.flatMap(([type, body], at) => [
    make("h3", {}, at === 0 ? `Fields, as ${type}` : `The same as ${type}`),
    ...(at === 0 ? fieldsOf(body.schema) : []),
    ...(body.example ? [make("pre", { tabindex: "0" }, show(type, body))] : []),
  ]);
}

function answersOf(operation) {
  const rows = Object.entries(operation.responses).flatMap(([status, answer]) => [
    make("dt", {}, make("code", {}, status)),
    make("dd", {}, ...prose([answer.description, ...Object.keys(answer.content ?? {})].join(", "))),
  ]);
  return [make("h3", {}, "Answers"), make("dl", {}, ...rows)];
}

function sectionOf(path, method, operation) {
  const show = (type, body) => exampleOf({ path, method, operation, type, body });
  const asks = operation.requestBody
    ? bodiesOf(operation, show)
    : [make("h3", {}, "Example"), make("pre", { tabindex: "0" }, show(null, null))];
  return make(
    "section",
    { id: operation.operationId, "aria-labelledby": `${operation.operationId}-title` },
    make(
      "h2",
      { id: `${operation.operationId}-title` },
      make("span", { class: "method" }, method.toUpperCase()),
      ` ${path}`,
    ),
    make("p", {}, make("strong", {}, operation.summary)),
    ...(operation.description ?? "").split("\n\n").map((text) => make("p", {}, ...prose(text))),
    ...(operation.security ? [make("p", {}, ...prose("Asks for a key in the header `x-api-key`."))] : []),
    ...asks,
    tryingOf({ path, method, operation }),
    ...answersOf(operation),
  );
}

async function start() {
  const response = await fetch(new URL("openapi.json", document.baseURI));
  if (!response.ok) throw new Error(`openapi.json: ${response.status} ${response.statusText}`);
  const { info, paths } = await response.json();
  part("about").textContent = info.description;
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const name = make("span", { class: "method" }, method.toUpperCase());
      const link = make("a", { href: `#${operation.operationId}` }, name, ` ${path}`);
      part("routes").append(make("li", {}, link));
      part("operations").append(sectionOf(path, method, operation));
    }
  }
  // What the address names was not there before.
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => {
  part("operations").append(make("p", { role: "alert" }, `The documentation cannot be shown. ${error.message}`));
});
