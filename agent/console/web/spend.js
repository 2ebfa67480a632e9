// What was spent, by the dimension that comes next; and the sentence that says what stands out.

import { ask } from './api.js';
import { bars, colour, legend } from './charts.js';
import { nextDimension, query } from './place.js';
import { change, clock, count, counted, date, DAY, dollars, el, money, name, percent, span, table } from './format.js';

const TITLES = { team: 'team', model: 'model', user: 'person' };
const NONE = { team: '(no team)', model: '(no model)', user: '(no name)' };

/** series for the chart, the largest at the bottom; others on top in grey. */
function seriesOf(spend, by) {
  const n = Math.round((spend.to - spend.from) / spend.step);
  const times = Array.from({ length: n }, (_, i) => spend.from + i * spend.step);
  const empty = () => new Array(n).fill(0);
  const series = spend.lines.map((line, i) => ({ name: name(line, NONE[by]), pick: true, key: line, colour: colour(i), values: empty() }));
  const others = { name: 'others', pick: false, key: null, colour: colour(null), values: empty() };
  for (const [line, bucket, cost] of spend.points) if (bucket >= 0 && bucket < n) (line === null ? others : series[line]).values[bucket] += cost;
  if (others.values.some((v) => v > 0)) series.push(others);
  return { times, series: series.filter((s) => s.values.some((v) => v > 0)) };
}

/** The largest bar, when it stands out: at least three times the median of the bars that are not empty. */
function peakOf(spend) {
  const totals = new Map();
  for (const [, bucket, cost] of spend.points) totals.set(bucket, (totals.get(bucket) ?? 0) + cost);
  const values = [...totals.values()].filter((v) => v > 0).sort((a, b) => a - b);
  if (values.length < 4) return null;
  const median = values[Math.floor(values.length / 2)];
  const [bucket, cost] = [...totals].reduce((a, b) => b[1] > a[1] ? b : a);
  return cost >= 3 * median ? { from: spend.from + bucket * spend.step, to: spend.from + (bucket + 1) * spend.step, cost, times: cost / median } : null;
}

/** Who made the peak: the largest team, and in it the largest model and person. */
async function blame(peak, place, signal) {
  const found = {};
  let cost = peak.cost;
  for (const by of ['team', 'model', 'user']) {
    found[by] = place[by];
    if (found[by] !== null) continue;
    const part = await ask('spend', { from: peak.from, to: peak.to, step: 900, by, ...found }, signal);
    if (!part.groups.length) break;
    found[by] = part.groups[0].name;
    cost = part.groups[0].cost;
  }
  return { ...found, cost };
}

export async function insight(spend, place, go, signal) {
  const host = document.getElementById('insight');
  const peak = spend.step <= DAY && peakOf(spend);
  host.hidden = !peak && place.zoomed && spend.total.requests > 0;
  if (!peak) {
    host.replaceChildren(spend.total.requests ? `No spike: no ${spend.step >= DAY ? 'day' : spend.step >= 3600 ? 'hour' : 'quarter of an hour'} here cost three times the usual.` : 'Nothing was spent here.');
    return;
  }
  const who = await blame(peak, place, signal);
  const times = peak.times >= 10 ? Math.round(peak.times) : peak.times.toFixed(1);
  host.replaceChildren(el('b', {}, 'Spike: '), span(peak.from, peak.to), ` cost `, money(peak.cost), `, ${times} times the usual. `,
    `${percent(who.cost, peak.cost)} of it: `,
    el('button', { type: 'button', class: 'link', onclick: () => go({ ...place, from: peak.from, to: peak.to, zoomed: true, team: who.team, model: who.model ?? place.model, user: who.user ?? place.user }) },
      [name(who.team, NONE.team), who.model !== undefined && name(who.model, NONE.model), who.user !== undefined && name(who.user, NONE.user)].filter(Boolean).join(' › ')), '.');
}

export function tiles(spend, forecast, holds, savings) {
  const t = spend.total, saved = savings.rows.reduce((sum, r) => sum + r.saved + r.prompt_saved, 0);
  const today = forecast.teams.reduce((sum, r) => sum + r.today, 0), end = forecast.teams.reduce((sum, r) => sum + r.day_forecast, 0);
  const tile = (title, value, note) => el('div', {}, el('dt', {}, title), el('dd', {}, value, el('small', {}, note)));
  document.getElementById('tiles').replaceChildren(
    tile('Spent in this period', money(t.cost), `${change(t.cost, t.cost_before)} against ${dollars(t.cost_before)} before`),
    tile('Today so far', money(today), `at this pace ${dollars(end)} by midnight`),
    tile('Held right now', money(holds.money), `${count(holds.requests)} ${holds.requests === 1 ? 'request' : 'requests'} under way`),
    tile('Requests', counted(t.requests), `${count(t.denied)} refused`),
    tile('Tokens', counted(t.tokens_in + t.tokens_out), `${count(t.tokens_in)} in, ${count(t.tokens_out)} out`),
    tile('Saved by caches', money(saved), `${percent(t.tokens_cached, t.tokens_in)} of input tokens cached`));
}

export async function spend(place, go, signal) {
  const by = nextDimension(place) ?? 'user';
  const answer = await ask('spend', { ...query(place), by }, signal);
  const { times, series } = seriesOf(answer, by);
  const fixed = nextDimension(place) === null;
  const narrow = (i, k) => go({ ...place, from: Math.max(times[i], 0), to: times[i] + answer.step, zoomed: true, ...(k !== null && series[k].pick && !fixed ? { [by]: series[k].key } : {}) });
  const alone = answer.to - answer.from <= 900;
  document.getElementById('spend-h').textContent = `Spend by ${TITLES[by]}`;
  document.getElementById('spend-hint').textContent = alone ? '' : `A bar's part opens ${fixed ? 'that time' : `that ${TITLES[by]} at that time`}`;
  bars(document.getElementById('spend-chart'), { label: `Spend by ${TITLES[by]} over time. Arrow keys move, Enter opens the time`, times, step: answer.step, series, value: dollars, choose: alone ? null : narrow });
  legend(document.getElementById('spend-legend'), series, fixed ? null : (i) => go({ ...place, [by]: series[i].key }));
  const open = (row) => fixed ? name(row.name, NONE[by]) : el('button', { type: 'button', class: 'link', onclick: () => go({ ...place, [by]: row.name }) }, name(row.name, NONE[by]));
  document.getElementById('spend-table').replaceChildren(table(`Spend by ${TITLES[by]}, ${span(answer.from, answer.to)}`, [
    { title: TITLES[by][0].toUpperCase() + TITLES[by].slice(1), main: true, cell: open },
    { title: 'Spent', n: true, cell: (r) => money(r.cost) },
    { title: 'Share', n: true, cell: (r) => percent(r.cost, answer.total.cost) },
    { title: 'Before', n: true, wide: true, cell: (r) => money(r.cost_before) },
    { title: 'Change', n: true, cell: (r) => change(r.cost, r.cost_before) },
    { title: 'Requests', n: true, cell: (r) => counted(r.requests) },
    { title: 'Refused', n: true, wide: true, cell: (r) => counted(r.denied) },
    { title: 'Tokens in', n: true, wide: true, cell: (r) => counted(r.tokens_in) },
    { title: 'Tokens out', n: true, wide: true, cell: (r) => counted(r.tokens_out) },
  ], answer.groups, 'Nothing was spent here.'));
  if (answer.count > answer.groups.length) document.getElementById('spend-table').append(el('p', { class: 'empty' }, `${answer.groups.length} of ${count(answer.count)} are shown.`));
  return answer;
}
