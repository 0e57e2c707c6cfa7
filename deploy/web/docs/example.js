// A command line with curl for one operation of an OpenAPI document.

// Names that a shell takes as they are.
const PLAIN = /^[\w@%+=:,./-]+$/;

const quote = (text) => (PLAIN.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/**
 * The command, on several lines where it is long. `type` and `body` are one content of the
 * request's body; null for a request without one.
 */
export function exampleOf({ path, method, operation, type, body }) {
  // What a route leaves open, in capitals.
  const open = path.replace(/\{(\w+)\}/g, (_, name) => name.toUpperCase());
  const words = ["curl"];
  if (method !== "get" && !(method === "post" && body)) words.push(`-X ${method.toUpperCase()}`);
  if (operation.security) words.push("-H 'x-api-key: KEY'");
  if (type === "multipart/form-data") words.push(...formOf(body));
  else if (body) words.push(`-H 'content-type: ${type}'`, `-d ${quote(JSON.stringify(body.example))}`);
  words.push(quote(new URL(open.slice(1), document.baseURI).href));
  if (givesImage(operation)) words.push("-o answer.png");
  return words.join(body ? " \\\n  " : " ");
}

function formOf({ schema, example }) {
  return Object.entries(example).flatMap(([name, given]) => {
    const field = schema.properties[name] ?? {};
    const isFile = (field.items ?? field).format === "binary";
    return [given].flat().map((value) => `-F ${quote(`${name}=${isFile ? "@" : ""}${value}`)}`);
  });
}

function givesImage(operation) {
  return Object.keys(operation.responses["200"]?.content ?? {}).some((type) => type.startsWith("image/"));
}
