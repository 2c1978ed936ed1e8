// Speaks with the language server as an editor does.
import { spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const tool = process.argv[2];
const program = join(tool, "node_modules/yaml-language-server/bin/yaml-language-server");
const server = spawn(process.execPath, [program, "--stdio"], { stdio: ["pipe", "pipe", "inherit"] });
const yaml = {
  validate: true,
  completion: true,
  hover: true,
  schemas: { [pathToFileURL(join(tool, "schema.json")).href]: ["*.yaml"] },
  schemaStore: { enable: false },
};

let next = 1;
const waiting = new Map();
const marked = new Map();

function send(message) {
  const text = JSON.stringify({ jsonrpc: "2.0", ...message });
  server.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
}

function ask(method, params) {
  const id = next++;
  send({ id, method, params });
  return new Promise((resolve) => waiting.set(id, resolve));
}

function hear(message) {
  if (message.method === "workspace/configuration") {
    const of = { yaml, "[yaml]": {}, editor: {}, http: {} };
    send({ id: message.id, result: message.params.items.map((item) => of[item.section] ?? {}) });
  } else if (message.method === "textDocument/publishDiagnostics") {
    marked.get(message.params.uri)?.(message.params.diagnostics);
  } else if (message.method !== undefined && message.id !== undefined) {
    send({ id: message.id, result: null });
  } else if (waiting.has(message.id)) {
    waiting.get(message.id)(message.result);
    waiting.delete(message.id);
  }
}

let held = Buffer.alloc(0);
server.stdout.on("data", (bytes) => {
  held = Buffer.concat([held, bytes]);
  for (;;) {
    const end = held.indexOf("\r\n\r\n");
    const length = /content-length: *(\d+)/i.exec(held.subarray(0, end).toString());
    if (end < 0 || length === null || held.length < end + 4 + Number(length[1])) return;
    const body = held.subarray(end + 4, end + 4 + Number(length[1]));
    held = held.subarray(end + 4 + Number(length[1]));
    hear(JSON.parse(body.toString()));
  }
});

const fail = (why) => {
  console.error(why);
  server.kill();
  process.exit(1);
};
setTimeout(() => fail("the language server does not answer"), 60_000).unref();

function open(name, text) {
  const uri = `file:///manifests/${name}`;
  const seen = new Promise((resolve) => marked.set(uri, resolve));
  const textDocument = { uri, languageId: "yaml", version: 1, text };
  send({ method: "textDocument/didOpen", params: { textDocument } });
  return seen;
}

await ask("initialize", {
  processId: process.pid,
  rootUri: null,
  capabilities: { workspace: { configuration: true }, textDocument: { completion: {} } },
});
send({ method: "initialized", params: {} });
send({ method: "workspace/didChangeConfiguration", params: { settings: { yaml } } });

const app = "apiVersion: berth/v1\nkind: App\nmetadata: {name: a}\nspec:\n  image: a\n";
const secret = "apiVersion: berth/v1\nkind: Secret\nmetadata: {name: db}\nspec:\n  folder: db\n";
const good = { "app.yaml": app, "secret.yaml": secret, "both.yaml": `${app}---\n${secret}` };
for (const folder of ["manifests", "examples"]) {
  for (const file of readdirSync(folder, { recursive: true }).map(String)) {
    if (!file.endsWith(".yaml")) continue;
    const text = readFileSync(join(folder, file), "utf8");
    if (text.includes("apiVersion: berth/v1")) good[`${folder}-${file.replaceAll("/", "-")}`] = text;
  }
}
let count = 0;
for (const [name, text] of Object.entries(good)) {
  const all = await open(name, text);
  if (all.length !== 0) fail(`${name} is marked:\n${JSON.stringify(all, null, 1)}`);
  count += 1;
}
const bad = {
  "typo.yaml": [`${app}  imagee: b\n`, 5],
  "type.yaml": [`${app}  port: [1]\n`, 5],
  "kind.yaml": [app.replace("App", "Job"), 1],
  "value.yaml": [secret.replace("folder: db", "value: s3cret"), 4],
  "mixed.yaml": [secret.replace("folder: db", "image: a"), 4],
  "second.yaml": [`${app}---\n${secret.replace("folder: db", "folders: db")}`, 10],
};
for (const [name, [text, line]] of Object.entries(bad)) {
  const all = await open(name, text);
  if (!all.some((mark) => mark.range.start.line === line)) {
    fail(`${name}: line ${line} is not marked:\n${JSON.stringify(all, null, 1)}`);
  }
}
const offered = async (name, text, line, character) => {
  await open(name, text);
  const textDocument = { uri: `file:///manifests/${name}` };
  const answer = await ask("textDocument/completion", { textDocument, position: { line, character } });
  return (answer?.items ?? answer ?? []).map((item) => item.label);
};
const places = [
  ["in-app.yaml", `${app}  \n`, 5, 2, ["health", "gpus", "ports"]],
  ["in-secret.yaml", secret.replace("folder: db", "f"), 4, 3, ["folder", "age", "sops"]],
  ["in-kind.yaml", "apiVersion: berth/v1\nkind: \n", 1, 6, ["App", "Secret"]],
];
for (const [name, text, line, character, wanted] of places) {
  const labels = await offered(name, text, line, character);
  for (const label of wanted) {
    if (!labels.includes(label)) fail(`${name}: \`${label}\` is not offered: ${labels}`);
  }
}
console.log(`${count} good documents, ${Object.keys(bad).length} bad ones, ${places.length} places`);
server.kill();
process.exit(0);
