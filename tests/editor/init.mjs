// What an editor shows of a manifest that `berth init` wrote: the language server reads its first
// line, finds the schema beside the file, finds mistakes, explains fields and completes names.
//
//   node tests/editor/init.mjs TOOL FOLDER    (with good.yaml and bad.yaml in the folder)
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Server } from './server.mjs';

const folder = resolve(process.argv[3]);
const server = await Server.start(process.argv[2], {}, pathToFileURL(folder).href);
const at = name => pathToFileURL(join(folder, name)).href;
const text = name => readFileSync(join(folder, name), 'utf8');

function hold(is, what) {
  if (!is) server.fail(`not so: ${what}`);
  console.log(`ok  ${what}`);
}

const good = text('good.yaml').split('\n');
const marks = await server.open(at('good.yaml'), good.join('\n'));
hold(marks.length === 0, `a good manifest has no remark: ${JSON.stringify(marks.map(one => one.message))}`);
const line = good.findIndex(one => one.startsWith('  run'));
const hover = await server.hover(at('good.yaml'), { line, character: 5 });
hold(JSON.stringify(hover).includes('command line'), `a field is explained: ${JSON.stringify(hover)}`);
const labels = await server.offered(at('good.yaml'), { line: good.length - 2, character: 2 });
hold(labels.includes('gpus') && labels.includes('mounts'), `fields are offered: ${labels.slice(0, 8).join(', ')}`);

const said = (await server.open(at('bad.yaml'), text('bad.yaml'))).map(one => `${one.range.start.line + 1}: ${one.message}`);
hold(said.some(one => one.includes('imagee')), `an unknown field is found: ${said.join(' | ')}`);
hold(said.some(one => /type|integer/i.test(one)), 'a wrong type is found');
server.stop();
