// How figures are written, and small helpers for the page. Money comes in nano-dollars, times in seconds UTC.

export const HOUR = 3600, DAY = 86400;

/** An element: el('td', {class: 'n'}, 'text', child, ...). Attributes that are null, undefined or false are left out. */
export function el(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) e.addEventListener(key.slice(2), value);
    else if (key === 'style') for (const [k, v] of Object.entries(value)) e.style.setProperty(k, v);
    else e.setAttribute(key, value === true ? '' : value);
  }
  e.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

export const exact = (nano) => `${nano < 0 ? '-' : ''}$${Math.floor(Math.abs(nano) / 1e9)}.${String(Math.abs(nano) % 1e9).padStart(9, '0')}`;

export function dollars(nano) {
  const v = Math.abs(nano) / 1e9, sign = nano < 0 ? '−' : '';
  if (v === 0) return '$0';
  if (v >= 10000) return sign + '$' + Math.round(v).toLocaleString('en-US');
  if (v >= 1) return sign + '$' + v.toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  if (v >= 0.01) return sign + '$' + v.toFixed(3);
  return sign + '$' + v.toFixed(v >= 0.0001 ? 5 : 7);
}

/** Money with its exact value behind it. */
export const money = (nano) => nano === null || nano === undefined ? '–' : el('data', { value: nano, title: exact(nano) }, dollars(nano));

export function count(n) {
  if (n === null || n === undefined) return '–';
  if (Math.abs(n) >= 1e9) return (n / 1e9).toFixed(2) + ' G';
  if (Math.abs(n) >= 1e6) return (n / 1e6).toFixed(n >= 1e8 ? 0 : 1) + ' M';
  return n.toLocaleString('en-US');
}

export const counted = (n) => n === null || n === undefined ? '–' : el('data', { value: n }, count(n));

export function percent(part, whole) {
  if (!whole) return '–';
  const p = 100 * part / whole;
  return (p > 0 && p < 1 ? '<1' : Math.round(p)) + ' %';
}

/** now against before: "+12 %", "×6.2", "new". */
export function change(now, before) {
  if (!before) return now ? 'new' : '–';
  const r = now / before;
  if (r >= 3) return '×' + (r >= 10 ? Math.round(r) : r.toFixed(1));
  const p = Math.round((r - 1) * 100);
  return p === 0 ? '±0 %' : (p > 0 ? '+' : '−') + Math.abs(p) + ' %';
}

export function duration(us) {
  if (us === null || us === undefined) return '–';
  if (us === 0) return '0 s';
  if (us < 1000) return `${us} µs`;
  if (us < 1e6) return (us / 1000).toFixed(us < 1e5 ? 1 : 0) + ' ms';
  if (us < 60e6) return (us / 1e6).toFixed(us < 1e7 ? 2 : 1) + ' s';
  return `${Math.floor(us / 60e6)} min ${Math.round(us % 60e6 / 1e6)} s`;
}

const two = (n) => String(n).padStart(2, '0');
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
export const clock = (s, seconds) => { const d = new Date(s * 1000); return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}${seconds ? ':' + two(d.getUTCSeconds()) : ''}`; };
export const date = (s) => { const d = new Date(s * 1000); return `${days[d.getUTCDay()]} ${d.getUTCDate()} ${months[d.getUTCMonth()]}`; };
export const isoDay = (s) => new Date(s * 1000).toISOString().slice(0, 10);
export const moment = (s) => `${date(s)} ${clock(s, true)}`;

/** "Tue 24 Nov", "Tue 24 Nov 14:00–15:00", "Mon 23 – Sun 29 Nov" */
export function span(from, to) {
  if (from % DAY === 0 && to % DAY === 0) return to - from === DAY ? date(from) : `${date(from)} – ${date(to - DAY)}`;
  if (isoDay(from) === isoDay(to - 1)) return `${date(from)} ${clock(from)}–${to % DAY === 0 ? '24:00' : clock(to)}`;
  return `${date(from)} ${clock(from)} – ${date(to)} ${clock(to)}`;
}

/** columns: {title, n: numeric, cell: row => text or node, main: names the row}. */
export function table(caption, columns, rows, empty) {
  if (!rows.length) return el('p', { class: 'empty' }, empty);
  return el('table', {}, el('caption', { class: 'hidden' }, caption),
    el('thead', {}, el('tr', {}, columns.map((c) => el('th', { scope: 'col', class: (c.n ? 'n' : '') + (c.wide ? ' wide-only' : '') }, c.title)))),
    el('tbody', {}, rows.map((row) => el('tr', {}, columns.map((c) =>
      el(c.main ? 'th' : 'td', { scope: c.main ? 'row' : null, class: (c.n ? 'n' : '') + (c.wide ? ' wide-only' : '') }, c.cell(row)))))));
}

export const name = (text, none = '(none)') => text === '' || text === null ? none : text;
