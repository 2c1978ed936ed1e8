// Speaks with yaml-language-server as an editor does.
import { spawn } from 'node:child_process';
import { join } from 'node:path';

const PATIENCE = 60_000;

export class Server {
  #held = Buffer.alloc(0);
  #last = 0;
  #waiting = new Map();
  #marked = new Map();

  // `yaml` are the editor's settings of that name.
  static async start(tool, yaml, rootUri = null) {
    const server = new Server();
    const program = join(tool, 'node_modules/yaml-language-server/bin/yaml-language-server');
    server.yaml = { validate: true, completion: true, hover: true, schemaStore: { enable: false }, ...yaml };
    server.process = spawn(process.execPath, [program, '--stdio'], { stdio: ['pipe', 'pipe', 'inherit'] });
    server.process.stdout.on('data', piece => server.#read(piece));
    setTimeout(() => server.fail('the language server does not answer'), PATIENCE).unref();
    await server.ask('initialize', {
      processId: process.pid,
      rootUri,
      workspaceFolders: rootUri && [{ uri: rootUri, name: 'manifests' }],
      capabilities: { workspace: { configuration: true }, textDocument: { completion: {}, hover: { contentFormat: ['plaintext'] } } },
    });
    server.#send({ method: 'initialized', params: {} });
    server.#send({ method: 'workspace/didChangeConfiguration', params: { settings: { yaml: server.yaml } } });
    return server;
  }

  stop() { this.process.kill(); }

  fail(why) {
    console.error(why);
    this.stop();
    process.exit(1);
  }

  // Opens a document, and answers what is marked in it.
  open(uri, text) {
    const seen = new Promise(done => this.#marked.set(uri, done));
    this.#send({ method: 'textDocument/didOpen', params: { textDocument: { uri, languageId: 'yaml', version: 1, text } } });
    return seen;
  }

  hover(uri, position) { return this.ask('textDocument/hover', { textDocument: { uri }, position }); }

  // The names that are offered at a place.
  async offered(uri, position) {
    const answer = await this.ask('textDocument/completion', { textDocument: { uri }, position });
    return (answer?.items ?? answer ?? []).map(item => item.label);
  }

  ask(method, params) {
    const id = ++this.#last;
    this.#send({ id, method, params });
    return new Promise(done => this.#waiting.set(id, done));
  }

  #send(message) {
    const text = JSON.stringify({ jsonrpc: '2.0', ...message });
    this.process.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  }

  #read(piece) {
    this.#held = Buffer.concat([this.#held, piece]);
    for (;;) {
      const end = this.#held.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = Number(/content-length: *(\d+)/i.exec(this.#held.subarray(0, end).toString())[1]);
      if (this.#held.length < end + 4 + length) return;
      const message = JSON.parse(this.#held.subarray(end + 4, end + 4 + length).toString());
      this.#held = this.#held.subarray(end + 4 + length);
      this.#hear(message);
    }
  }

  #hear(message) {
    const { id, method } = message;
    if (method === 'workspace/configuration') {
      this.#send({ id, result: message.params.items.map(item => (item.section === 'yaml' ? this.yaml : {})) });
    } else if (method === 'textDocument/publishDiagnostics') {
      this.#marked.get(message.params.uri)?.(message.params.diagnostics);
    } else if (method !== undefined && id !== undefined) {
      this.#send({ id, result: null });
    } else if (this.#waiting.has(id)) {
      this.#waiting.get(id)(message.result);
      this.#waiting.delete(id);
    }
  }
}
