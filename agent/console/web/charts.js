// Charts: uPlot draws, this file makes them fit the page's colours, its keyboard and its screen readers.

import uPlot from './vendor/uplot.js';
import { el, clock, date, DAY } from './format.js';

const utc = (s) => uPlot.tzDate(new Date(s * 1000), 'Etc/UTC');
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const colour = (i) => css(i === null ? '--others' : `--c${i % 8}`);
const drawn = new Map(); // host -> redraw, for a change of its width

function axes(step, value, whole) {
  const line = { stroke: css('--muted'), grid: { stroke: css('--grid'), width: 1 }, ticks: { show: false }, font: '12px system-ui, sans-serif' };
  return [
    { ...line, grid: { show: false }, size: 28, space: 60, values: (u, ts) => ts.map((t) => step >= DAY ? date(t).slice(4) : t % DAY === 0 && u.scales.x.max - u.scales.x.min > DAY ? date(t).slice(4) : clock(t)) },
    { ...line, size: 58, space: 34, incrs: whole ? [1, 2, 5].flatMap((n) => [0, 1, 2, 3, 4, 5, 6, 7].map((e) => n * 10 ** e)).sort((a, b) => a - b) : undefined, values: (u, vs) => vs.map(value) },
  ];
}

/** The keyboard's and a screen reader's way through the points of a chart. */
function keys(host, n, label, say, show, choose) {
  let at = -1;
  const handle = el('div', { class: 'handle', tabindex: 0, role: 'slider', 'aria-label': label, 'aria-valuemin': 1, 'aria-valuemax': Math.max(n, 1),
    'aria-valuenow': 1, 'aria-valuetext': n ? say(0) : 'nothing' });
  const go = (i) => {
    at = Math.max(0, Math.min(n - 1, i));
    handle.setAttribute('aria-valuenow', at + 1);
    handle.setAttribute('aria-valuetext', say(at));
    show(at);
  };
  handle.addEventListener('keydown', (e) => {
    if (!n) return;
    const to = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0, End: n - 1, PageUp: at + 6, PageDown: at - 6 }[e.key];
    if (to !== undefined) go(to);
    else if ((e.key === 'Enter' || e.key === ' ') && choose && at >= 0) choose(at);
    else if (e.key === 'Escape') show(-1);
    else return;
    e.preventDefault();
  });
  handle.addEventListener('blur', () => show(-1));
  host.append(handle);
}

function tipOf(host) {
  const tip = el('div', { class: 'tip', 'aria-hidden': 'true', hidden: true });
  host.append(tip);
  return (u, i, lines) => {
    if (i === null || i < 0 || !lines) { tip.hidden = true; return; }
    tip.replaceChildren(...lines);
    tip.hidden = false;
    const x = u.valToPos(u.data[0][i], 'x') + u.over.offsetLeft;
    tip.style.setProperty('left', `${Math.max(4, Math.min(x + 12, host.clientWidth - tip.offsetWidth - 4))}px`);
  };
}

function mount(host, label, make) {
  const draw = () => {
    if (!host.isConnected || host.clientWidth === 0) return;
    host.chart?.destroy();
    host.replaceChildren();
    host.chart = make(host.clientWidth, host.clientHeight);
  };
  if (!host.watched) {
    let width = 0;
    host.watched = new ResizeObserver(() => { if (host.clientWidth !== width) { width = host.clientWidth; drawn.get(host)?.(); } });
    host.watched.observe(host);
  }
  drawn.set(host, draw);
  draw();
}

/**
 * Stacked bars. series: [{name, values, colour}], from the bottom up. times: the bars' starts. choose(bar, series or null).
 */
export function bars(host, { label, times, step, series, value, choose, whole }) {
  const stacked = [];
  let below = times.map(() => 0);
  for (const s of series) { below = below.map((v, i) => v + Math.max(0, s.values[i])); stacked.push(below); }
  const total = below;
  const when = (i) => step >= DAY ? date(times[i]) : `${date(times[i])} ${clock(times[i])} to ${clock(times[i] + step)}`;
  const say = (i) => `${when(i)}: ${value(total[i])}` + series.filter((s) => s.values[i] > 0).slice().reverse().map((s) => `, ${s.name} ${value(s.values[i])}`).join('');
  mount(host, label, (width, height) => {
    const tip = tipOf(host);
    const lines = (i) => total[i] > 0 && [el('b', {}, when(i)), el('b', { class: 'n' }, value(total[i])),
      ...series.slice().reverse().filter((s) => s.values[i] > 0).flatMap((s) => [el('span', {}, el('i', { style: { background: s.colour } }), s.name), el('span', { class: 'n' }, value(s.values[i]))])];
    const draw = uPlot.paths.bars({ size: [0.82, 64], align: 1, radius: 0.06 });
    const u = new uPlot({
      width, height, padding: [10, 22, 0, 0], legend: { show: false }, tzDate: utc,
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false }, dataIdx: (self, si, closest, x) => {
        const i = Math.floor((x - times[0]) / step);
        return Math.max(0, Math.min(times.length - 1, i));
      } },
      scales: { x: { time: true, range: () => [times[0], times[0] + times.length * step] }, y: { range: (self, min, max) => [0, max > 0 ? max * 1.08 : 1] } },
      axes: axes(step, value, whole),
      series: [{}, ...stacked.map((v, k) => stacked.length - 1 - k).map((k) => ({ paths: draw, fill: series[k].colour, stroke: series[k].colour, width: 0, points: { show: false } }))],
      hooks: { setCursor: [(self) => tip(self, self.cursor.left >= 0 ? self.cursor.idx : -1, self.cursor.left >= 0 && lines(self.cursor.idx))] },
    }, [times, ...stacked.slice().reverse()], host);
    u.over.addEventListener('click', () => {
      const i = u.cursor.idx;
      if (i === null || i === undefined || total[i] <= 0) return;
      const v = u.posToVal(u.cursor.top, 'y');
      const k = stacked.findIndex((s, n) => v <= s[i] && series[n].values[i] > 0);
      choose?.(i, k < 0 ? null : k);
    });
    u.over.style.setProperty('cursor', choose ? 'pointer' : 'default');
    keys(host, times.length, label, say, (i) => tip(u, i, i >= 0 && lines(i)), choose && ((i) => total[i] > 0 && choose(i, null)));
    return u;
  });
}

/** Lines over the same times; null where nothing is known. */
export function lines(host, { label, times, step, series, value }) {
  const when = (i) => `${date(times[i])} ${clock(times[i])}`;
  const say = (i) => `${when(i)}: ` + (series.filter((s) => s.values[i] !== null).map((s) => `${s.name} ${value(s.values[i])}`).join(', ') || 'nothing');
  mount(host, label, (width, height) => {
    const tip = tipOf(host);
    const rows = (i) => series.some((s) => s.values[i] !== null) && [el('b', {}, when(i)), el('b'), ...series.filter((s) => s.values[i] !== null)
      .flatMap((s) => [el('span', {}, el('i', { style: { background: s.colour } }), s.name), el('span', { class: 'n' }, value(s.values[i]))])];
    const u = new uPlot({
      width, height, padding: [10, 22, 0, 0], legend: { show: false }, tzDate: utc,
      cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: true, range: () => [times[0], times[times.length - 1] + step] }, y: { range: (self, min, max) => [0, max > 0 ? max * 1.1 : 1] } },
      axes: axes(step, value),
      series: [{}, ...series.map((s) => ({ stroke: s.colour, width: 2, spanGaps: true, points: { show: true, size: 5, fill: s.colour } }))],
      hooks: { setCursor: [(self) => tip(self, self.cursor.left >= 0 ? self.cursor.idx : -1, self.cursor.left >= 0 && self.cursor.idx !== null && rows(self.cursor.idx))] },
    }, [times, ...series.map((s) => s.values)], host);
    keys(host, times.length, label, say, (i) => tip(u, i, i >= 0 && rows(i)), null);
    return u;
  });
}

export function legend(host, series, choose) {
  host.replaceChildren(...series.map((s, i) => el('li', {}, choose && s.pick
    ? el('button', { type: 'button', onclick: () => choose(i) }, el('i', { style: { background: s.colour } }), s.name)
    : el('span', {}, el('i', { style: { background: s.colour } }), s.name))));
}
