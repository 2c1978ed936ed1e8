// Says, below an editor of a manifest, what the field is for in which the caret stands.

const KEY = /^(\s*(?:- +)*)("?)([\w.-]+)\2\s*:(?:\s|$)/;

// The path of the field at this place of the text, by the indentation of the lines above it.
export function pathAt(text, at) {
  const before = text.slice(0, at);
  const lines = before.split('\n');
  const end = text.indexOf('\n', at);
  const line = lines.pop() + text.slice(at, end < 0 ? undefined : end);
  const own = KEY.exec(line);
  // On a line without a field, one stands below what is less indented than the caret.
  let column = own ? own[1].length : /^[\s-]*/.exec(line)[0].length;
  const keys = own ? [own[3]] : [];
  if (own) {
    // Within braces: the last name before the caret.
    const inner = [...before.slice(before.lastIndexOf('\n') + 1).slice(own[0].length).matchAll(/[{,]\s*([\w.-]+)\s*:/g)].at(-1);
    if (inner) keys.push(inner[1]);
  }
  for (const above of lines.reverse()) {
    if (column === 0) break;
    const found = KEY.exec(above);
    if (!found || column <= found[1].length || above.trimStart().startsWith('#')) continue;
    column = found[1].length;
    keys.unshift(found[3]);
  }
  return keys;
}

export function begin() {
  const editor = document.getElementById('editor');
  const help = document.getElementById('field');
  if (!editor || !help) return;
  const known = new Map([...document.querySelectorAll('#fields [data-path]')].map(row => [row.dataset.path, row]));
  let shown = null;
  const look = () => {
    const keys = pathAt(editor.value, editor.selectionStart);
    // What stands below names that people chose is not in the list: the nearest that is, is said.
    while (keys.length && !known.has(keys.join('.'))) keys.pop();
    const path = keys.join('.');
    if (path === shown) return;
    shown = path;
    help.hidden = !path;
    help.replaceChildren();
    if (!path) return;
    const name = document.createElement('code');
    name.textContent = path;
    help.append(name, ' ', ...[...known.get(path).querySelector('dd').childNodes].map(node => node.cloneNode(true)));
  };
  for (const event of ['keyup', 'click', 'input', 'focus', 'select']) editor.addEventListener(event, look);
}
