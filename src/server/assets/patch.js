// Makes a document on the screen equal to another one, by touching only what differs.
//
// Elements are the same when they have the same tag and the same id or data-key. What belongs to
// the person is left alone: the field that has the focus, what was typed, whether <details> are
// open, a selection, and everything below an element with data-own.

const key = node => (node.nodeType === 1 && (node.id || node.dataset?.key)) || null;
const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && key(a) === key(b);

// What a script or a person set stays.
const OWN = new Set(['open', 'value', 'checked', 'selected', 'hidden']);
const isOwn = (node, name) =>
  (OWN.has(name) && /^(DETAILS|INPUT|TEXTAREA|SELECT|OPTION|DIALOG)$/.test(node.nodeName)) ||
  (name === 'class' && node.classList.contains('at'));

// How many changes were made; tests read it.
export const count = { writes: 0 };

function attributes(from, to) {
  for (const { name, value } of to.attributes) {
    if (from.getAttribute(name) !== value && !isOwn(from, name)) {
      from.setAttribute(name, value);
      count.writes++;
    }
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !isOwn(from, name)) {
      from.removeAttribute(name);
      count.writes++;
    }
  }
}

function isSelected(node) {
  const chosen = document.getSelection();
  return chosen && !chosen.isCollapsed && chosen.containsNode(node, true);
}

// Answers whether all of it was done. Without `moves`, nothing comes, goes or changes its place.
export function patch(from, to, moves = true) {
  if (from.nodeType !== 1) {
    if (from.nodeValue === to.nodeValue) return true;
    if (isSelected(from)) return false;
    from.nodeValue = to.nodeValue;
    count.writes++;
    return true;
  }
  if (from.hasAttribute('data-own')) return true;
  if (from.isEqualNode(to)) return true;
  // The age of the same moment is kept by a clock of its own.
  if (from.nodeName === 'TIME' && from.hasAttribute('data-age') && from.dateTime === to.dateTime) return true;
  if (from === document.activeElement && /^(INPUT|TEXTAREA|SELECT)$/.test(from.nodeName)) return true;
  attributes(from, to);
  // What was typed is not a child that could be exchanged.
  if (from.nodeName === 'TEXTAREA') return true;
  return children(from, to, moves);
}

function children(from, to, moves) {
  let done = true;
  const keyed = new Map();
  for (const child of from.childNodes) if (key(child)) keyed.set(key(child), child);
  let at = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const name = key(wanted);
    let found = null;
    if (name) found = keyed.get(name) && same(keyed.get(name), wanted) ? keyed.get(name) : null;
    else if (at && same(at, wanted)) found = at;
    if (found && found === at) {
      done = patch(found, wanted, moves) && done;
      at = at.nextSibling;
    } else if (!moves) {
      done = false;
      if (found) patch(found, wanted, moves);
    } else if (found) {
      // A move blurs: what has the focus stays where it is, and the others go around it.
      if (found.contains(document.activeElement) && at) {
        while (at && at !== found) at = away(at, keepers(to));
        done = patch(found, wanted, moves) && done;
        at = found.nextSibling;
      } else {
        from.insertBefore(found, at);
        count.writes++;
        done = patch(found, wanted, moves) && done;
      }
    } else {
      from.insertBefore(document.importNode(wanted, true), at);
      count.writes++;
    }
  }
  while (at) {
    if (!moves) return false;
    at = away(at);
  }
  return done;
}

const keepers = to => new Set([...to.children].map(key).filter(Boolean));

// Takes a node away, or puts it behind the others when it is still wanted.
function away(node, wanted) {
  const next = node.nextSibling;
  if (wanted && key(node) && wanted.has(key(node))) {
    node.parentNode.append(node);
  } else if (isSelected(node) || node.contains?.(document.activeElement)) {
    // It goes with the next change, once nobody is in it any more.
    return next;
  } else {
    node.remove();
  }
  count.writes++;
  return next;
}

// The same for some rows of a table, by their order. `names` are those that were asked for.
export function rows(body, fresh, names, moves) {
  const found = new Map([...(fresh?.children ?? [])].map(row => [row.dataset.key, row]));
  let done = true;
  for (const name of names) {
    const have = [...body.children].find(row => row.dataset.key === name);
    const wanted = found.get(name);
    if (!wanted && !have) continue;
    if (have && wanted) {
      const isSamePlace = have.dataset.order === wanted.dataset.order;
      done = patch(have, wanted, moves) && done;
      if (isSamePlace) continue;
    }
    if (!moves) { done = false; continue; }
    if (!wanted) {
      if (isSelected(have) || have.contains(document.activeElement)) { done = false; continue; }
      have.remove();
      count.writes++;
      continue;
    }
    const row = have ?? document.importNode(wanted, true);
    if (have?.contains(document.activeElement)) { done = false; continue; }
    const before = [...body.children].find(other => other !== row && other.dataset.order > row.dataset.order);
    if (have && (before ?? null) === have.nextElementSibling) continue;
    body.insertBefore(row, before ?? null);
    count.writes++;
  }
  return done;
}
