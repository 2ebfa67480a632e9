// The panels that are only looked at: budgets, forecast, speed, trouble, savings.

import { ask } from './api.js';
import { bars, colour, legend, lines } from './charts.js';
import { query } from './place.js';
import { count, counted, date, clock, dollars, duration, el, money, name, percent, table } from './format.js';

const host = (id) => document.getElementById(id);
const amount = (unit, v) => v < 0 ? '–' : unit === 'usd' ? money(v) : counted(v);

function meter(b) {
  const full = b.amount > 0 ? b.amount : 1, used = Math.min(100, 100 * Math.max(0, b.used) / full), held = Math.min(100 - used, 100 * Math.max(0, b.held) / full);
  const level = b.used + b.held >= b.amount ? 'over' : b.used >= 0.8 * b.amount ? 'near' : '';
  return el('div', { class: `meter ${level}`, role: 'meter', 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': Math.round(used),
    'aria-valuetext': `${Math.round(used)} per cent used, ${Math.round(held)} per cent held`, 'aria-label': `${b.limit} ${b.subject}` },
    el('i', { style: { width: `${used}%` } }), el('i', { class: 'held', style: { width: `${held}%` } }));
}

export async function budgets(place, signal) {
  const all = await ask('budgets', {}, signal);
  const of = (b) => (b.used + b.held) / (b.amount || 1);
  const mine = all.filter((b) => place.team === null || !b.subject.includes('team=') || ` ${b.subject} `.includes(` team=${place.team} `)).sort((a, b) => of(b) - of(a));
  host('budgets').replaceChildren(table('Budgets now, the fullest first', [
    { title: 'Limit', main: true, cell: (b) => [el('span', {}, b.limit), el('small', {}, [b.subject, b.window, b.action !== 'hard' && b.action].filter(Boolean).join(' · ').replaceAll('=', ' '))] },
    { title: 'Used', cell: (b) => [meter(b), el('small', {}, percent(b.used, b.amount), b.held > 0 ? ` and ${percent(b.held, b.amount)} held` : '')] },
    { title: 'Spent', n: true, cell: (b) => [amount(b.unit, b.used), el('small', {}, 'of ', amount(b.unit, b.amount))] },
    { title: 'At reset', n: true, cell: (b) => [b.forecast >= 0 ? el('span', { class: b.forecast > b.amount ? 'bad' : null }, amount(b.unit, b.forecast), b.forecast > b.amount ? ' over' : '') : '–',
      el('small', {}, b.reset_us ? `${date(b.reset_us / 1e6)} ${clock(b.reset_us / 1e6)}` : '')] },
  ], mine.slice(0, 100), 'There are no limits here.'));
  return all;
}

export async function forecast(place, signal) {
  const answer = await ask('forecast', {}, signal);
  host('forecast').replaceChildren(table('Spend of today and this month by team', [
    { title: 'Team', main: true, cell: (t) => name(t.team, '(no team)') },
    { title: 'Today', n: true, cell: (t) => money(t.today) },
    { title: 'Forecast', n: true, cell: (t) => money(t.day_forecast) },
    { title: 'Yesterday', n: true, wide: true, cell: (t) => money(t.yesterday) },
    { title: 'Month', n: true, cell: (t) => money(t.month) },
    { title: 'Forecast', n: true, cell: (t) => money(t.month_forecast) },
  ], answer.teams.filter((t) => place.team === null || t.team === place.team), 'Nothing was spent this month.'));
  return answer;
}

const both = (f, show) => f === null ? '–' : show(f);
const perToken = (ns) => ns < 1e6 ? `${Math.round(ns / 1000)} µs` : `${(ns / 1e6).toFixed(ns < 1e7 ? 1 : 0)} ms`;

export async function latency(place, signal) {
  const answer = await ask('latency', query(place), signal);
  const providers = answer.providers.filter((p) => p.ttft_us || p.tpot_ns);
  const length = (answer.to - answer.from) / answer.buckets;
  const times = Array.from({ length: answer.buckets }, (_, i) => answer.from + i * length);
  const series = providers.filter((p) => p.ttft_us).map((p, i) => ({ name: name(p.provider, '(none)'), colour: colour(i), values: p.line }));
  host('latency-hint').textContent = answer.own_us ? `the gateway itself took ${duration(answer.own_us.p50)} (95 %: ${duration(answer.own_us.p95)})` + (answer.every > 1 ? `; every ${count(answer.every)}th request` : '') : '';
  lines(host('latency-chart'), { label: 'Time to the first byte, 95th percentile by provider over time. Arrow keys move', times, step: length, series, value: duration });
  legend(host('latency-legend'), series.map((s) => ({ ...s, name: `${s.name}: first byte, 95 %` })), null);
  host('latency').replaceChildren(table('Time to first byte and time per output token by provider', [
    { title: 'Provider', main: true, cell: (p) => name(p.provider, '(none)') },
    { title: 'First byte 50 %', n: true, cell: (p) => both(p.ttft_us, (f) => duration(f.p50)) },
    { title: '95 %', n: true, cell: (p) => both(p.ttft_us, (f) => duration(f.p95)) },
    { title: '99 %', n: true, wide: true, cell: (p) => both(p.ttft_us, (f) => duration(f.p99)) },
    { title: 'Per token 50 %', n: true, cell: (p) => both(p.tpot_ns, (f) => perToken(f.p50)) },
    { title: '95 %', n: true, wide: true, cell: (p) => both(p.tpot_ns, (f) => perToken(f.p95)) },
    { title: 'Requests', n: true, wide: true, cell: (p) => both(p.ttft_us, (f) => counted(f.n)) },
  ], providers, 'Nothing was answered here.'));
}

const KINDS = ['refused', 'failed', 'rescued by the fallback', 'client went away'];
const KIND_COLOURS = [4, 6, 2, null];

export async function trouble(place, go, signal) {
  const answer = await ask('trouble', query(place), signal);
  const n = Math.round((answer.to - answer.from) / answer.step);
  const times = Array.from({ length: n }, (_, i) => answer.from + i * answer.step);
  const series = KINDS.map((kind, k) => ({ name: kind, colour: colour(KIND_COLOURS[k]), values: new Array(n).fill(0) }));
  for (const [bucket, kind, requests] of answer.points) if (bucket >= 0 && bucket < n) series[kind].values[bucket] += requests;
  const shown = series.filter((s) => s.values.some((v) => v > 0));
  const total = (s) => s.values.reduce((a, b) => a + b, 0);
  host('trouble-hint').textContent = shown.map((s) => `${count(total(s))} ${s.name}`).join(', ');
  bars(host('trouble-chart'), { label: 'Refused, failed and rescued requests over time. Arrow keys move, Enter opens the time', times, step: answer.step, series: shown, value: count, whole: true,
    choose: answer.step <= 900 && n === 1 ? null : (i) => go({ ...place, from: times[i], to: times[i] + answer.step, zoomed: true }) });
  legend(host('trouble-legend'), shown, null);
  host('trouble').replaceChildren(table('Why requests were refused, failed or rescued', [
    { title: 'What', main: true, cell: (r) => KINDS[r.kind] },
    { title: 'Why', cell: (r) => r.kind === 2 && r.reason === 'ok' ? '' : r.reason.replaceAll('_', ' ') },
    { title: 'Provider', cell: (r) => r.provider },
    { title: 'Requests', n: true, cell: (r) => counted(r.requests) },
  ], answer.reasons, 'All requests went as planned.'));
}

export async function savings(place, signal) {
  const { from, to, team, model, user } = query(place);
  const answer = await ask('savings', { from, to, team, model, user }, signal);
  host('savings').replaceChildren(table('Saved by caches', [
    { title: 'Model', main: true, cell: (r) => [name(r.model, '(no model)'), el('small', {}, r.provider)] },
    ...(answer.rows.some((r) => r.saved > 0) ? [{ title: 'Answer cache', n: true, cell: (r) => money(r.saved) }] : []),
    { title: 'Prompt cache', n: true, cell: (r) => money(r.prompt_saved) },
    { title: 'Cached', n: true, cell: (r) => percent(r.tokens_cached, r.tokens_in) },
  ], answer.rows, 'No cache has saved anything here.'));
  return answer;
}
