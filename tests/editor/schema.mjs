// Good documents are left alone, mistakes are marked on their line, and fields are offered.
//
//   node tests/editor/schema.mjs TOOL    (with schema.json in it)
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Server } from './server.mjs';

const tool = process.argv[2];
const server = await Server.start(tool, { schemas: { [pathToFileURL(join(tool, 'schema.json')).href]: ['*.yaml'] } });
const at = name => `file:///manifests/${name}`;

const app = 'apiVersion: berth/v1\nkind: App\nmetadata: {name: a}\nspec:\n  image: a\n';
const secret = 'apiVersion: berth/v1\nkind: Secret\nmetadata: {name: db}\nspec:\n  folder: db\n';
const good = { 'app.yaml': app, 'secret.yaml': secret, 'both.yaml': `${app}---\n${secret}` };
for (const folder of ['manifests', 'examples']) {
  for (const file of readdirSync(folder, { recursive: true }).map(String)) {
    if (!file.endsWith('.yaml')) continue;
    const text = readFileSync(join(folder, file), 'utf8');
    if (text.includes('apiVersion: berth/v1')) good[`${folder}-${file.replaceAll('/', '-')}`] = text;
  }
}
for (const [name, text] of Object.entries(good)) {
  const all = await server.open(at(name), text);
  if (all.length !== 0) server.fail(`${name} is marked:\n${JSON.stringify(all, null, 1)}`);
}

const bad = {
  'typo.yaml': [`${app}  imagee: b\n`, 5],
  'type.yaml': [`${app}  port: [1]\n`, 5],
  'kind.yaml': [app.replace('App', 'Job'), 1],
  'value.yaml': [secret.replace('folder: db', 'value: s3cret'), 4],
  'mixed.yaml': [secret.replace('folder: db', 'image: a'), 4],
  'second.yaml': [`${app}---\n${secret.replace('folder: db', 'folders: db')}`, 10],
};
for (const [name, [text, line]] of Object.entries(bad)) {
  const all = await server.open(at(name), text);
  if (!all.some(mark => mark.range.start.line === line)) {
    server.fail(`${name}: line ${line} is not marked:\n${JSON.stringify(all, null, 1)}`);
  }
}

const places = [
  ['in-app.yaml', `${app}  \n`, 5, 2, ['health', 'gpus', 'ports']],
  ['in-secret.yaml', secret.replace('folder: db', 'f'), 4, 3, ['folder', 'age', 'sops']],
  ['in-kind.yaml', 'apiVersion: berth/v1\nkind: \n', 1, 6, ['App', 'Secret']],
];
for (const [name, text, line, character, wanted] of places) {
  await server.open(at(name), text);
  const labels = await server.offered(at(name), { line, character });
  for (const label of wanted) {
    if (!labels.includes(label)) server.fail(`${name}: \`${label}\` is not offered: ${labels}`);
  }
}
console.log(`${Object.keys(good).length} good documents, ${Object.keys(bad).length} bad ones, ${places.length} places`);
server.stop();
