// The list of requests, and the life of one.

import { ask, Failure } from './api.js';
import { clock, counted, dollars, duration, el, money, moment, name, table, date } from './format.js';
import { query } from './place.js';

const STATES = ['open', 'settled', 'denied'];

export function outcome(r) {
  const state = typeof r.state === 'number' ? STATES[r.state] : r.state;
  if (state === 'open') return el('span', { class: 'mark open' }, 'under way');
  if (state === 'denied') return el('span', { class: 'mark bad' }, (r.deny_reason ?? 'refused').replaceAll('_', ' '));
  if (r.outcome !== 'ok') return el('span', { class: 'mark bad' }, `${(r.outcome ?? 'unknown').replaceAll('_', ' ')}${r.http_status ? ` ${r.http_status}` : ''}`);
  return r.fallback === 1 ? el('span', { class: 'mark warn' }, 'by the fallback') : el('span', { class: 'mark good' }, 'ok');
}

export async function requests(place, sort, go, signal) {
  const { from, to, team, model, user } = { ...query(place), from: place.from, to: place.to };
  const answer = await ask('requests', { from, to, team, model, user, sort, limit: 25 }, signal);
  const host = document.getElementById('requests');
  document.getElementById('requests-h').textContent = sort === 'recent' ? 'Newest requests' : 'Top requests by cost';
  host.replaceChildren(table(sort === 'recent' ? 'The newest requests' : 'The dearest requests', [
    { title: 'Started', main: true, cell: (r) => [el('button', { type: 'button', class: 'link', onclick: () => go({ ...place, request: String(r.id) }), 'aria-label': `Request of ${moment(r.started_us / 1e6)}` }, clock(r.started_us / 1e6, true)), el('small', {}, date(r.started_us / 1e6))] },
    { title: 'Cost', n: true, cell: (r) => r.state === 0 ? el('small', {}, `up to ${dollars(r.hold_nano)}`) : money(r.cost_nano) },
    { title: 'Who', cell: (r) => [name(r.user, '–'), el('small', {}, name(r.team, '–'))] },
    { title: 'Model', cell: (r) => [r.alias, el('small', {}, [r.provider, r.model !== r.alias && r.model].filter(Boolean).join(' · '))] },
    { title: 'Tokens', n: true, cell: (r) => [counted(r.tokens_in), ' → ', counted(r.tokens_out)] },
    { title: 'First byte', n: true, wide: true, cell: (r) => duration(r.ttft_us) },
    { title: 'Total', n: true, wide: true, cell: (r) => duration(r.total_us) },
    { title: 'Outcome', cell: outcome },
  ], answer.requests, 'There are no requests here.'));
  if (!answer.complete) host.append(el('p', { class: 'empty' }, 'Not every quarter of an hour could be searched in time; ask for a shorter period to be sure.'));
}

/** One bar in a row of the life; all lengths are parts of `whole` microseconds. */
const row = (title, at, length, whole, kind, note) => el('tr', {}, el('th', { scope: 'row' }, title),
  el('td', { class: 'life' }, el('i', { class: kind, style: { 'margin-left': `${100 * at / whole}%`, width: `max(2px, ${100 * length / whole}%)` } })), el('td', { class: 'n' }, note));

function life(r, attempts) {
  const own = ['identity_us', 'tokens_us', 'budget_us', 'commit_us'].map((k) => r[k] ?? 0), decided = own.reduce((a, b) => a + b, 0);
  const total = Math.max(r.total_us ?? 0, decided, ...attempts.map((a) => a.started_us - r.started_us + (a.total_us ?? 0)), 1);
  let at = 0;
  const rows = ['Who is it (identity)', 'How many tokens', 'Does it fit the budgets', 'On disk (commit)'].map((title, i) => { const line = row(title, at, own[i], total, 'own', duration(own[i])); at += own[i]; return line; });
  for (const a of attempts) {
    const begun = Math.max(0, a.started_us - r.started_us);
    rows.push(row(`Attempt ${a.number}: ${name(a.provider, '–')}`, begun, a.total_us ?? 0, total, a.outcome === 'ok' ? 'good' : 'bad', [duration(a.total_us), el('small', {}, `${a.outcome.replaceAll('_', ' ')}${a.http_status ? ` ${a.http_status}` : ''}`)]));
  }
  if (r.ttft_us !== null) rows.push(row('First byte', 0, r.ttft_us, total, 'wait', duration(r.ttft_us)));
  if (r.total_us !== null) rows.push(row('Whole', 0, r.total_us, total, 'whole', duration(r.total_us)));
  return el('table', { class: 'lives' }, el('caption', { class: 'hidden' }, 'The stages of the request'), el('tbody', {}, rows));
}

const facts = (pairs) => el('dl', { class: 'facts' }, pairs.filter(([, v]) => v !== null && v !== undefined && v !== '' && v !== false)
  .map(([k, v]) => el('div', {}, el('dt', {}, k), el('dd', {}, v))));

/** What a provider's support asks for; each try has its own. */
function providerIds(r, attempts) {
  const tries = attempts.filter((a) => a.provider_request_id);
  if (!tries.length) return r.provider_request_id && el('code', {}, r.provider_request_id);
  return tries.flatMap((a, i) => [i ? ', ' : '', el('code', {}, a.provider_request_id), tries.length > 1 ? ` (${name(a.provider, '–')})` : '']);
}

function content({ request: r, attempts, corrections }, close) {
  const corrected = corrections.reduce((sum, c) => sum + c.cost_nano, 0);
  return [
    el('div', { class: 'head' }, el('h2', { id: 'request-h' }, `Request of ${moment(r.started_us / 1e6)}`), el('button', { type: 'button', onclick: close, autofocus: true }, 'Close')),
    el('p', { class: 'sum' }, outcome(r), ' ', money(r.state === 'open' ? r.hold_nano : r.cost_nano + corrected),
      el('small', {}, r.state === 'open' ? 'held at most' : `${{ reported: 'as the provider reported', counted: 'counted from what was delivered', bounded: 'unknown: the bound was charged', none: 'no provider did any work' }[r.known_by] ?? r.known_by}; held ${dollars(r.hold_nano)} before`)),
    life(r, attempts),
    facts([
      ['Request id', el('code', {}, r.request_id)], ['Provider’s request id', providerIds(r, attempts)], ['Person', name(r.user_name, '')], ['Subject', r.subject !== r.user_name && r.subject], ['Team', r.team], ['Organization', r.organization], ['Application', r.application],
      ['Cost centre', r.cost_center], ['Asked for', `${r.alias} (${r.endpoint}${r.stream ? ', stream' : ''})`],
      ['Planned', [r.planned_provider, r.planned_model].filter(Boolean).join(' · ')], ['Fallback', [r.fallback_provider, r.fallback_model].filter(Boolean).join(' · ')],
      ['Served by', [r.provider, r.model].filter(Boolean).join(' · ')], ['Status', r.http_status && String(r.http_status)], ['Outcome', (r.outcome ?? r.deny_reason ?? '').replaceAll('_', ' ')],
      ['Input before sending', r.input_counted !== null && [counted(r.input_counted), ` (${r.exactness}, at most `, counted(r.input_bound), ')']],
      ['Input', r.input !== null && [counted(r.input), r.input_cached ? [', cached ', counted(r.input_cached)] : '', r.input_cache_write ? [', written to the cache ', counted(r.input_cache_write)] : ''].flat()],
      ['Output', r.output !== null && [counted(r.output), r.output_reasoning ? [', reasoning ', counted(r.output_reasoning)] : '', r.output_ceiling ? [' of at most ', counted(r.output_ceiling)] : ''].flat()],
      ['Time per token', r.tpot_ns !== null && duration(Math.round(r.tpot_ns / 1000))], ['Body', r.body_bytes !== null && [counted(r.body_bytes), ' bytes']], ['Answer', r.response_bytes !== null && [counted(r.response_bytes), ' bytes']],
      ['Saved by the cache', r.saved_nano > 0 && money(r.saved_nano)], ['Provider’s own figure', r.provider_cost_nano !== null && money(r.provider_cost_nano)], ['Price version', r.price_version !== null && String(r.price_version)],
    ]),
    corrections.length > 0 && el('h3', {}, 'Corrections'),
    corrections.length > 0 && table('Corrections', [{ title: 'Booked', main: true, cell: (c) => moment(c.booked_us / 1e6) }, { title: 'Why', cell: (c) => c.reason }, { title: 'Difference', n: true, cell: (c) => money(c.cost_nano) }], corrections, ''),
  ].filter(Boolean);
}

let opener = null;

export async function show(place, go) {
  const dialog = document.getElementById('request');
  if (place.request === null) {
    if (dialog.open) dialog.close();
    return;
  }
  const close = () => go({ ...place, request: null });
  const byId = /^\d+$/.test(place.request);
  try {
    const answer = await ask('request', byId ? { id: place.request } : { request_id: place.request, from: place.from, to: place.to });
    dialog.replaceChildren(...content(answer, close));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    dialog.replaceChildren(el('div', { class: 'head' }, el('h2', { id: 'request-h' }, 'No such request'), el('button', { type: 'button', onclick: close }, 'Close')), el('p', {}, `${error.message[0].toUpperCase()}${error.message.slice(1)}. Ids are looked for in the period shown.`));
  }
  dialog.oncancel = (e) => { e.preventDefault(); close(); };
  dialog.onclick = (e) => { if (e.target === dialog) close(); };
  if (!dialog.open) { opener = document.activeElement; dialog.showModal(); dialog.onclose = () => opener?.isConnected && opener.focus(); }
}
