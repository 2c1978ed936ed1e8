// The screen of a terminal: what programs write to it, as rows of characters with classes for their
// colours. Nothing here touches a document, so a test can read what a person would see.
//
// It obeys what moves, erases, scrolls and colours. It swallows what a terminal could be asked
// beyond that (titles, links, clipboards, files), and answers three harmless questions: who it is,
// whether it is well, and where its cursor is.

const HELD_MAX = 256;
const TAB = 8;
// The lines and corners that programs draw boxes with.
const LINES = { j: '┘', k: '┐', l: '┌', m: '└', n: '┼', q: '─', t: '├', u: '┤', v: '┴', w: '┬', x: '│', a: '▒', f: '°', g: '±', o: '⎺', s: '⎽', '`': '◆', '~': '·', y: '≤', z: '≥', '{': 'π', '|': '≠', '}': '£' };
// Characters that take two places.
const WIDE = [[0x1100, 0x115f], [0x2e80, 0x303e], [0x3041, 0xa4cf], [0xac00, 0xd7a3], [0xf900, 0xfaff], [0xfe30, 0xfe6f], [0xff00, 0xff60], [0xffe0, 0xffe6], [0x1f300, 0x1f64f], [0x1f680, 0x1f6ff], [0x1f900, 0x1f9ff], [0x20000, 0x3fffd]];
const isWide = code => 0x1100 <= code && WIDE.some(([first, last]) => first <= code && code <= last);
// What is not seen by itself: it belongs to the character before, or turns the direction of text.
const JOINS = /^\p{M}$/u;
const HOSTILE = /^[\p{Cf}\p{Cc}\p{Co}\p{Cs}\u2028\u2029]$/u;

const PEN = { bold: false, faint: false, italic: false, line: false, inverse: false, hidden: false, ink: null, paper: null };
const blank = look => ({ text: ' ', look, width: 1 });

const nearest = (r, g, b) => (96 < r ? 1 : 0) | (96 < g ? 2 : 0) | (96 < b ? 4 : 0) | (200 < Math.max(r, g, b) ? 8 : 0);

// A colour out of 256, or of all, as the nearest of the sixteen.
function ofMany(codes) {
  const kind = codes.shift();
  if (kind === 5) {
    const code = codes.shift() ?? 0;
    if (code < 16) return code;
    if (code < 232) { const n = code - 16; return nearest(Math.floor(n / 36) * 51, Math.floor(n / 6) % 6 * 51, n % 6 * 51); }
    return code < 256 ? nearest(...Array(3).fill((code - 232) * 10)) : null;
  }
  if (kind === 2) return nearest(codes.shift() ?? 0, codes.shift() ?? 0, codes.shift() ?? 0);
  return null;
}

export class Screen {
  // `tell.answer` is given what the program is to read, `tell.gone` a row that left at the top.
  constructor(columns, rows, tell = {}) {
    Object.assign(this, { columns, rows, tell });
    this.reset();
  }

  reset() {
    this.pen = { ...PEN };
    this.look = '';
    Object.assign(this, { x: 0, y: 0, isFull: false, top: 0, bottom: this.rows - 1, saved: null, main: null });
    Object.assign(this, { sets: ['B', 'B'], set: 0, state: 'plain', held: '', last: ' ' });
    this.modes = { keys: false, wrap: true, cursor: true, paste: false, insert: false, origin: false };
    this.grid = Array.from({ length: this.rows }, () => this.empty());
    this.touchAll();
  }

  empty() { return Array.from({ length: this.columns }, () => blank(this.paper())); }
  paper() { return this.pen.paper === null ? '' : `p${this.pen.paper}`; }
  touchAll() { this.touched = new Set(Array.from({ length: this.rows }, (_, y) => y)); }
  touch() { this.touched.add(this.y); }

  // What was touched since this was asked last.
  taken() {
    const all = [...this.touched].filter(y => y < this.rows);
    this.touched = new Set();
    return all;
  }

  // A row, in pieces of one look each.
  row(y) { return Screen.pieces(this.grid[y]); }

  static pieces(cells) {
    const all = [];
    for (const { text, look, width } of cells) {
      if (!width) continue;
      const last = all.at(-1);
      if (last && last.look === look) last.text += text;
      else all.push({ look, text });
    }
    return all;
  }

  text(y) { return this.grid[y].map(cell => cell.width ? cell.text : '').join('').trimEnd(); }

  resize(columns, rows) {
    if (columns === this.columns && rows === this.rows) return;
    for (const grid of [this.grid, this.main?.grid].filter(Boolean)) {
      for (const row of grid) {
        row.length = Math.min(row.length, columns);
        while (row.length < columns) row.push(blank(''));
      }
      const isShown = grid === this.grid;
      while (rows < grid.length) {
        // What is below the cursor goes first; then the oldest does.
        if (!isShown || this.y < grid.length - 1) { grid.pop(); continue; }
        const gone = grid.shift();
        if (!this.main) this.tell.gone?.(Screen.pieces(gone));
        this.y -= 1;
      }
      while (grid.length < rows) grid.push(Array.from({ length: columns }, () => blank('')));
    }
    Object.assign(this, { columns, rows, top: 0, bottom: rows - 1, isFull: false });
    this.x = Math.min(this.x, columns - 1);
    this.y = Math.max(0, Math.min(this.y, rows - 1));
    this.touchAll();
  }

  write(text) { for (const c of text) this[this.state](c); }

  // --- reading, one character at a time ---

  plain(c) {
    const code = c.codePointAt(0);
    if (code < 0x20 || code === 0x7f) this.steer(c);
    else if (0x80 <= code && code < 0xa0) return;
    else this.put(c, code);
  }

  steer(c) {
    switch (c) {
      case '\x1b': this.state = 'escape'; break;
      case '\b': this.x = Math.max(0, this.x - 1); this.isFull = false; break;
      case '\t': this.x = Math.min(this.columns - 1, (Math.floor(this.x / TAB) + 1) * TAB); break;
      case '\n': case '\v': case '\f': this.feed(); break;
      case '\r': this.x = 0; this.isFull = false; break;
      case '\x0e': this.set = 1; break;
      case '\x0f': this.set = 0; break;
      case '\x07': this.tell.bell?.(); break;
      default: return;
    }
    this.touch();
  }

  escape(c) {
    this.state = 'plain';
    switch (c) {
      case '[': this.held = ''; this.state = 'control'; break;
      case ']': case 'P': case 'X': case '^': case '_': this.state = 'swallow'; break;
      case '(': this.charset = 0; this.state = 'choose'; break;
      case ')': this.charset = 1; this.state = 'choose'; break;
      case '*': case '+': case '#': case '%': case ' ': this.charset = null; this.state = 'choose'; break;
      case '7': this.save(); break;
      case '8': this.restore(); break;
      case 'D': this.feed(); break;
      case 'E': this.x = 0; this.feed(); break;
      case 'M': this.back(); break;
      case 'c': this.reset(); break;
      case '\x1b': this.state = 'escape'; break;
      default: break;
    }
  }

  choose(c) {
    if (this.charset !== null) this.sets[this.charset] = c;
    this.state = 'plain';
  }

  // A text for the terminal itself: it ends with a bell, or with ESC and a backslash.
  swallow(c) {
    if (c === '\x07' || c === '\x18' || c === '\x1a') this.state = 'plain';
    else if (c === '\x1b') this.state = 'escape';
  }

  control(c) {
    const code = c.codePointAt(0);
    if (code === 0x18 || code === 0x1a) this.state = 'plain';
    else if (code < 0x20) this.steer(c);
    else if (0x40 <= code && code <= 0x7e) { this.state = 'plain'; this.obey(c); }
    else if (0x7e < code || HELD_MAX < this.held.length) this.state = 'plain';
    else this.held += c;
  }

  // --- doing ---

  put(c, code) {
    if (JOINS.test(c)) {
      const before = this.grid[this.y][this.isFull ? this.x : Math.max(0, this.x - 1)];
      if (before.text.length < 16) before.text += c;
      return this.touch();
    }
    if (HOSTILE.test(c)) return;
    const width = isWide(code) ? 2 : 1;
    if (this.isFull && this.modes.wrap) { this.x = 0; this.feed(); }
    if (this.columns < this.x + width) {
      if (!this.modes.wrap || this.columns < width) return;
      this.x = 0;
      this.feed();
    }
    this.isFull = false;
    const text = this.sets[this.set] === '0' ? LINES[c] ?? c : c;
    const row = this.grid[this.y];
    if (this.modes.insert) { row.splice(this.x, 0, ...Array.from({ length: width }, () => blank(''))); row.length = this.columns; }
    // Half of a wide character that is written over leaves nothing behind.
    if (row[this.x].width === 0 && this.x) row[this.x - 1] = blank(row[this.x - 1].look);
    const over = this.x + width;
    if (over < this.columns && row[over].width === 0) row[over] = blank(row[over].look);
    row[this.x] = { text: this.pen.hidden ? ' '.repeat(width) : text, look: this.look, width };
    if (width === 2) row[this.x + 1] = { text: '', look: this.look, width: 0 };
    this.last = c;
    this.touch();
    if (over < this.columns) this.x = over;
    else { this.x = this.columns - 1; this.isFull = true; }
  }

  feed() {
    this.touch();
    this.isFull = false;
    if (this.y === this.bottom) this.up(1);
    else this.y = Math.min(this.rows - 1, this.y + 1);
    this.touch();
  }

  back() {
    this.touch();
    this.isFull = false;
    if (this.y === this.top) this.down(1);
    else this.y = Math.max(0, this.y - 1);
    this.touch();
  }

  up(count, from = this.top) {
    for (let n = Math.min(count, this.bottom - from + 1); 0 < n; n--) {
      const [gone] = this.grid.splice(from, 1);
      this.grid.splice(this.bottom, 0, this.empty());
      if (from === 0 && !this.main) this.tell.gone?.(Screen.pieces(gone));
    }
    this.touchAll();
  }

  down(count, from = this.top) {
    for (let n = Math.min(count, this.bottom - from + 1); 0 < n; n--) {
      this.grid.splice(this.bottom, 1);
      this.grid.splice(from, 0, this.empty());
    }
    this.touchAll();
  }

  save() { this.saved = { x: this.x, y: this.y, pen: { ...this.pen }, sets: [...this.sets], set: this.set }; }

  restore() {
    const { x, y, pen, sets, set } = this.saved ?? { x: 0, y: 0, pen: PEN, sets: ['B', 'B'], set: 0 };
    Object.assign(this, { pen: { ...pen }, sets: [...sets], set });
    this.draw();
    this.go(x, y);
  }

  go(x, y) {
    this.touch();
    this.x = Math.max(0, Math.min(this.columns - 1, x));
    this.y = Math.max(0, Math.min(this.rows - 1, y));
    this.isFull = false;
    this.touch();
  }

  // Where a program that counts within its region means.
  place(x, y) {
    if (!this.modes.origin) return this.go(x, y);
    this.go(x, Math.min(this.bottom, this.top + y));
  }

  erase(y, from, to) {
    const row = this.grid[y];
    for (let x = Math.max(0, from); x < Math.min(to, this.columns); x++) row[x] = blank(this.paper());
    this.touched.add(y);
  }

  obey(final) {
    const read = /^([<=>?]?)([\d;:]*)([ -/]*)$/.exec(this.held);
    if (!read) return;
    const [, mark, numbers, between] = read;
    const all = numbers.split(/[;:]/).map(text => Math.min(Number.parseInt(text, 10) || 0, 9999));
    if (between === '!' && final === 'p') return this.soften();
    if (between) return;
    if (mark === '?' && (final === 'h' || final === 'l')) return all.forEach(mode => this.mode(mode, final === 'h'));
    if (mark && !(mark === '?' && (final === 'J' || final === 'K'))) {
      if (mark === '>' && final === 'c') this.tell.answer?.('\x1b[>0;0;0c');
      return;
    }
    if ('ABCDEFGHZI`adef'.includes(final)) return this.move(final, all);
    this.change(final, all);
  }

  move(final, all) {
    const n = Math.max(1, all[0]);
    const [low, high] = [this.y < this.top ? 0 : this.top, this.bottom < this.y ? this.rows - 1 : this.bottom];
    switch (final) {
      case 'A': return this.go(this.x, Math.max(low, this.y - n));
      case 'B': case 'e': return this.go(this.x, Math.min(high, this.y + n));
      case 'C': case 'a': return this.go(this.x + n, this.y);
      case 'D': return this.go(this.x - n, this.y);
      case 'E': return this.go(0, Math.min(high, this.y + n));
      case 'F': return this.go(0, Math.max(low, this.y - n));
      case 'G': case '`': return this.go(n - 1, this.y);
      case 'd': return this.place(this.x, n - 1);
      case 'I': return this.go((Math.floor(this.x / TAB) + n) * TAB, this.y);
      case 'Z': return this.go((Math.ceil(this.x / TAB) - n) * TAB, this.y);
      default: return this.place(Math.max(1, all[1] ?? 1) - 1, n - 1);
    }
  }

  change(final, all) {
    const n = Math.max(1, all[0]);
    const row = this.grid[this.y];
    const within = this.top <= this.y && this.y <= this.bottom;
    switch (final) {
      case 'J': return this.clear(all[0]);
      case 'K': this.isFull = false; return this.erase(this.y, all[0] === 0 ? this.x : 0, all[0] === 1 ? this.x + 1 : this.columns);
      case 'X': return this.erase(this.y, this.x, this.x + n);
      case '@': row.splice(this.x, 0, ...Array.from({ length: Math.min(n, this.columns) }, () => blank(this.paper()))); row.length = this.columns; return this.touch();
      case 'P': row.splice(this.x, n); while (row.length < this.columns) row.push(blank(this.paper())); return this.touch();
      case 'L': return within && this.down(n, this.y);
      case 'M': return within && this.upFrom(n);
      case 'S': return this.up(n);
      case 'T': return this.down(n);
      case 'b': for (let i = Math.min(n, this.columns * this.rows); 0 < i; i--) this.put(this.last, this.last.codePointAt(0)); return;
      case 'm': return this.paint(all);
      case 'r': return this.region(all[0], all[1] ?? 0);
      case 's': return this.save();
      case 'u': return this.restore();
      case 'h': case 'l': if (all.includes(4)) this.modes.insert = final === 'h'; return;
      case 'c': return this.tell.answer?.('\x1b[?1;2c');
      case 'n':
        if (all[0] === 5) this.tell.answer?.('\x1b[0n');
        if (all[0] === 6) this.tell.answer?.(`\x1b[${this.y + 1};${this.x + 1}R`);
        return;
      default: return;
    }
  }

  // Rows that a program deletes were not read to the end: they are not kept.
  upFrom(count) {
    const gone = this.tell.gone;
    this.tell.gone = null;
    this.up(count, this.y);
    this.tell.gone = gone;
  }

  clear(which) {
    const below = which === 0 ? this.y + 1 : 0;
    const above = which === 1 ? this.y : this.rows;
    if (which === 0) this.erase(this.y, this.x, this.columns);
    if (which === 1) this.erase(this.y, 0, this.x + 1);
    for (let y = below; y < above; y++) this.erase(y, 0, this.columns);
    this.isFull = false;
  }

  region(first, last) {
    const top = Math.max(1, first) - 1;
    const bottom = (last || this.rows) - 1;
    if (bottom <= top || this.rows <= bottom) return;
    Object.assign(this, { top, bottom });
    this.place(0, 0);
  }

  soften() {
    Object.assign(this.modes, { keys: false, wrap: true, cursor: true, insert: false, origin: false });
    Object.assign(this, { top: 0, bottom: this.rows - 1, sets: ['B', 'B'], set: 0, pen: { ...PEN } });
    this.draw();
  }

  mode(mode, isOn) {
    switch (mode) {
      case 1: this.modes.keys = isOn; break;
      case 6: this.modes.origin = isOn; this.place(0, 0); break;
      case 7: this.modes.wrap = isOn; break;
      case 25: this.modes.cursor = isOn; this.touch(); break;
      case 2004: this.modes.paste = isOn; break;
      case 47: case 1047: this.other(isOn); break;
      case 1048: isOn ? this.save() : this.restore(); break;
      case 1049:
        if (isOn) this.save();
        this.other(isOn);
        if (!isOn) this.restore();
        break;
      default: break;
    }
  }

  // The second screen, which whole-screen programs draw on; the first comes back as it was.
  other(isOn) {
    if (isOn === Boolean(this.main)) return;
    if (isOn) {
      this.main = { grid: this.grid };
      this.grid = Array.from({ length: this.rows }, () => this.empty());
    } else {
      this.grid = this.main.grid;
      this.main = null;
    }
    Object.assign(this, { top: 0, bottom: this.rows - 1 });
    this.touchAll();
  }

  paint(all) {
    const codes = [...all];
    const pen = this.pen;
    while (codes.length) {
      const code = codes.shift();
      if (code === 0) Object.assign(pen, PEN);
      else if (code === 1) pen.bold = true;
      else if (code === 2) pen.faint = true;
      else if (code === 3) pen.italic = true;
      else if (code === 4) pen.line = true;
      else if (code === 7) pen.inverse = true;
      else if (code === 8) pen.hidden = true;
      else if (code === 22) pen.bold = pen.faint = false;
      else if (code === 23) pen.italic = false;
      else if (code === 24) pen.line = false;
      else if (code === 27) pen.inverse = false;
      else if (code === 28) pen.hidden = false;
      else if (30 <= code && code <= 37) pen.ink = code - 30;
      else if (90 <= code && code <= 97) pen.ink = code - 82;
      else if (40 <= code && code <= 47) pen.paper = code - 40;
      else if (100 <= code && code <= 107) pen.paper = code - 92;
      else if (code === 39) pen.ink = null;
      else if (code === 49) pen.paper = null;
      else if (code === 38) pen.ink = ofMany(codes);
      else if (code === 48) pen.paper = ofMany(codes);
    }
    this.draw();
  }

  draw() {
    const { bold, faint, italic, line, inverse, ink, paper } = this.pen;
    const all = [];
    if (bold) all.push('ab');
    if (faint) all.push('af');
    if (italic) all.push('ai');
    if (line) all.push('au');
    if (inverse) all.push(`p${ink ?? 7}`);
    else {
      if (ink !== null) all.push(`a${ink}`);
      if (paper !== null) all.push(`p${paper}`);
    }
    this.look = all.join(' ');
  }
}

// --- keys ---

const PLAIN = { Enter: '\r', Tab: '\t', Backspace: '\x7f', Escape: '\x1b', Delete: '\x1b[3~', Insert: '\x1b[2~', PageUp: '\x1b[5~', PageDown: '\x1b[6~',
  F1: '\x1bOP', F2: '\x1bOQ', F3: '\x1bOR', F4: '\x1bOS', F5: '\x1b[15~', F6: '\x1b[17~', F7: '\x1b[18~', F8: '\x1b[19~', F9: '\x1b[20~', F10: '\x1b[21~', F11: '\x1b[23~', F12: '\x1b[24~' };
const ARROWS = { ArrowUp: 'A', ArrowDown: 'B', ArrowRight: 'C', ArrowLeft: 'D', Home: 'H', End: 'F' };

// What a key writes; null for one that is left to the browser.
export function keyOf({ key, ctrlKey, altKey, shiftKey, metaKey }, isApp = false) {
  if (metaKey) return null;
  const around = (shiftKey ? 1 : 0) + (altKey ? 2 : 0) + (ctrlKey ? 4 : 0);
  if (ARROWS[key]) {
    if (around) return `\x1b[1;${around + 1}${ARROWS[key]}`;
    return `\x1b${isApp ? 'O' : '['}${ARROWS[key]}`;
  }
  if (key === 'Tab' && shiftKey) return '\x1b[Z';
  if (PLAIN[key]) return altKey && PLAIN[key].length === 1 ? `\x1b${PLAIN[key]}` : PLAIN[key];
  if ([...key].length !== 1) return null;
  // With both, a letter is chosen by the keyboard itself (AltGr).
  if (ctrlKey && !altKey) {
    // Copy and paste.
    if (shiftKey && /^[cv]$/i.test(key)) return null;
    if (key === ' ' || key === '@') return '\0';
    const code = key.toUpperCase().charCodeAt(0);
    if (key === '?') return '\x7f';
    return 0x41 <= code && code <= 0x5f ? String.fromCharCode(code - 64) : null;
  }
  if (altKey && !ctrlKey) return `\x1b${key}`;
  return null;
}
