// Says the values below the pointer, or below the arrow keys, of a chart that the server drew.

export function begin() {
  document.addEventListener('pointermove', event => show(event.target.closest?.('svg[data-chart]'), event.clientX), { passive: true });
  document.addEventListener('pointerout', event => {
    const svg = event.target.closest?.('svg[data-chart]');
    if (svg && !svg.contains(event.relatedTarget)) svg.closest('section').querySelector('output').textContent = '';
  }, { passive: true });
}

function show(svg, x) {
  if (!svg) return;
  const box = svg.getBoundingClientRect();
  const part = Math.max(0, Math.min(1, (x - box.left) / box.width));
  const said = [...svg.querySelectorAll('.line')].map(line => {
    const values = line.dataset.values.split('|');
    return `${line.dataset.label} ${values[Math.round(part * (values.length - 1))] || 'not known'}`;
  });
  svg.closest('section').querySelector('output').textContent = `at the pointer: ${said.join(', ')}`;
}

