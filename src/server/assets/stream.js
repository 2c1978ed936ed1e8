// What changes, as it is heard: through a worker that all tabs share, else by a connection of this
// tab alone, which is closed while nobody looks.

export function listen(take) {
  if ('SharedWorker' in globalThis) {
    const worker = new SharedWorker(new URL('./worker.js', import.meta.url), { name: 'berth' });
    worker.port.onmessage = ({ data }) => take(data);
    addEventListener('pagehide', () => worker.port.postMessage('bye'));
    addEventListener('pageshow', event => event.persisted && location.reload());
    return;
  }
  let source = null;
  let last = null;
  const open = () => {
    source = new EventSource('/ui/live');
    source.addEventListener('hello', event => {
      const { at, tag } = JSON.parse(event.data);
      take({ kind: 'live', tag, isNew: last !== null && last !== at });
      last = at;
    });
    source.addEventListener('changed', event => take({ kind: 'changed', ...JSON.parse(event.data) }));
    source.onerror = () => {
      last = 'lost';
      take({ kind: 'lost' });
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 3000);
    };
  };
  const look = () => {
    if (document.hidden) { source?.close(); source = null; last = 'lost'; }
    else if (!source) open();
  };
  document.addEventListener('visibilitychange', look);
  look();
}
