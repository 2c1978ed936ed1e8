// Keys: a list of them with `?`, and a switch to have none.

const STORE = 'berth-keys';
const LIST = [
  ['/', 'Search'],
  ['j, k', 'Next and previous row'],
  ['Enter', 'Open the row'],
  ['g a', 'Apps'], ['g p', 'Plan'], ['g g', 'GPUs'], ['g m', 'Models'], ['g h', 'Host'], ['g e', 'Events'],
  ['?', 'This list'],
];
const PLACES = { a: '/', p: '/ui/plan', g: '/ui/gpus', m: '/ui/models', h: '/ui/host', e: '/ui/events' };

const stored = () => { try { return localStorage.getItem(STORE); } catch { return null; } };
const store = value => { try { localStorage.setItem(STORE, value); } catch { /* nothing is kept */ } };

function make(tag, text, parent) {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  parent?.append(node);
  return node;
}

function fill(dialog) {
  make('h2', 'Keys', dialog).id = 'keys-title';
  const list = make('dl', '', dialog);
  for (const [key, what] of LIST) {
    const row = make('div', '', list);
    const term = make('dt', '', row);
    for (const one of key.split(' ')) make('kbd', one.replace(',', ''), term);
    make('dd', what, row);
  }
  const label = make('label', '', make('p', '', dialog));
  const box = make('input', '', label);
  box.type = 'checkbox';
  box.checked = stored() !== 'off';
  label.append(' Use these keys');
  box.addEventListener('change', () => store(box.checked ? 'on' : 'off'));
  const close = make('button', 'Close', make('p', '', dialog));
  close.addEventListener('click', () => dialog.close());
}

function step(by) {
  const all = [...document.querySelectorAll('main table.list tbody tr')].filter(row => row.querySelector('a'));
  if (!all.length) return;
  const now = all.findIndex(row => row.classList.contains('at'));
  const next = all[Math.max(0, Math.min(all.length - 1, now + by))];
  all[now]?.classList.remove('at');
  next.classList.add('at');
  next.querySelector('a').focus({ preventScroll: true });
  next.scrollIntoView({ block: 'nearest' });
}

export function keys() {
  const dialog = document.getElementById('keys');
  let before = 0;
  let wasG = false;
  addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.('input, textarea, select, dialog')) return;
    const isAfterG = wasG && event.timeStamp - before < 1000;
    wasG = false;
    if (event.key === '?') {
      if (!dialog.firstChild) fill(dialog);
      dialog.showModal();
    } else if (stored() === 'off') {
      return;
    } else if (isAfterG && PLACES[event.key]) {
      location.href = PLACES[event.key];
    } else if (event.key === 'g') {
      [wasG, before] = [true, event.timeStamp];
    } else if (event.key === '/') {
      const field = document.querySelector('main input[type=search]');
      if (!field) return;
      field.focus();
      field.select();
    } else if (event.key === 'j' || event.key === 'k') {
      step(event.key === 'j' ? 1 : -1);
    } else {
      return;
    }
    event.preventDefault();
  });
}
