// Groups, help in the editor, one model, the machine, and signing in, in a browser.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { Berth, app, axe, browse, live, open, program, until } from './stage.mjs';

let berth;
let browser;
const labelled = (name, team) => app(name).replace(`  name: ${name}\n`, `  name: ${name}\n  labels: {team: ${team}}\n`);

before(async () => {
  berth = await Berth.start({ manifests: { 'one.yaml': labelled('one', 'audio'), 'two.yaml': labelled('two', 'vision') } });
  browser = await browse();
  await until('two runs', async () => await berth.phase('two') === 'Running');
});

after(async () => {
  await browser?.close();
  await berth?.stop();
});

test('apps in groups are kept in them as they come', async () => {
  const context = await browser.newContext();
  const page = await open(context, berth.url);
  await live(page);
  await page.getByRole('navigation', { name: 'Group by' }).getByRole('link', { name: 'team' }).click();
  const rows = () => page.locator('#rows tr').evaluateAll(all => all.map(row => row.dataset.key));
  assert.deepEqual(await rows(), ['group team=audio', 'one', 'group team=vision', 'two']);
  await live(page);
  await berth.write('three.yaml', labelled('three', 'audio'));
  await page.locator('#rows tr[data-key=three]').waitFor();
  await until('it stands in its group', async () => JSON.stringify(await rows()) === JSON.stringify(['group team=audio', 'one', 'three', 'group team=vision', 'two']));
  await berth.drop('three.yaml');
  await page.locator('#rows tr[data-key=three]').waitFor({ state: 'detached' });
  assert.deepEqual(await axe(page), []);
  assert.deepEqual(page.problems, []);
  await context.close();
});

test('the editor says what the field is for in which one writes', async () => {
  const context = await browser.newContext();
  const page = await open(context, `${berth.url}/ui/apps/one/manifest`);
  await live(page);
  const editor = page.getByLabel('The manifest of one');
  const said = async (text, words) => {
    await editor.fill(text);
    await editor.press('End');
    await until(`${words} is said`, async () => (await page.locator('#field').innerText()).startsWith(words));
  };
  await said('spec:\n  gpus:\n    count: 1', 'spec.gpus.count ');
  await said('spec:\n  gpus: {count: 1, memory: ', 'spec.gpus.memory ');
  await said('spec:\n  ports:\n    - name: http\n      hostPort: 1', 'spec.ports.hostPort ');
  await said('spec:\n  env:\n    ANY_NAME: x', 'spec.env ');
  await said('metadata:\n  name: one', 'metadata.name ');
  await editor.fill('');
  await page.locator('#field').waitFor({ state: 'hidden' });
  assert.deepEqual(page.problems, []);
  await context.close();
});

test('a model is uploaded, looked at and removed', async () => {
  const context = await browser.newContext();
  const page = await open(context, `${berth.url}/ui/models`);
  await live(page);
  for (const [label, text] of [['Project', 'demo'], ['App', 'llm'], ['Version', '1.0.0'], ['Name', 'weights.txt']]) await page.getByLabel(label, { exact: true }).fill(text);
  await page.getByLabel('File', { exact: true }).setInputFiles({ name: 'weights.txt', mimeType: 'text/plain', buffer: Buffer.from('0123') });
  await page.getByRole('button', { name: 'Store it' }).click();
  await page.getByText('The file is stored.').waitFor();
  await page.getByRole('link', { name: 'weights.txt', exact: true }).click();
  await page.getByRole('heading', { name: 'weights.txt', exact: true }).waitFor();
  assert.deepEqual(await axe(page), []);
  await page.getByText('No app mounts it: none is stopped').waitFor();
  await page.getByRole('button', { name: 'Remove weights.txt' }).click();
  await page.getByText('The model is in the trash').waitFor();
  assert.deepEqual(page.problems, []);
  await context.close();
});

test('the machine is judged, and what is wrong is open', async () => {
  const context = await browser.newContext();
  const page = await open(context, `${berth.url}/ui/host`);
  await page.getByRole('heading', { name: 'Whether this machine is fit' }).waitFor();
  const checks = (await berth.json('/api/v1/host')).checks;
  await until('all checks are there', async () => await page.locator('details.fit li').count() === checks.length);
  for (const group of new Set(checks.map(check => check.group))) {
    const isWrong = checks.some(check => check.group === group && ['warning', 'error'].includes(check.outcome));
    const details = page.locator(`details[data-key=fit-${group}]`);
    assert.equal(await details.getAttribute('open') !== null, isWrong, group);
  }
  assert.deepEqual(await axe(page), []);
  assert.deepEqual(page.problems, []);
  await context.close();
});

test('the form for signing in shuts nobody out', async () => {
  const guarded = await Berth.start({ more: ['--instance', `guarded${process.pid}`] });
  try {
    const state = path.join(guarded.place, 'state');
    const { stdout } = await promisify(execFile)(program, ['token', 'create', 'me', '--role', 'viewer', '-q', '--state-dir', state]);
    for (const colorScheme of ['light', 'dark']) {
      const context = await browser.newContext({ colorScheme, viewport: { width: 320, height: 700 } });
      const page = await open(context, guarded.url);
      await page.waitForURL(/sign-in/);
      assert.deepEqual(await axe(page), []);
      await page.getByLabel('Token').fill('wrong');
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByText('This is no token of this Berth').waitFor();
      assert.deepEqual(await axe(page), []);
      await page.getByLabel('Token').fill(stdout.trim());
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByRole('heading', { name: 'Apps', exact: true }).waitFor();
      assert.deepEqual(page.problems, []);
      await context.close();
    }
  } finally {
    await guarded.stop();
  }
});
