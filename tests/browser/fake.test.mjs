// The page against Berth with an engine in memory: every screen, for everybody, in every way.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Berth, app, axe, browse, live, open, sleep, until } from './stage.mjs';

let berth;
let browser;

const manifests = {
  'web.yaml': app('web'),
  'paused.yaml': app('paused', '  suspend: true\n'),
  'waits.yaml': app('waits', '  dependsOn: [nobody]\n'),
  'hungry.yaml': app('hungry', '  gpus: {count: 1}\n'),
};

// As long as it can't be read, Berth removes nothing: it is there for some tests only.
const broken = 'apiVersion: berth/v1\nkind: App\nmetadata: {name: broken}\nspec: {image: x, prot: 1}\n';
const mistakes = async () => (await berth.json('/api/v1/apps')).source.diagnostics.length;

const screens = ['/', '/ui/register', '/ui/register?as=text', '/ui/apps/web', '/ui/apps/web/plan', '/ui/apps/web/logs', '/ui/apps/web/metrics',
  '/ui/apps/web/manifest', '/ui/apps/web/history', '/ui/apps/web/terminal', '/ui/apps/web/confirm?do=remove', '/ui/apps/hungry', '/ui/apps/waits/plan', '/ui/plan',
  '/ui/gpus', '/ui/models', '/ui/host', '/ui/events', '/ui/audit', '/ui/settings', '/ui/apps/nobody', '/ui/models/demo/llm/1.0.0/weights.txt', '/?group=folder'];

before(async () => {
  berth = await Berth.start({ manifests });
  browser = await browse();
  await until('web runs', async () => await berth.phase('web') === 'Running');
  await fetch(`${berth.url}/models/demo/llm/1.0.0/weights.txt`, { method: 'PUT', body: '0123' });
});

after(async () => {
  await browser?.close();
  await berth?.stop();
});

for (const colorScheme of ['light', 'dark']) {
  for (const width of [1280, 320]) {
    test(`nobody is shut out: ${colorScheme}, ${width} px`, async () => {
      const context = await browser.newContext({ colorScheme, viewport: { width, height: 800 }, reducedMotion: 'reduce' });
      const page = await open(context);
      await berth.write('broken.yaml', broken);
      await until('the mistake is seen', async () => await mistakes() === 1);
      const found = {};
      for (const path of screens) {
        await page.goto(berth.url + path);
        const problems = await axe(page);
        if (problems.length) found[path] = problems;
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (0 < wide) (found[path] ??= []).push(`${wide} px too wide`);
      }
      await berth.drop('broken.yaml');
      await until('the mistake is gone', async () => await mistakes() === 0);
      assert.deepEqual(found, {});
      assert.deepEqual(page.problems, []);
      await context.close();
    });
  }
}

test('everything can be read and done without JavaScript', async () => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await open(context, berth.url);
  await page.getByRole('link', { name: 'Register an app' }).click();
  await page.getByRole('link', { name: 'A manifest', exact: true }).click();
  await page.getByLabel('Manifest', { exact: true }).fill(app('bare'));
  await page.getByRole('button', { name: 'Show the manifest' }).click();
  await page.getByRole('heading', { name: 'This would be written' }).waitFor();
  const deeds = async () => JSON.stringify(await berth.json('/api/v1/audit'));
  assert.doesNotMatch(await deeds(), /ui\/register/, 'who only looks has changed nothing');
  await page.getByRole('button', { name: 'Register it' }).click();
  await page.getByText('It is registered').waitFor();
  assert.match(await deeds(), /ui\/register/);
  assert.equal(await berth.read('bare.yaml'), app('bare'));
  await until('bare runs', async () => await berth.phase('bare') === 'Running');
  await page.getByRole('link', { name: 'Manifest', exact: true }).click();
  const text = await page.getByLabel('The manifest of bare').inputValue();
  assert.equal(text, app('bare'));
  await page.getByLabel('The manifest of bare').fill(text.replace('5000', '5001'));
  await page.getByRole('button', { name: 'Show the difference' }).click();
  assert.equal(await page.locator('.diff tr.come .c').innerText(), '  port: 5001');
  assert.equal(await berth.read('bare.yaml'), app('bare'), 'it was only shown');
  await page.getByRole('button', { name: 'Save it so' }).click();
  assert.match(await berth.read('bare.yaml'), /# bare, as somebody wrote it[^]*# the shop\n {2}port: 5001\n$/);
  await page.getByRole('link', { name: 'Stop…' }).click();
  await page.getByRole('button', { name: 'Stop bare' }).click();
  await until('bare is stopped', async () => await berth.phase('bare') === 'Paused');
  await page.goto(`${berth.url}/ui/apps/bare/confirm?do=remove`);
  await page.getByLabel('Write bare to remove it').fill('bare');
  await page.getByRole('button', { name: 'Remove bare' }).click();
  await page.getByText('Its manifest is removed').waitFor();
  await until('bare is gone', async () => (await fetch(`${berth.url}/api/v1/apps/bare`)).status === 404);
  await context.close();
});

test('with a keyboard alone one finds, opens and stops an app', async () => {
  const context = await browser.newContext();
  const page = await open(context, berth.url);
  await live(page);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
  await page.keyboard.press('Enter');
  await page.keyboard.press('?');
  await page.getByRole('heading', { name: 'Keys' }).waitFor();
  assert.deepEqual(await axe(page), []);
  await page.keyboard.press('Escape');
  await page.keyboard.press('/');
  await page.keyboard.type('web');
  await page.waitForFunction(() => document.querySelectorAll('#rows tr').length === 1);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'q', 'the field keeps the focus');
  await page.keyboard.press('Tab');
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await page.waitForURL(/apps\/web$/);
  const reach = async name => {
    for (let number = 0; number < 60; number++) {
      if (await page.evaluate(() => document.activeElement.textContent.trim()) === name) return page.keyboard.press('Enter');
      await page.keyboard.press('Tab');
      const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.notEqual(ring, 'none', 'the focus is seen');
    }
    throw new Error(`${name} is not reached`);
  };
  await reach('Stop…');
  await page.waitForURL(/confirm/);
  await reach('Stop web');
  await page.getByText('It is being stopped').waitFor();
  await until('web is stopped', async () => await berth.phase('web') === 'Paused');
  await reach('Start');
  await page.getByText('It is being started').waitFor();
  await until('web runs', async () => await berth.phase('web') === 'Running');
  await page.goto(berth.url);
  await page.keyboard.press('g');
  await page.keyboard.press('e');
  await page.waitForURL(/ui\/events/);
  assert.deepEqual(page.problems, []);
  await context.close();
});

test('seven tabs share one connection, and each is kept fresh', async () => {
  const context = await browser.newContext();
  const tabs = [];
  for (let number = 0; number < 7; number++) tabs.push(await open(context, `${berth.url}/ui/apps/web`));
  for (const tab of tabs) await live(tab);
  await fetch(`${berth.url}/api/v1/apps/web/stop`, { method: 'POST' });
  for (const tab of tabs) {
    await tab.bringToFront();
    await tab.locator('#verdict .state', { hasText: 'Stopped' }).waitFor({ timeout: 10_000 });
  }
  await fetch(`${berth.url}/api/v1/apps/web/start`, { method: 'POST' });
  await until('web runs', async () => await berth.phase('web') === 'Running');
  for (const tab of tabs) assert.deepEqual(tab.problems, []);
  await context.close();
});

test('a lost server is said, and healed without loading again', async () => {
  const context = await browser.newContext();
  const page = await open(context, berth.url);
  await live(page);
  await page.evaluate(() => { globalThis.here = 'still'; });
  await berth.halt('SIGKILL');
  await page.locator('#link.lost', { hasText: 'does not answer' }).waitFor();
  await berth.write('later.yaml', app('later'));
  await berth.run();
  await page.locator('#rows tr[data-key=later]').waitFor({ timeout: 30_000 });
  await live(page);
  assert.equal(await page.evaluate(() => globalThis.here), 'still');
  await berth.drop('later.yaml');
  await page.locator('#rows tr[data-key=later]').waitFor({ state: 'detached', timeout: 30_000 });
  assert.deepEqual(page.problems, []);
  await context.close();
});

test('nothing is written when nothing changes, and nothing moves below the pointer', async () => {
  const context = await browser.newContext();
  const page = await open(context, `${berth.url}/ui/apps/web/history`);
  await live(page);
  await sleep(1500);
  const before = await page.evaluate(() => globalThis.berth.count.writes);
  await page.evaluate(() => {
    globalThis.seen = [];
    new MutationObserver(all => globalThis.seen.push(...all.filter(one => !one.target.closest?.('time') && !one.target.parentElement?.closest('time')).map(one => one.target.nodeName)))
      .observe(document.documentElement, { subtree: true, childList: true, attributes: true, characterData: true });
  });
  await page.evaluate(() => dispatchEvent(new Event('visibilitychange')) && document.dispatchEvent(new Event('visibilitychange')));
  await sleep(2500);
  assert.deepEqual(await page.evaluate(() => globalThis.seen), []);
  assert.equal(await page.evaluate(() => globalThis.berth.count.writes), before);

  await page.goto(berth.url);
  await live(page);
  await until('web runs', async () => await berth.phase('web') === 'Running');
  const link = page.locator('#rows tr[data-key=web] a.main');
  await link.hover();
  const at = await link.boundingBox();
  await berth.write('aaa.yaml', app('aaa'));
  await until('aaa runs', async () => await berth.phase('aaa') === 'Running');
  await page.mouse.move(at.x + 2, at.y + 3);
  assert.deepEqual(await link.boundingBox(), at, 'it stands where it stood');
  await page.mouse.move(1, 1);
  await page.locator('#rows tr[data-key=aaa]').waitFor();
  await berth.drop('aaa.yaml');

  // What a person has begun is left alone.
  await page.goto(`${berth.url}/ui/apps/web/manifest`);
  await live(page);
  const editor = page.getByLabel('The manifest of web');
  await editor.fill('# half a thought');
  await page.locator('summary', { hasText: 'With all defaults' }).click();
  await fetch(`${berth.url}/api/v1/apps/web/stop`, { method: 'POST' });
  await page.locator('#verdict .state', { hasText: 'Stopped' }).waitFor();
  assert.equal(await editor.inputValue(), '# half a thought');
  assert.equal(await page.locator('details[data-key=resolved]').getAttribute('open'), '');
  await fetch(`${berth.url}/api/v1/apps/web/start`, { method: 'POST' });
  await context.close();
});
