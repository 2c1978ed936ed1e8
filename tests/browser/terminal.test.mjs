// A terminal in the page, against Berth with an engine in memory.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Berth, app, axe, browse, open, until } from './stage.mjs';

let berth;
let browser;

before(async () => {
  berth = await Berth.start({ manifests: { 'web.yaml': app('web') }, more: ['--terminal-idle-timeout', '10s'] });
  browser = await browse();
  await until('web runs', async () => await berth.phase('web') === 'Running');
});

after(async () => {
  await browser?.close();
  await berth?.stop();
});

// What is on the screen, without the blanks that fill it.
const shown = async page => (await page.locator('.term .rows').innerText()).split('\n').map(line => line.trimEnd()).join('\n').trimEnd();
const focused = page => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.getAttribute('aria-label'));

test('with a keyboard alone a terminal is opened, used, left and ended', async () => {
  const context = await browser.newContext();
  const page = await open(context, `${berth.url}/ui/apps/web/terminal`);
  const button = page.getByRole('button', { name: 'Open a terminal' });
  await button.waitFor();
  await button.focus();
  await page.keyboard.press('Enter');
  await until('it is open', async () => (await shown(page)).endsWith('$'));
  assert.equal(await focused(page), 'Keys for the terminal of web');
  await page.keyboard.type('echo hello from here');
  await page.keyboard.press('Enter');
  await until('it is answered', async () => /^hello from here$/m.test(await shown(page)));
  assert.deepEqual(await axe(page), []);
  // Keys of the page, and Tab, are the program's here.
  await page.keyboard.type('g?/x');
  await page.keyboard.press('Control+c');
  await until('it is interrupted', async () => (await shown(page)).includes('^C'));
  assert.match(page.url(), /terminal$/);
  // The size is the screen's, and changes with it.
  const size = async () => {
    await page.keyboard.type('stty size');
    await page.keyboard.press('Enter');
    return until('a size', async () => /stty size\n(\d+) (\d+)\n\$$/.exec(await shown(page)));
  };
  const [, rows, columns] = await size();
  assert.ok(5 <= Number(rows) && 60 < Number(columns), `${rows} by ${columns}`);
  await page.setViewportSize({ width: 500, height: 700 });
  await until('it is narrower', async () => Number((await size())[2]) < 70);
  await until('it was said', async () => (await page.getByRole('log').innerText()).includes('hello from here'));
  await page.keyboard.press('Control+F6');
  assert.equal(await focused(page), 'Close it');
  await page.locator('.term').click();
  await page.keyboard.type('exit 3');
  await page.keyboard.press('Enter');
  await page.getByText('The command ended with 3.').waitFor();
  assert.equal(await focused(page), 'Open another terminal');
  assert.deepEqual(page.problems, []);
  await context.close();
  const records = (await berth.json('/api/v1/audit')).items.map(item => item.action);
  assert.ok(records.includes('POST /api/v1/apps/{name}/terminal') && records.includes('terminal ended'), records.join());
});

test('one command is run, what is written stays text, and silence ends it', async () => {
  const context = await browser.newContext();
  const page = await open(context, `${berth.url}/ui/apps/web/terminal`);
  await page.getByLabel('Command').fill('echo <b>bold</b>');
  await page.keyboard.press('Enter');
  await page.getByText('The command ended.').waitFor();
  assert.match(await shown(page), /<b>bold<\/b>/);
  await page.getByLabel('Command').fill('');
  await page.keyboard.press('Enter');
  await page.getByText(/Ended: nothing was typed or written for 10 s/).waitFor({ timeout: 30_000 });
  assert.deepEqual(page.problems, []);
  await context.close();
});

test('without JavaScript the command is named', async () => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await open(context, `${berth.url}/ui/apps/web/terminal`);
  assert.match(await page.locator('main').innerText(), /This takes JavaScript[^]*berth exec web/);
  await context.close();
});
