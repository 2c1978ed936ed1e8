// One connection for all tabs of a browser: it hears what changes, and says it to each.

const tabs = new Set();
let source = null;
let state = 'begun';
let last = null;
let pause = 500;

function tell(message) {
  for (const tab of tabs) tab.postMessage(message);
}

function open() {
  source = new EventSource('/ui/live');
  source.addEventListener('hello', event => {
    const hello = JSON.parse(event.data);
    const isNew = last !== null && last !== hello.at;
    last = hello.at;
    state = 'live';
    pause = 500;
    tell({ kind: 'live', tag: hello.tag, isNew: isNew || undefined });
  });
  source.addEventListener('changed', event => tell({ kind: 'changed', ...JSON.parse(event.data) }));
  source.onerror = () => {
    // Whatever happened meanwhile is asked for when it is back.
    last = 'lost';
    if (state !== 'lost') tell({ kind: 'lost' });
    state = 'lost';
    if (source.readyState !== EventSource.CLOSED) return;
    source.close();
    source = null;
    setTimeout(() => tabs.size && !source && open(), pause * (0.75 + Math.random() / 2));
    pause = Math.min(pause * 2, 10_000);
  };
}

onconnect = event => {
  const tab = event.ports[0];
  tabs.add(tab);
  tab.onmessage = ({ data }) => {
    if (data !== 'bye') return;
    tabs.delete(tab);
    if (tabs.size === 0 && source) {
      source.close();
      source = null;
      last = null;
      state = 'begun';
    }
  };
  if (!source) open();
  else if (state !== 'begun') tab.postMessage({ kind: state });
};
