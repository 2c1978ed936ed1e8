// A terminal in the container of an app: a websocket, a screen, and a field that keys go to.

import { Screen, keyOf } from './vt.js';

const INPUT = 0;
const STATUS = 3;
const RESIZE = 4;
const PAST_MAX = 2000;
const PIECE = 64 * 1024;
const HEARD_MAX = 40;

function make(tag, attributes, parent, text) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  parent?.append(node);
  return node;
}

function draw(row, pieces, cursor = -1) {
  const nodes = [];
  let at = 0;
  for (const { look, text } of pieces) {
    const all = [...text];
    const here = cursor - at;
    const parts = 0 <= here && here < all.length ? [all.slice(0, here), [all[here]], all.slice(here + 1)] : [all];
    parts.forEach((part, nth) => {
      if (!part.length) return;
      const span = document.createElement('span');
      span.className = nth === 1 ? `${look} cursor`.trim() : look;
      span.textContent = part.join('');
      nodes.push(span);
    });
    at += all.length;
  }
  row.replaceChildren(...nodes);
}

// What is around the screen, and what a person does with it.
function furnish(place) {
  const app = place.dataset.app;
  const form = make('form', { class: 'tools logtools', 'data-plain': '' }, place);
  const label = make('label', {}, form, 'Command ');
  const command = make('input', { name: 'command', size: '24', placeholder: 'a shell', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false' }, label);
  const open = make('button', { type: 'submit', class: 'primary' }, form, 'Open a terminal');
  const close = make('button', { type: 'button', hidden: '' }, form, 'Close it');
  const status = make('span', { role: 'status', class: 'small' }, form);
  const frame = make('div', { class: 'term', role: 'group', 'aria-label': `Terminal of ${app}`, hidden: '' }, place);
  const past = make('div', { class: 'past' }, frame);
  const rows = make('div', { class: 'rows', 'aria-hidden': 'true' }, frame);
  const keys = make('textarea', { class: 'keys-in', rows: '1', 'aria-label': `Keys for the terminal of ${app}`, 'aria-describedby': 'term-help', autocomplete: 'off', autocapitalize: 'off', autocorrect: 'off', spellcheck: 'false' }, frame);
  const said = make('div', { class: 'hide', role: 'log', 'aria-label': `What the terminal of ${app} writes` }, place);
  const help = make('p', { class: 'small faint', id: 'term-help' }, place);
  help.append('All keys go to the program. ', make('kbd', {}, null, 'Ctrl'), ' ', make('kbd', {}, null, 'F6'), ' leaves the terminal, ', make('kbd', {}, null, 'Shift'), ' ', make('kbd', {}, null, 'PageUp'), ' scrolls back, ',
    make('kbd', {}, null, 'Ctrl'), ' ', make('kbd', {}, null, 'Shift'), ' ', make('kbd', {}, null, 'V'), ' pastes.');
  return { app, form, command, open, close, status, frame, past, rows, keys, said };
}

// How many characters fit.
function measure({ frame, rows }) {
  const probe = make('span', { class: 'probe' }, rows, 'M'.repeat(20));
  const box = probe.getBoundingClientRect();
  probe.remove();
  const style = getComputedStyle(frame);
  const inner = (all, ...sides) => all - sides.reduce((sum, side) => sum + Number.parseFloat(style[side]), 0);
  const within = (value, low, high) => Math.max(low, Math.min(high, Math.floor(value)));
  const columns = within(inner(frame.clientWidth, 'paddingLeft', 'paddingRight') / (box.width / 20 || 8), 20, 400);
  const height = within(inner(frame.clientHeight, 'paddingTop', 'paddingBottom') / (box.height || 16), 5, 200);
  return { columns, rows: height };
}

class Terminal {
  constructor(parts) {
    this.parts = parts;
    this.socket = null;
    this.lines = [];
    this.isDue = false;
    this.heard = new Set();
    this.decoder = new TextDecoder();
    this.screen = null;
    this.end = null;
  }

  tell(text) { this.parts.status.textContent = text; }

  async open() {
    const { app, command, frame, open, close, past, rows, said, keys } = this.parts;
    open.disabled = true;
    this.tell('opening…');
    frame.hidden = false;
    past.replaceChildren();
    rows.replaceChildren();
    said.replaceChildren();
    this.lines = [];
    const size = measure(this.parts);
    this.screen = new Screen(size.columns, size.rows, { answer: text => this.send(INPUT, text), gone: row => this.keep(row) });
    this.decoder = new TextDecoder();
    this.end = null;
    const line = command.value.trim();
    const order = { command: line ? ['sh', '-c', line] : [], tty: true, cols: size.columns, rows: size.rows };
    try {
      const answer = await fetch(`/api/v1/apps/${encodeURIComponent(app)}/terminal`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(order) });
      const told = await answer.json().catch(() => ({}));
      if (!answer.ok) throw new Error(told.detail ?? `Berth answered ${answer.status}`);
      this.connect(told);
    } catch (error) {
      this.tell(`No terminal: ${error.message}`);
      open.disabled = false;
      frame.hidden = true;
      return;
    }
    close.hidden = false;
    this.draw();
    keys.focus();
  }

  connect({ path, protocol }) {
    const url = new URL(path, location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, protocol);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => this.tell('open');
    socket.onmessage = ({ data }) => this.take(new Uint8Array(data));
    socket.onclose = () => this.closed();
    this.socket = socket;
  }

  take(bytes) {
    const rest = bytes.subarray(1);
    if (bytes[0] === STATUS) {
      this.end = JSON.parse(new TextDecoder().decode(rest));
      return;
    }
    this.screen.write(this.decoder.decode(rest, { stream: true }));
    for (const y of this.screen.touched) this.heard.add(y);
    this.soon();
    this.read();
  }

  closed() {
    const { open, close } = this.parts;
    this.socket = null;
    const end = this.end;
    const code = end?.details?.causes?.find(cause => cause.reason === 'ExitCode')?.message;
    if (!end) this.tell('The connection was lost.');
    else if (end.status === 'Success') this.tell('The command ended.');
    else if (code) this.tell(`The command ended with ${code}.`);
    else this.tell(`Ended: ${end.message}.`);
    open.textContent = 'Open another terminal';
    open.disabled = false;
    const hadFocus = this.parts.frame.contains(document.activeElement) || document.activeElement === close;
    close.hidden = true;
    this.draw();
    if (hadFocus) open.focus();
  }

  send(channel, text) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length; at += PIECE) {
      const part = bytes.subarray(at, at + PIECE);
      const message = new Uint8Array(part.length + 1);
      message[0] = channel;
      message.set(part, 1);
      this.socket.send(message);
    }
  }

  // A row that left the screen at the top.
  keep(pieces) {
    const { past } = this.parts;
    const row = make('div', { class: 'r' }, past);
    draw(row, pieces);
    while (PAST_MAX < past.children.length) past.firstElementChild.remove();
  }

  soon() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => { this.isDue = false; this.draw(); });
  }

  draw() {
    const { frame, rows, past } = this.parts;
    const screen = this.screen;
    const isAtEnd = frame.scrollHeight - frame.scrollTop - frame.clientHeight < 40;
    past.hidden = Boolean(screen.main);
    while (this.lines.length < screen.rows) this.lines.push(make('div', { class: 'r' }, rows));
    while (screen.rows < this.lines.length) this.lines.pop().remove();
    const touched = new Set(screen.taken());
    if (this.cursorRow !== undefined) touched.add(this.cursorRow);
    this.cursorRow = screen.y;
    touched.add(screen.y);
    const isShown = screen.modes.cursor && this.socket;
    for (const y of touched) {
      if (this.lines.length <= y) continue;
      // Columns count places; what is drawn counts characters, of which some take two.
      const before = screen.grid[y].slice(0, screen.x).reduce((sum, cell) => sum + (cell.width ? [...cell.text].length : 0), 0);
      draw(this.lines[y], screen.row(y), y === screen.y && isShown ? before : -1);
    }
    if (isAtEnd) frame.scrollTop = frame.scrollHeight;
  }

  // Who does not see the screen hears what was written, once it is quiet.
  read() {
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => {
      const lines = [...this.heard].sort((a, b) => a - b).filter(y => y < this.screen.rows).map(y => this.screen.text(y)).filter(Boolean);
      this.heard.clear();
      if (this.screen.main || !lines.length) return;
      const { said } = this.parts;
      for (const line of lines.slice(-10)) make('div', {}, said, line);
      while (HEARD_MAX < said.children.length) said.firstElementChild.remove();
    }, 400);
  }

  resize() {
    if (!this.socket || this.parts.frame.hidden) return;
    const size = measure(this.parts);
    if (size.columns === this.screen.columns && size.rows === this.screen.rows) return;
    this.screen.resize(size.columns, size.rows);
    this.send(RESIZE, JSON.stringify({ Width: size.columns, Height: size.rows }));
    this.soon();
  }

  paste(text) {
    const plain = text.replace(/\r\n?|\n/g, '\r').replaceAll('\x1b', '');
    this.send(INPUT, this.screen.modes.paste ? `\x1b[200~${plain}\x1b[201~` : plain);
  }

  key(event) {
    const { frame, close } = this.parts;
    if (event.key === 'F6' && event.ctrlKey) {
      event.preventDefault();
      close.focus();
      return;
    }
    if (event.shiftKey && /^Page(Up|Down)$/.test(event.key)) {
      event.preventDefault();
      frame.scrollTop += (event.key === 'PageUp' ? -0.9 : 0.9) * frame.clientHeight;
      return;
    }
    if (event.isComposing || !this.socket) return;
    // What is marked is copied, as everywhere; else the program is interrupted.
    const chosen = document.getSelection();
    if (event.ctrlKey && event.key === 'c' && chosen && !chosen.isCollapsed && frame.contains(chosen.anchorNode)) return;
    const text = keyOf(event, this.screen.modes.keys);
    if (text === null) return;
    event.preventDefault();
    frame.scrollTop = frame.scrollHeight;
    this.send(INPUT, text);
  }
}

export function begin() {
  const parts = furnish(document.getElementById('terminal'));
  const terminal = new Terminal(parts);
  const { form, close, frame, keys } = parts;
  form.addEventListener('submit', event => { event.preventDefault(); terminal.open(); });
  close.addEventListener('click', () => terminal.socket?.close());
  keys.addEventListener('keydown', event => terminal.key(event));
  keys.addEventListener('input', event => {
    if (event.isComposing) return;
    terminal.send(INPUT, keys.value);
    keys.value = '';
  });
  keys.addEventListener('compositionend', () => { terminal.send(INPUT, keys.value); keys.value = ''; });
  keys.addEventListener('paste', event => {
    event.preventDefault();
    if (terminal.socket) terminal.paste(event.clipboardData.getData('text/plain'));
  });
  frame.addEventListener('click', () => { if (document.getSelection()?.isCollapsed) keys.focus({ preventScroll: true }); });
  new ResizeObserver(() => terminal.resize()).observe(frame);
  addEventListener('pagehide', () => terminal.socket?.close());
}
