// Pictures of every screen, for docs/screenshots/: made from the program, so that they stay true.

import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Berth, app, browse, live, open, root, sleep, until } from './stage.mjs';

const folder = process.argv[2] ?? path.join(root, 'docs/screenshots');
const tiny = (name, command, more = '') => `apiVersion: berth/v1\nkind: App\nmetadata: {name: ${name}, labels: {team: vision}}\nspec:\n  image: berth/tiny:offline\n  run: ${command}\n${more}  stopGracePeriod: 1s\n`;
const talk = 'i=0; while :; do i=$((i+1)); printf "\\033[32mINFO\\033[0m request %s took \\033[1m%s ms\\033[0m\\n" $i $((i % 40 + 3)); [ $((i % 9)) = 0 ] && printf "\\033[33mWARN\\033[0m the cache is cold\\n"; sleep 1; done';
const serve = 'mkdir -p /tmp/www; echo ok > /tmp/www/index.html; httpd -p 7860 -h /tmp/www; ' + talk;
const manifests = {
  'chat.yaml': `# answers for the shop\n${tiny('chat', JSON.stringify(serve), '  port: 7860\n  health: {http: {path: /}}\n  resources: {cpus: 1, memory: 256Mi}\n')}`,
  'search.yaml': tiny('search', JSON.stringify(serve), '  port: 7860\n  resources: {memory: 64Mi}\n'),
  'broken.yaml': tiny('reports', JSON.stringify('echo "no such table: invoices" >&2; exit 3'), '  restart: Always\n'),
  'train.yaml': tiny('train', 'sleep 100000', '  gpus: {count: 1, memory: 20Gi}\n'),
  'worker.yaml': tiny('worker', 'sleep 100000', '  dependsOn: [queue]\n'),
  'night.yaml': tiny('night-report', 'sleep 100000', '  suspend: true\n'),
  'typo.yaml': 'apiVersion: berth/v1\nkind: App\nmetadata: {name: gallery}\nspec:\n  image: berth/tiny:offline\n  prot: 7860\n',
};
const first = 20_000 + (process.pid % 500) * 20;
const instance = `shots-${process.pid}`;
const berth = await Berth.start({ engine: 'docker', manifests, more: ['--instance', instance, '--ports', `${first}-${first + 19}`] });
const browser = await browse();
const looks = [['light', 1280], ['dark', 1280], ['light', 320]];
const wanted = process.env.BERTH_SHOTS?.split(',');

// A page of one look; `keep` writes down what it shows.
async function camera(colorScheme, width) {
  const context = await browser.newContext({ colorScheme, viewport: { width, height: width === 320 ? 900 : 820 }, reducedMotion: 'reduce' });
  const page = await open(context);
  const keep = async name => {
    const suffix = `${colorScheme === 'dark' ? '-dark' : ''}${width === 320 ? '-narrow' : ''}`;
    const file = path.join(folder, `${name}${suffix}.png`);
    await page.screenshot({ path: file });
    // Few colours are enough for a picture of text.
    execFileSync('pngquant', ['--force', '--skip-if-larger', '--quality', '60-90', '--output', file, file], { stdio: 'ignore' });
  };
  const close = async () => {
    if (page.problems.length) throw new Error(page.problems.join('\n'));
    await context.close();
  };
  return { page, keep, close };
}

// Two cards that the tests' own library tells of, with holders and with one who waits.
async function cards() {
  const card = (nth, more) => `gpu ${nth} uuid=GPU-5f0${nth}c1d2-8e21 name=NVIDIA_RTX_6000 minor=${nth} pci=00000000:${nth + 1}B:00.0 mode=0 cc=8.9 mig=0 total=49140 reserved=400 ${more} events=10\n`;
  const told = (first, second) => 'sys driver=550.54.15 cuda=12040\n' + card(0, first) + card(1, second);
  const place = await mkdtemp(path.join(tmpdir(), 'berth-cards-'));
  const target = path.join(root, 'target/nvml');
  execFileSync('cargo', ['build', '-q', '--manifest-path', path.join(root, 'tests/nvml/Cargo.toml'), '--target-dir', target]);
  await copyFile(path.join(target, 'debug/libnvidia_ml.so'), path.join(place, 'libnvidia-ml.so.1'));
  await writeFile(path.join(place, 'state'), told('used=0 temp=36 power=31000 plimit=300000', 'used=0 temp=34 power=30000 plimit=300000'));
  const asks = { train: '1', chat: '{count: 1, memory: 16Gi, share: memory}', search: '{count: 1, memory: 8Gi, share: memory}' };
  const manifests = Object.fromEntries(Object.entries(asks).map(([name, gpus]) => [`${name}.yaml`, app(name, `  gpus: ${gpus}\n`)]));
  const host = await Berth.start({ manifests, more: ['--nvml-library', path.join(place, 'libnvidia-ml.so.1')] });
  try {
    await until('three run', async () => (await Promise.all(Object.keys(asks).map(name => host.phase(name)))).every(phase => phase === 'Running'));
    await host.write('index.yaml', app('index', '  gpus: {count: 1, memory: 40Gi, share: memory}\n'));
    await writeFile(path.join(place, 'new'), told('used=23410 util=64 memutil=40 temp=61 power=212500 plimit=300000', 'used=41200 util=97 memutil=71 temp=74 power=287000 plimit=300000'));
    await rename(path.join(place, 'new'), path.join(place, 'state'));
    await until('one waits', async () => await host.phase('index') === 'Installed');
    await sleep(12_000);
    for (const look of looks) {
      const { page, keep, close } = await camera(...look);
      await page.goto(`${host.url}/ui/gpus`);
      await live(page);
      await keep('gpus');
      await close();
    }
  } finally {
    await host.stop();
    await rm(place, { recursive: true, force: true });
  }
}

try {
  await mkdir(folder, { recursive: true });
  await until('chat runs', async () => await berth.phase('chat') === 'Running', 90_000);
  await until('reports fail', async () => ['Failed', 'Degraded'].includes(await berth.phase('reports')), 90_000);
  for (const version of ['1.0', '1.1']) await fetch(`${berth.url}/models/vision/detector/${version}/weights.onnx`, { method: 'PUT', body: new Uint8Array(300_000).fill(version.length) });
  await fetch(`${berth.url}/api/v1/apps/search/restart`, { method: 'POST' });
  await sleep(Number(process.env.BERTH_SHOTS_WAIT ?? 45) * 1000);
  const text = (await berth.json('/api/v1/apps')).items.length && await berth.read('chat.yaml');
  const shots = [
    ['apps', '/'], ['app', '/ui/apps/chat'], ['app-failed', '/ui/apps/reports'], ['logs', '/ui/apps/chat/logs'], ['metrics', '/ui/apps/chat/metrics'],
    ['manifest', '/ui/apps/chat/manifest'], ['history', '/ui/apps/search/history'], ['remove', '/ui/apps/chat/confirm?do=remove'],
    ['register', '/ui/register'], ['plan', '/ui/plan'], ['models', '/ui/models'], ['host', '/ui/host'],
    ['events', '/ui/events'], ['audit', '/ui/audit'], ['settings', '/ui/settings'],
  ];
  if (!wanted || wanted.includes('gpus')) await cards();
  for (const [colorScheme, width] of looks) {
    const { page, keep, close } = await camera(colorScheme, width);
    for (const [name, at] of shots) {
      if (wanted && !wanted.includes(name)) continue;
      // All of them in light; of the others, those that differ most.
      if (!wanted && (colorScheme === 'dark' || width === 320) && !['apps', 'app', 'logs', 'metrics'].includes(name)) continue;
      await page.goto(berth.url + at);
      await live(page);
      if (name === 'manifest') {
        await page.getByLabel('The manifest of chat').fill(text.replace('256Mi', '512Mi'));
        await page.getByRole('button', { name: 'Show the difference' }).click();
        await page.locator('.diff').waitFor();
      }
      if (name === 'register') {
        const fields = { Name: 'shop', Repository: 'https://git.example.com/acme/shop.git', 'Start command': 'python app.py', Port: '7860' };
        for (const [label, value] of Object.entries(fields)) await page.getByLabel(label, { exact: true }).fill(value);
        await page.getByRole('button', { name: 'Show the manifest' }).click();
        await page.getByRole('button', { name: 'Register it' }).waitFor();
      }
      await live(page);
      await keep(name);
    }
    await close();
  }
} finally {
  await browser.close();
  for (const file of Object.keys(manifests)) await berth.drop(file).catch(() => {});
  await fetch(`${berth.url}/api/v1/rescan`, { method: 'POST' });
  await until('the brake asks', async () => (await berth.json('/api/v1/apps')).source.hold, 20_000).catch(() => {});
  await fetch(`${berth.url}/api/v1/confirm`, { method: 'POST' });
  await until('all is gone', async () => !(await berth.json('/api/v1/apps')).items.length, 60_000).catch(() => {});
  await berth.stop();
}
