// Decisions as they are made: server-sent events into a table, the newest on top.

import { signIn } from './api.js';
import { clock, dollars, duration, el, money, name } from './format.js';
import { outcome } from './requests.js';

const ROWS = 60;
const rows = new Map(); // request_id -> tr
let source = null, paused = false, waiting = [], open = () => {};

const host = () => document.getElementById('live');
const say = (text, kind) => { const s = document.getElementById('live-state'); if (s.textContent !== text) { s.textContent = text; s.className = `state ${kind}`; } };

function cells(r) {
  return [
    el('th', { scope: 'row' }, el('button', { type: 'button', class: 'link', onclick: () => open(r.id) }, clock(r.started_us / 1e6, true))),
    el('td', {}, name(r.user, '–'), el('small', {}, name(r.team, '–'))),
    el('td', {}, r.alias, el('small', {}, r.provider)),
    el('td', { class: 'n' }, r.state === 0 ? el('small', {}, `≤ ${dollars(r.hold_nano)}`) : money(r.cost_nano)),
    el('td', { class: 'n wide-only' }, duration(r.total_us)),
    el('td', {}, outcome(r)),
  ];
}

function add(r) {
  const body = host().querySelector('tbody');
  const known = rows.get(r.request_id);
  if (known) { known.replaceChildren(...cells(r)); return; }
  const tr = el('tr', {}, cells(r));
  rows.set(r.request_id, tr);
  body.prepend(tr);
  while (body.childElementCount > ROWS) {
    const last = body.lastElementChild;
    for (const [id, one] of rows) if (one === last) { rows.delete(id); break; }
    last.remove();
  }
}

function begin() {
  source = new EventSource('api/live');
  source.addEventListener('open', () => say(paused ? 'paused' : 'live', paused ? '' : 'on'));
  source.addEventListener('request', (e) => { const r = JSON.parse(e.data); if (paused) waiting.push(r); else add(r); if (waiting.length > 500) waiting = waiting.slice(-500); });
  source.addEventListener('skipped', (e) => say(`busy: ${e.data} not shown`, 'on'));
  source.addEventListener('over', () => { source.close(); signIn(); });
  source.addEventListener('error', () => say('reconnecting', ''));
}

export function live(show) {
  open = show;
  host().replaceChildren(el('table', {}, el('caption', { class: 'hidden' }, 'Decisions, the newest first'),
    el('thead', {}, el('tr', {}, ['Time', 'Who', 'Model'].map((t) => el('th', { scope: 'col' }, t)), el('th', { scope: 'col', class: 'n' }, 'Cost'), el('th', { scope: 'col', class: 'n wide-only' }, 'Total'), el('th', { scope: 'col' }, 'Outcome'))),
    el('tbody', {})));
  document.getElementById('live-pause').addEventListener('click', (e) => {
    paused = !paused;
    e.target.setAttribute('aria-pressed', String(paused));
    e.target.textContent = paused ? 'Go on' : 'Pause';
    say(paused ? 'paused' : 'live', paused ? '' : 'on');
    if (!paused) { waiting.forEach(add); waiting = []; }
  });
  say('connecting', '');
  begin();
  addEventListener('pagehide', () => source.close());
  addEventListener('pageshow', (e) => { if (e.persisted) begin(); });
}
