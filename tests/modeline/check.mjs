// What an editor shows of a manifest: the language server reads the first line, finds the schema
// beside the file, finds mistakes, explains fields and completes names.
//
//   node tests/modeline/check.mjs FOLDER    (with good.yaml and bad.yaml, as `berth init` writes them)
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve, dirname } from 'node:path';
import { pathToFileURL } from 'node:url';

const folder = resolve(process.argv[2]);
const require = createRequire(import.meta.url);
const home = dirname(require.resolve('yaml-language-server/package.json'));
const server = spawn('node', [join(home, 'bin/yaml-language-server'), '--stdio']);
server.stderr.pipe(process.stderr);

let held = Buffer.alloc(0);
let last = 0;
const waiting = new Map();
const published = new Map();
const listeners = [];

server.stdout.on('data', (piece) => {
  held = Buffer.concat([held, piece]);
  for (;;) {
    const end = held.indexOf('\r\n\r\n');
    if (end < 0) return;
    const length = Number(/Content-Length: (\d+)/i.exec(held.subarray(0, end).toString())[1]);
    if (held.length < end + 4 + length) return;
    const message = JSON.parse(held.subarray(end + 4, end + 4 + length).toString());
    held = held.subarray(end + 4 + length);
    hear(message);
  }
});

function hear(message) {
  if (message.method && message.id !== undefined) {
    // The server asks for settings: there are none but the usual.
    const result = message.method === 'workspace/configuration'
      ? message.params.items.map((item) => (item.section === 'yaml' ? { validate: true, hover: true, completion: true } : {}))
      : null;
    send({ id: message.id, result });
  } else if (message.method === 'textDocument/publishDiagnostics') {
    published.set(message.params.uri, message.params.diagnostics);
    listeners.splice(0).forEach((wake) => wake());
  } else if (waiting.has(message.id)) {
    waiting.get(message.id)(message.result);
    waiting.delete(message.id);
  }
}

function send(message) {
  const text = JSON.stringify({ jsonrpc: '2.0', ...message });
  server.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
}

function ask(method, params) {
  last += 1;
  const id = last;
  send({ id, method, params });
  return new Promise((done) => waiting.set(id, done));
}

async function open(name) {
  const uri = pathToFileURL(join(folder, name)).href;
  const text = readFileSync(join(folder, name), 'utf8');
  send({ method: 'textDocument/didOpen', params: { textDocument: { uri, languageId: 'yaml', version: 1, text } } });
  while (!published.has(uri)) await new Promise((wake) => listeners.push(wake));
  return { uri, text, found: published.get(uri) };
}

/** The place right after `words` in a text. */
function after(text, words) {
  const lines = text.split('\n');
  const line = lines.findIndex((one) => one.includes(words));
  return { line, character: lines[line].indexOf(words) + words.length };
}

const troubles = [];
function hold(is, what) {
  console.log(`${is ? 'ok' : 'NOT'}  ${what}`);
  if (!is) troubles.push(what);
}

const limit = setTimeout(() => { console.error('the language server did not answer'); process.exit(1); }, 60_000);
await ask('initialize', {
  processId: process.pid, rootUri: pathToFileURL(folder).href,
  workspaceFolders: [{ uri: pathToFileURL(folder).href, name: 'manifests' }],
  capabilities: { workspace: { configuration: true }, textDocument: { hover: { contentFormat: ['plaintext'] } } },
});
send({ method: 'initialized', params: {} });
send({ method: 'workspace/didChangeConfiguration', params: { settings: { yaml: { validate: true, hover: true, completion: true } } } });

const good = await open('good.yaml');
hold(good.found.length === 0, `a good manifest has no remark: ${JSON.stringify(good.found.map((one) => one.message))}`);
const hover = await ask('textDocument/hover', { textDocument: { uri: good.uri }, position: after(good.text, '  run') });
hold(JSON.stringify(hover).includes('command line'), `a field is explained: ${JSON.stringify(hover)}`);
const offered = await ask('textDocument/completion', { textDocument: { uri: good.uri }, position: { line: good.text.split('\n').length - 2, character: 2 } });
const labels = (offered?.items ?? offered ?? []).map((item) => item.label);
hold(labels.includes('gpus') && labels.includes('mounts'), `fields are offered: ${labels.slice(0, 8).join(', ')}`);

const bad = await open('bad.yaml');
const said = bad.found.map((one) => `${one.range.start.line + 1}: ${one.message}`);
hold(said.some((one) => one.includes('imagee')), `an unknown field is found: ${said.join(' | ')}`);
hold(said.some((one) => /type|integer/i.test(one)), 'a wrong type is found');

clearTimeout(limit);
server.kill();
process.exit(troubles.length === 0 ? 0 : 1);
