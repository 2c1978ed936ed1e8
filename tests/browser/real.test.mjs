// What a person does with a new app, on a real engine, from the registration to its removal.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Berth, browse, live, open, until } from './stage.mjs';

const name = `shop-${process.pid}`;
let berth;
let browser;
let repository;

before(async () => {
  repository = await mkdtemp(path.join(tmpdir(), 'berth-repository-'));
  const git = (...words) => execFileSync('git', ['-C', repository, '-c', 'user.name=t', '-c', 'user.email=t@example.com', ...words]);
  git('init', '-q', '-b', 'main');
  await writeFile(path.join(repository, 'Dockerfile'), 'FROM berth/tiny:offline\nCOPY index.html /shop/index.html\nRUN sleep 2; echo one of the steps\n');
  await writeFile(path.join(repository, 'index.html'), 'the shop is open\n');
  git('add', '.');
  git('commit', '-q', '-m', 'one');
  const first = 20_000 + (process.pid % 500) * 20;
  berth = await Berth.start({
    engine: 'docker',
    more: ['--allow-local-git', '--instance', `browser-${process.pid}`, '--ports', `${first}-${first + 19}`],
  });
  browser = await browse();
});

after(async () => {
  await browser?.close();
  await fetch(`${berth.url}/api/v1/apps/${name}`, { method: 'DELETE' }).catch(() => {});
  await until('it is gone', async () => (await fetch(`${berth.url}/api/v1/apps/${name}`)).status === 404, 60_000).catch(() => {});
  await berth?.stop();
  await rm(repository, { recursive: true, force: true });
});

test('register, watch it being built, open it, change it, read its log, stop and remove it', async () => {
  const context = await browser.newContext();
  const page = await open(context, berth.url);
  await page.getByRole('link', { name: 'Register an app' }).click();
  await page.getByLabel('Name', { exact: true }).fill(name);
  await page.getByLabel('Repository', { exact: true }).fill(repository);
  await page.getByLabel('Start command').fill('echo "\u001b[32mopen\u001b[0m <b>now</b>"; exec httpd -f -v -p 7860 -h /shop');
  await page.getByLabel('Port').fill('99999');
  await page.getByRole('button', { name: 'Show the manifest' }).click();
  await page.locator('#p-port').waitFor();
  await page.getByLabel('Port').fill('7860');
  await page.getByRole('button', { name: 'Show the manifest' }).click();
  await page.getByRole('button', { name: 'Register it' }).click();

  // It is on its way, and then it runs: nobody loads anything anew.
  await page.getByText('It is registered').waitFor();
  await page.evaluate(() => { globalThis.here = 'still'; });
  await page.getByRole('heading', { name: 'On its way' }).waitFor();
  await page.locator('#verdict .state', { hasText: 'Running' }).waitFor({ timeout: 120_000 });
  assert.equal(await page.evaluate(() => globalThis.here), 'still');
  const link = page.getByRole('link', { name: 'Open', exact: true });
  const url = await link.getAttribute('href');
  assert.match(await (await fetch(url)).text(), /the shop is open/);

  // Its log: with colours, and markup as text; followed over a restart.
  await page.getByRole('link', { name: 'Logs', exact: true }).click();
  const line = page.locator('#log .l', { hasText: 'open <b>now</b>' });
  await line.first().waitFor();
  assert.equal(await line.first().locator('.a2').innerText(), 'open');
  await page.getByText('following').waitFor();
  const docker = (...words) => execFileSync('docker', words).toString();
  const id = (await berth.json(`/api/v1/apps/${name}`)).status.containerId;
  docker('restart', '-t', '0', id);
  await until('the line comes again', async () => await line.count() === 2, 60_000);
  await page.getByLabel('Search', { exact: true }).fill('nothing like that');
  await page.waitForFunction(() => !document.querySelector('#log .l:not(.off)'));
  await page.getByLabel('Search', { exact: true }).fill('now');
  await page.locator('#log mark', { hasText: 'now' }).first().waitFor();

  // A change: the exact difference, then a rollout.
  await page.getByRole('link', { name: 'Manifest', exact: true }).click();
  const editor = page.getByLabel(`The manifest of ${name}`);
  const before = await editor.inputValue();
  await editor.fill(`# by hand\n${before}  env: {COLOUR: green}\n`);
  await page.getByRole('button', { name: 'Show the difference' }).click();
  assert.equal(await page.locator('.diff tr.come').count(), 2);
  assert.equal(await page.locator('.diff tr.gone').count(), 0);
  await page.getByRole('button', { name: 'Save it so' }).click();
  await page.getByText('The manifest is saved').waitFor();
  assert.equal(await berth.read(`${name}.yaml`), `# by hand\n${before}  env: {COLOUR: green}\n`);
  await until('the new version runs', async () => {
    const { status } = await berth.json(`/api/v1/apps/${name}`);
    return status.phase === 'Running' && status.rollout?.revision === 2 && status.rollout.result === 'succeeded';
  }, 120_000);
  assert.doesNotMatch(await page.content(), /green/, 'values are not shown');
  await page.getByRole('link', { name: 'History', exact: true }).click();
  await page.locator('tr[data-key=r2]', { hasText: 'succeeded' }).waitFor();
  await page.getByRole('link', { name: 'Go back to 1…' }).waitFor();

  await page.getByRole('link', { name: 'Stop…' }).click();
  await page.getByRole('button', { name: `Stop ${name}` }).click();
  await page.locator('#verdict .state', { hasText: 'Stopped' }).waitFor({ timeout: 60_000 });
  await page.getByRole('link', { name: 'Remove…' }).click();
  await page.getByRole('button', { name: `Remove ${name}` }).click();
  assert.ok(page.url().includes('confirm'), 'the name must be written');
  await page.getByLabel(`Write ${name} to remove it`).fill(name);
  await page.getByRole('button', { name: `Remove ${name}` }).click();
  await page.getByText('Its manifest is removed').waitFor();
  await page.getByText('No app is registered yet').waitFor({ timeout: 60_000 });
  assert.deepEqual(page.problems, []);
  await context.close();
});

test('what happens on the engine is seen within a quarter of a second', async () => {
  const quick = `quick-${process.pid}`;
  await berth.write(`${quick}.yaml`, `apiVersion: berth/v1\nkind: App\nmetadata: {name: ${quick}}\nspec:\n  image: berth/tiny:offline\n  command: [sleep, "100000"]\n  stopGracePeriod: 1s\n`);
  await until('it runs', async () => await berth.phase(quick) === 'Running', 60_000);
  const context = await browser.newContext();
  const page = await open(context, berth.url);
  await live(page);
  const docker = (...words) => execFileSync('docker', words).toString();
  const took = [];
  try {
    for (let number = 0; number < Number(process.env.BERTH_BROWSER_ROUNDS ?? 12); number++) {
      const id = (await berth.json(`/api/v1/apps/${quick}`)).status.containerId;
      await until('it is calm', async () => await berth.phase(quick) === 'Running' && await page.locator(`#rows tr[data-key=${quick}] .state`, { hasText: 'Running' }).count());
      await page.evaluate(name => {
        globalThis.at = new Promise(done => {
          const row = document.querySelector(`#rows tr[data-key="${name}"]`);
          const text = row.querySelector('.state').textContent + row.querySelector('.message').textContent;
          new MutationObserver((_, self) => {
            const now = row.querySelector('.state').textContent + row.querySelector('.message').textContent;
            if (now === text) return;
            self.disconnect();
            requestAnimationFrame(() => requestAnimationFrame(() => done(Date.now())));
          }).observe(row, { subtree: true, childList: true, characterData: true, attributes: true });
        });
      }, quick);
      const begun = Date.now();
      docker('kill', id);
      const at = await page.evaluate(() => globalThis.at);
      // The engine tells of an end a moment after it has sent the signal.
      const died = await until('the engine tells of its end', async () => {
        const ends = docker('events', '--since', '20s', '--until', '0s', '--filter', `container=${id}`, '--filter', 'event=die', '--format', '{{.TimeNano}}').trim().split('\n');
        return ends.map(end => Number(BigInt(end) / 1_000_000n)).find(end => begun <= end);
      });
      took.push(at - died);
      await until('it runs again', async () => {
        const { status } = await berth.json(`/api/v1/apps/${quick}`);
        return status.phase === 'Running' && status.containerId && JSON.parse(docker('inspect', status.containerId))[0].State.Running;
      }, 60_000);
    }
  } finally {
    await berth.drop(`${quick}.yaml`);
    await until('it is gone', async () => (await fetch(`${berth.url}/api/v1/apps/${quick}`)).status === 404, 60_000);
    await context.close();
  }
  took.sort((a, b) => a - b);
  const p95 = took[Math.ceil(took.length * 0.95) - 1];
  console.log(`engine event to pixels: median ${took[Math.floor(took.length / 2)]} ms, p95 ${p95} ms (budget 250 ms)`);
  assert.ok(p95 <= 250 * Number(process.env.BERTH_BROWSER_SLACK ?? 1), `p95 ${p95} ms: ${took}`);
});
