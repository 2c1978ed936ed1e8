// Keeps a document fresh: hears what changes, asks for the same document again, and patches it.

import { count, patch, rows } from './patch.js';
import { listen } from './stream.js';
import { keys } from './keys.js';

const main = document.getElementById('main');
const link = document.getElementById('link');
const say = document.getElementById('say');
const app = /^\/ui\/apps\/([^/]+)/.exec(location.pathname)?.[1];
// A form that was filled in, or an answer to one, is not asked for again.
const isStill = () => main.hasAttribute('data-still') || /\/(register|confirm)$/.test(location.pathname);

// What there is to be asked for: names of apps, or everything.
let wanted = { all: false, apps: new Set() };
let timer = null;
let isAsking = false;

function want(news, soon = 0) {
  if (isStill()) return;
  if (news.all) wanted.all = true;
  for (const name of news.apps ?? []) wanted.apps.add(name);
  if (!timer) timer = setTimeout(refresh, soon);
}

// Nothing moves while somebody points at something that can be pressed, or presses it.
let pointed = 0;
let isPressed = false;
const POINTS = 'a, button, summary, input, select, textarea, label';
addEventListener('pointermove', event => {
  pointed = event.target.closest?.(POINTS) && main.contains(event.target) ? performance.now() : 0;
}, { passive: true });
addEventListener('pointerdown', () => { isPressed = true; }, { passive: true });
for (const name of ['pointerup', 'pointercancel', 'blur']) addEventListener(name, () => { isPressed = false; }, { passive: true });
const mayMove = () => !isPressed && (!pointed || 1500 < performance.now() - pointed);

async function refresh() {
  timer = null;
  if (isAsking) { timer = setTimeout(refresh, 50); return; }
  if (document.hidden) { wanted.all = true; return; }
  const asked = wanted;
  wanted = { all: false, apps: new Set() };
  isAsking = true;
  try {
    const list = document.getElementById('rows');
    // A group may begin or end with a row.
    const isPart = !asked.all && list && asked.apps.size && !list.hasAttribute('data-grouped');
    const url = new URL(location.href);
    url.searchParams.delete('done');
    if (isPart) url.searchParams.set('only', [...asked.apps].join(','));
    else if (url.pathname === '/') url.searchParams.set('all', '1');
    const answer = await fetch(url, { headers: { accept: 'text/html' } });
    if (answer.redirected && new URL(answer.url).pathname === '/sign-in') return lost('Signed out: sign in again', '/sign-in');
    // Not now: it is asked again.
    if (answer.status === 429 || 500 <= answer.status) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const isDone = isPart ? part(fresh, list, [...asked.apps]) : whole(fresh);
    if (isDone === null) want({ all: true }, 20);
    else if (!isDone) want(asked, 700);
    tell();
  } catch {
    wanted.all = true;
    timer ??= setTimeout(refresh, 2000);
  } finally {
    isAsking = false;
  }
}

function whole(fresh) {
  const moves = mayMove();
  const to = fresh.getElementById('main');
  if (!to) return true;
  const notice = main.querySelector(':scope > .notice[data-key]');
  if (notice && !to.querySelector(':scope > .notice[data-key]')) to.prepend(document.importNode(notice, true), '\n');
  const done = patch(main, to, moves);
  around(fresh);
  return done;
}

// Only some rows of the list came: all others are as they are.
function part(fresh, list, names) {
  const body = fresh.getElementById('rows');
  if (!body) return null;
  const moves = mayMove();
  const done = rows(list, body, names, moves);
  for (const id of ['headline', 'strip', 'where']) {
    const [from, to] = [document.getElementById(id), fresh.getElementById(id)];
    if (from && to) patch(from, to, moves);
  }
  const [from, to] = [main.querySelector('.filters'), fresh.querySelector('main .filters')];
  if (from && to) patch(from, to, moves);
  // What comes and goes around the list is seen with all of it.
  const shape = root => [...root.querySelectorAll(':scope > section')].map(one => one.id || one.dataset.key).join();
  if (shape(main) !== shape(fresh.getElementById('main'))) return null;
  around(fresh);
  return done;
}

function around(fresh) {
  if (document.title !== fresh.title) { document.title = fresh.title; count.writes++; }
  const [from, to] = [document.querySelector('.top nav'), fresh.querySelector('.top nav')];
  if (from && to) patch(from, to);
}

// A change of the verdict is said aloud: one sentence, at most every five seconds.
let said = document.getElementById('verdict')?.dataset.verdict;
let saidAt = 0;
function tell() {
  const verdict = document.getElementById('verdict')?.dataset.verdict;
  if (!verdict || verdict === said || performance.now() - saidAt < 5000) return;
  [said, saidAt] = [verdict, performance.now()];
  say.textContent = `${app} is ${verdict}`;
}

// How the connection stands.
function live() {
  link.className = 'link';
  if (link.textContent !== 'live') link.textContent = 'live';
}
// A session that ended looks like a server that does not answer: asked once, it says which.
async function isSignedOut() {
  try {
    const answer = await fetch(location.href, { headers: { accept: 'text/html' } });
    if (answer.redirected && new URL(answer.url).pathname === '/sign-in') lost('Signed out: sign in again', '/sign-in');
  } catch {
    // Nobody answers, as is said already.
  }
}

function lost(text = 'Berth does not answer, trying again', href = null) {
  link.className = 'link lost';
  link.textContent = '';
  if (!href) { link.textContent = text; return; }
  const away = document.createElement('a');
  away.href = href;
  away.textContent = text;
  link.append(away);
}

listen(message => {
  if (message.kind === 'lost') {
    lost();
    return isSignedOut();
  }
  if (message.kind === 'live') {
    live();
    if (message.tag && message.tag !== document.body.dataset.tag) {
      lost('Berth was updated: load it anew', location.href);
    } else if (message.isNew !== false) {
      want({ all: true });
    }
    return;
  }
  live();
  if (app) {
    if (message.all || message.apps.includes(app)) want({ all: true });
  } else if (location.pathname === '/') {
    if (message.all || message.others || !document.getElementById('rows')) want({ all: true });
    else if (message.apps.length) want(message);
  } else if (/^\/ui\/(plan|events|audit|host|gpus)$/.test(location.pathname)) {
    want({ all: true }, 150);
  }
});
document.addEventListener('visibilitychange', () => !document.hidden && want({ all: true }));

// Figures move on without anybody telling.
const every = Number(document.querySelector('[data-refresh]')?.dataset.refresh);
if (every) setInterval(() => !document.hidden && want({ all: true }), every * 1000);

// Ages go on by themselves.
function age(at) {
  const all = Math.max(0, Math.floor((Date.now() - at) / 1000));
  const [d, h, m] = [Math.floor(all / 86400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60];
  if (all < 60) return `${all}s`;
  if (all < 3600) return `${m}m`;
  if (all < 86400) return `${h}h${m ? `${m}m` : ''}`;
  return `${d}d${h ? `${h}h` : ''}`;
}
setInterval(() => {
  if (document.hidden) return;
  for (const time of document.querySelectorAll('time[data-age]')) {
    const text = age(Date.parse(time.dateTime));
    if (time.textContent !== text && time.firstChild) time.firstChild.nodeValue = text;
  }
}, 10_000);

// A search shows what it finds while one writes.
for (const form of document.querySelectorAll('form[data-search]')) {
  let soon;
  form.querySelector('input[type=search]').addEventListener('input', () => {
    clearTimeout(soon);
    soon = setTimeout(() => {
      const url = new URL(location.href);
      for (const name of ['after', 'done']) url.searchParams.delete(name);
      for (const [name, value] of new FormData(form)) value ? url.searchParams.set(name, value) : url.searchParams.delete(name);
      history.replaceState(null, '', url);
      want({ all: true });
    }, 150);
  });
}

// A form is sent once.
addEventListener('submit', event => {
  if (event.defaultPrevented) return;
  const { target, submitter } = event;
  if (target.dataset.sent) { event.preventDefault(); return; }
  if (target.method !== 'post') return;
  target.dataset.sent = 'yes';
  setTimeout(() => { if (submitter) submitter.disabled = true; });
});
addEventListener('pageshow', () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// What was said after a change is said for a while.
if (new URLSearchParams(location.search).has('done')) {
  const url = new URL(location.href);
  url.searchParams.delete('done');
  history.replaceState(null, '', url);
  setTimeout(() => { main.querySelector(':scope > .notice[data-key]')?.remove(); }, 12_000);
}

// The first rows are there at once; the others follow.
if (document.querySelector('#rows[data-first]')) want({ all: true });

keys();
if (document.getElementById('log')) import('./logs.js').then(module => module.begin());
if (document.getElementById('terminal')) import('./terminal.js').then(module => module.begin());
if (document.querySelector('[data-chart]')) import('./chart.js').then(module => module.begin());
if (document.querySelector('[data-upload]')) import('./upload.js').then(module => module.begin());

if (document.getElementById('fields')) import('./editor.js').then(module => module.begin());

// For tests: how much was written, and whether anything is still to be asked for.
globalThis.berth = { count, isIdle: () => !timer && !isAsking };
