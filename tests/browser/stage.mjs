// Berth and a browser for tests: started, watched and ended here.

import { spawn } from 'node:child_process';
import { mkdtemp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = path.dirname(fileURLToPath(import.meta.url));
export const root = path.resolve(here, '../..');
export const program = process.env.BERTH_PROGRAM ?? path.join(root, 'target/debug/berth');
const axeSource = await readFile(path.join(here, 'node_modules/axe-core/axe.min.js'), 'utf8');

export const sleep = ms => new Promise(done => setTimeout(done, ms));

// Waits until something is so; what it was last is said when it never is.
export async function until(what, look, patience = 60_000) {
  const end = Date.now() + patience;
  let last;
  for (;;) {
    try {
      last = await look();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (end < Date.now()) throw new Error(`${what}: never so; last: ${last}`);
    await sleep(50);
  }
}

export function freePort() {
  return new Promise((done, wrong) => {
    const server = net.createServer();
    server.on('error', wrong);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

// A Berth of its own: folder, port, instance.
export class Berth {
  static async start(options = {}) {
    const berth = new Berth();
    berth.place = await mkdtemp(path.join(tmpdir(), 'berth-browser-'));
    berth.port = await freePort();
    berth.options = options;
    await mkdir(path.join(berth.place, 'manifests'));
    for (const [name, text] of Object.entries(options.manifests ?? {})) await berth.write(name, text);
    await berth.run();
    return berth;
  }

  get url() { return `http://127.0.0.1:${this.port}`; }

  write(name, text) { return writeFile(path.join(this.place, 'manifests', name), text); }
  read(name) { return readFile(path.join(this.place, 'manifests', name), 'utf8'); }
  drop(name) { return rm(path.join(this.place, 'manifests', name)); }

  async run() {
    const { engine = 'fake', more = [] } = this.options;
    const at = name => path.join(this.place, name);
    this.log = '';
    this.process = spawn(program, ['run', '--engine', engine, '--manifests', at('manifests'), '--state-dir', at('state'),
      '--workspaces', at('workspaces'), '--model-store', at('models'), '--listen', `127.0.0.1:${this.port}`, ...more], {
      env: { ...process.env, BERTH_LOG: 'warn' },
    });
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on('data', data => { this.log = (this.log + data).slice(-20_000); });
    this.ended = new Promise(done => this.process.on('exit', done));
    await until('Berth answers', async () => {
      if (this.process.exitCode !== null) throw new Error(`Berth ended: ${this.log}`);
      return (await fetch(`${this.url}/livez`)).ok;
    }).catch(error => { throw new Error(`${error.message}\n${this.log}`); });
  }

  async json(path, options) {
    const answer = await fetch(this.url + path, options);
    return answer.json();
  }

  phase(app) { return this.json(`/api/v1/apps/${app}`).then(document => document.status?.phase); }

  async halt(signal = 'SIGTERM') {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill(signal);
      await this.ended;
    }
  }

  async stop() {
    await this.halt();
    await rm(this.place, { recursive: true, force: true });
  }
}

export function app(name, more = '') {
  return `# ${name}, as somebody wrote it\napiVersion: berth/v1\nkind: App\nmetadata:\n  name: ${name}\nspec:\n  image: shop/app:1   # the shop\n  port: 5000\n${more}`;
}

export async function browse() {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return chromium.launch({ executablePath, args });
}

// A page that fails the test when a script fails or the policy is broken.
export async function open(context, url) {
  const page = await context.newPage();
  page.problems = [];
  page.on('pageerror', error => page.problems.push(String(error)));
  page.on('console', message => {
    const text = message.text();
    if (message.type() === 'error' && !/Failed to load resource|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE/.test(text)) page.problems.push(text);
  });
  if (url) await page.goto(url);
  return page;
}

// What people could not use, as axe sees it. Its script runs beside the page's policy.
export async function axe(page) {
  // What was scrolled below the head that stays is there all the same.
  await page.evaluate(() => window.scrollTo(0, 0));
  const frame = await page.context().newCDPSession(page);
  const { frameTree } = await frame.send('Page.getFrameTree');
  const { executionContextId } = await frame.send('Page.createIsolatedWorld', { frameId: frameTree.frame.id });
  const run = async expression => {
    const { result, exceptionDetails } = await frame.send('Runtime.evaluate', { expression, contextId: executionContextId, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  await run(axeSource + ';true');
  const found = await run(`axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }).then(r => r.violations.map(v => v.id + ' (' + v.impact + '): ' + v.nodes.map(n => n.target.join(' ') + ' ' + (n.any[0]?.message ?? n.all[0]?.message ?? '')).slice(0, 4).join(' | ')))`);
  await frame.detach();
  return found;
}

export const live = page => page.waitForFunction(() => document.getElementById('link').textContent === 'live' && globalThis.berth?.isIdle());
