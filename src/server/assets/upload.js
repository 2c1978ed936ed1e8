// A file on its way: how much of it has gone, and a way to end it.

export function begin() {
  for (const form of document.querySelectorAll('form[data-upload]')) form.addEventListener('submit', event => send(event, form));
}

function send(event, form) {
  event.preventDefault();
  const [bar, said, button] = [form.querySelector('progress'), form.querySelector('output'), form.querySelector('button')];
  const asking = new XMLHttpRequest();
  bar.hidden = false;
  button.disabled = true;
  asking.upload.onprogress = ({ loaded, total, lengthComputable }) => {
    if (lengthComputable) bar.value = (loaded * 100) / total;
    said.textContent = lengthComputable && loaded < total ? `${Math.floor((loaded * 100) / total)} %` : 'all of it has gone, it is being stored';
  };
  asking.onload = () => {
    if (asking.status < 400) { location.href = '/ui/models?done=model-upload'; return; }
    const answer = new DOMParser().parseFromString(asking.responseText, 'text/html');
    end(answer.querySelector('[role=alert]')?.textContent || `refused: ${asking.status}`);
  };
  asking.onerror = () => end('the connection was lost: nothing was stored');
  const end = text => {
    said.textContent = text;
    bar.hidden = true;
    button.disabled = false;
  };
  asking.open('POST', form.action);
  asking.setRequestHeader('accept', 'text/html');
  asking.send(new FormData(form));
}
