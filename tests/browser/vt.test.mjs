// The screen of a terminal: what a person would see of what programs write. No browser is needed.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

const source = await readFile(new URL('../../src/server/assets/vt.js', import.meta.url), 'utf8');
const { Screen, keyOf } = await import(`data:text/javascript;base64,${Buffer.from(source).toString('base64')}`);

function show(text, columns = 20, rows = 4) {
  const answers = [];
  const gone = [];
  const screen = new Screen(columns, rows, { answer: said => answers.push(said), gone: row => gone.push(row.map(piece => piece.text).join('').trimEnd()) });
  screen.write(text);
  return { screen, answers, gone, lines: Array.from({ length: rows }, (_, y) => screen.text(y)) };
}

test('lines wrap, scroll and are kept', () => {
  assert.deepEqual(show('one\r\ntwo').lines, ['one', 'two', '', '']);
  assert.deepEqual(show('abcdefgh', 5, 2).lines, ['abcde', 'fgh']);
  // The last column is written before the next line begins.
  assert.deepEqual(show('abcde\r\nf', 5, 3).lines, ['abcde', 'f', '']);
  const { lines, gone } = show('1\r\n2\r\n3\r\n4\r\n5', 5, 3);
  assert.deepEqual([lines, gone], [['3', '4', '5'], ['1', '2']]);
  assert.deepEqual(show('a\tb', 20).lines[0], 'a       b');
  assert.deepEqual(show('abc\b\bX').lines[0], 'aXc');
  assert.deepEqual(show('10%\r100%').lines[0], '100%');
});

test('the cursor moves, and what it passes is erased', () => {
  assert.deepEqual(show('\x1b[2;3Hx\x1b[Hy').lines, ['y', '  x', '', '']);
  assert.deepEqual(show('abcdef\x1b[3D\x1b[K').lines[0], 'abc');
  assert.deepEqual(show('abcdef\x1b[3D\x1b[1K').lines[0], '    ef');
  assert.deepEqual(show('one\r\ntwo\x1b[2J').lines, ['', '', '', '']);
  assert.deepEqual(show('abc\x1b[1;2H\x1b[2@').lines[0], 'a  bc');
  assert.deepEqual(show('abcdef\x1b[1;2H\x1b[2P').lines[0], 'adef');
  assert.deepEqual(show('1\r\n2\r\n3\x1b[2;1H\x1b[L').lines, ['1', '', '2', '3']);
  assert.deepEqual(show('1\r\n2\r\n3\x1b[1;1H\x1b[M').lines, ['2', '3', '', '']);
  assert.deepEqual(show('ab\x1b[3b').lines[0], 'abbbb');
});

test('a region scrolls by itself', () => {
  const { lines, gone } = show('top\r\n1\r\n2\r\nend\x1b[2;3r\x1b[3;1H\n3', 10, 4);
  assert.deepEqual([lines, gone], [['top', '2', '3', 'end'], []]);
  assert.deepEqual(show('1\r\n2\x1b[1;1H\x1bM').lines, ['', '1', '2', '']);
});

test('the second screen comes and goes', () => {
  const { screen, gone } = show('shell$ vi\x1b[?1049h\x1b[Heditor\r\n\r\n\r\n\r\n\r\n', 20, 3);
  assert.equal(screen.text(0), '');
  assert.deepEqual(gone, [], 'nothing of it is kept');
  screen.write('\x1b[?1049l!');
  assert.equal(screen.text(0), 'shell$ vi!');
});

test('colours are classes', () => {
  const { screen } = show('a\x1b[1;31mred\x1b[0m \x1b[38;5;196mx\x1b[48;2;0;0;255my\x1b[m\x1b[7mz', 12);
  const pieces = screen.row(0).map(({ look, text }) => [look, text]);
  assert.deepEqual(pieces.slice(0, 6), [['', 'a'], ['ab a1', 'red'], ['', ' '], ['a9', 'x'], ['a9 p12', 'y'], ['p7', 'z']]);
});

test('wide and joined characters keep their places', () => {
  const { screen } = show('日本e\u0301x', 10);
  assert.equal(screen.text(0), '日本e\u0301x');
  assert.equal(screen.x, 6);
  assert.deepEqual(show('abc日', 4, 2).lines, ['abc', '日']);
  assert.deepEqual(show('日\x1b[1;2Hx', 5).lines[0], ' x');
  assert.deepEqual(show('\x1b(0lqk\x1b(B', 5).lines[0], '┌─┐');
});

test('nothing else is obeyed, and nothing hostile is shown', () => {
  const quiet = ['\x1b]0;title\x07', '\x1b]52;c;aGk=\x1b\\', '\x1b]8;;http://evil\x1b\\', '\x1bP+q544e\x1b\\', '\x1b_x\x1b\\', '\x1b[?1000h', '\x1b[5i', '\x1b[21t', '\x1b[99999999999m',
    '\u202e', '\u200b', '\u2066', '\x9b31m'.slice(0, 1), '\0', '\x7f'];
  for (const one of quiet) {
    const { lines, answers } = show(`a${one}b`);
    assert.deepEqual([lines[0], answers], ['ab', []], JSON.stringify(one));
  }
  const long = show(`a\x1b[${'1;'.repeat(10_000)}mb`);
  assert.ok(long.lines.join('').length <= 80);
  assert.deepEqual(show('\x1b[6n\x1b[5n\x1b[c', 20).answers, ['\x1b[1;1R', '\x1b[0n', '\x1b[?1;2c']);
  // Whatever comes, it goes on.
  let seed = 1;
  const next = () => (seed = seed * 16807 % 2147483647);
  const { screen } = show('', 7, 3);
  for (let n = 0; n < 20_000; n++) screen.write(['\x1b', '[', '?', ';', 'H', 'r', 'J', 'L', '日', 'a', '\n', '\r', '7', '8', 'c', '9', '0', 'P', '@', 'S', 'T', 'h', 'l', '1049', '\x1b[', 'm'][next() % 26]);
  assert.ok(screen.grid.every(row => row.length === 7) && screen.grid.length === 3, 'it keeps its shape');
  for (const [columns, rows] of [[3, 1], [40, 9], [1, 2], [7, 3]]) {
    screen.resize(columns, rows);
    screen.write('x日\r\n\x1b[99;99Hy');
    assert.ok(screen.grid.every(row => row.length === columns) && screen.grid.length === rows, `${columns} by ${rows}`);
  }
});

test('keys write what programs read, and the browser keeps its own', () => {
  const key = (name, more = {}, isApp = false) => keyOf({ key: name, ctrlKey: false, altKey: false, shiftKey: false, metaKey: false, ...more }, isApp);
  assert.deepEqual(['Enter', 'Backspace', 'Escape', 'Tab', 'ArrowUp', 'Delete', 'F5'].map(name => key(name)), ['\r', '\x7f', '\x1b', '\t', '\x1b[A', '\x1b[3~', '\x1b[15~']);
  assert.equal(key('ArrowUp', {}, true), '\x1bOA');
  assert.equal(key('ArrowRight', { ctrlKey: true }), '\x1b[1;5C');
  assert.deepEqual(['c', 'd', '[', ' ', '\\'].map(name => key(name, { ctrlKey: true })), ['\x03', '\x04', '\x1b', '\0', '\x1c']);
  assert.equal(key('b', { altKey: true }), '\x1bb');
  assert.equal(key('Tab', { shiftKey: true }), '\x1b[Z');
  for (const [name, more] of [['a', {}], ['V', { ctrlKey: true, shiftKey: true }], ['r', { metaKey: true }], ['@', { ctrlKey: true, altKey: true }], ['Shift', { shiftKey: true }], ['Dead', {}]]) assert.equal(key(name, more), null, name);
});
