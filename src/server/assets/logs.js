// A log that is followed: it goes on where it was after a restart of the app, a lost server, or
// while nobody looked, and it never scrolls away from who reads.

const LINES_MAX = 5000;

function tool(parent, text, isOn, change) {
  const label = document.createElement('label');
  const box = document.createElement('input');
  box.type = 'checkbox';
  box.checked = isOn;
  box.addEventListener('change', () => change(box.checked));
  label.append(box, ` ${text}`);
  parent.append(label);
  return box;
}

export function begin() {
  const log = document.getElementById('log');
  const find = document.getElementById('find');
  const tools = document.querySelector('.live-tools');
  const status = document.createElement('span');
  let isFollowed = true;
  let words = find.value.toLowerCase();
  let stop = null;
  let pause = 500;

  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const toEnd = () => { log.scrollTop = log.scrollHeight; };

  // What was searched for is marked, and lines without it are left out.
  function mark(line) {
    const text = line.querySelector('.t') ?? line;
    for (const old of [...text.querySelectorAll('mark')]) old.replaceWith(...old.childNodes);
    text.normalize();
    const holds = !words || text.textContent.toLowerCase().includes(words);
    line.classList.toggle('off', !holds);
    if (!words || !holds) return;
    const walk = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
    const nodes = [];
    while (walk.nextNode()) nodes.push(walk.currentNode);
    for (let node of nodes) {
      let at;
      while (0 <= (at = node.nodeValue.toLowerCase().indexOf(words))) {
        const hit = node.splitText(at);
        node = hit.splitText(words.length);
        const around = document.createElement('mark');
        hit.replaceWith(around);
        around.append(hit);
      }
    }
  }

  let soon;
  find.addEventListener('input', () => {
    clearTimeout(soon);
    soon = setTimeout(() => {
      words = find.value.toLowerCase();
      for (const line of log.querySelectorAll('.l')) mark(line);
      if (isFollowed) toEnd();
    }, 120);
  });

  const idOf = line => `${line.dataset.at} ${line.textContent}`;

  // Lines of the two outputs may come a little out of order: only what was there already when it
  // was asked for more is left out.
  function add(html, before) {
    const fresh = new DOMParser().parseFromString(html, 'text/html').body;
    const isNear = atEnd();
    const lines = [...fresh.children].filter(line => !line.dataset.at || !before.has(idOf(line)));
    if (!lines.length) return;
    log.querySelector('.none')?.remove();
    for (const line of lines) if (words) mark(line);
    log.append(...lines);
    while (LINES_MAX < log.children.length) log.firstElementChild.remove();
    if (isFollowed && isNear) toEnd();
  }

  async function follow() {
    const ending = new AbortController();
    stop = () => ending.abort();
    const url = new URL(log.dataset.follow, location.href);
    const last = [...log.querySelectorAll('.l[data-at]')].at(-1)?.dataset.at;
    if (last) {
      url.searchParams.set('since', last);
      url.searchParams.set('tail', 'all');
    } else if (url.searchParams.get('source') === 'build' || !log.querySelector('.l')) {
      url.searchParams.set('tail', '500');
    }
    const before = new Set([...log.querySelectorAll('.l[data-at]')].map(idOf));
    const isAnew = !last && url.searchParams.get('tail');
    try {
      const answer = await fetch(url, { signal: ending.signal });
      if (!answer.ok) throw new Error(String(answer.status));
      if (isAnew) {
        for (const line of log.querySelectorAll('.l')) line.remove();
        before.clear();
      }
      status.textContent = 'following';
      pause = 500;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        rest += value;
        const end = rest.lastIndexOf('\n');
        if (end < 0) continue;
        add(rest.slice(0, end), before);
        rest = rest.slice(end + 1);
      }
    } catch {
      if (ending.signal.aborted) return;
    }
    if (ending.signal.aborted) return;
    stop = null;
    // The container ended, or the server did: it goes on with the next one.
    status.textContent = 'waiting for more';
    setTimeout(look, pause);
    pause = Math.min(pause * 1.6, 5000);
  }

  function look() {
    const isWanted = isFollowed && !document.hidden;
    if (isWanted && !stop) follow();
    if (!isWanted && stop) { stop(); stop = null; status.textContent = isFollowed ? '' : 'not following'; }
  }

  toEnd();
  tool(tools, 'Wrap lines', true, isOn => log.classList.toggle('nowrap', !isOn));
  if (!log.dataset.follow) return;
  const box = tool(tools, 'Follow', true, isOn => { isFollowed = isOn; if (isOn) toEnd(); look(); });
  tools.append(status);
  log.addEventListener('scroll', () => {
    // Whoever scrolls up reads; whoever comes back to the end follows again.
    if (box.checked) isFollowed = true;
  }, { passive: true });
  document.addEventListener('visibilitychange', look);
  addEventListener('pagehide', () => stop?.());
  look();
}
