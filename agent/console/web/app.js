// The page: reads where it is from the address, asks, shows; and again when the address changes or a minute has passed.

import { ask, Failure, signOut } from './api.js';
import { el, name, span, isoDay, DAY } from './format.js';
import { DIMENSIONS, PERIODS, read, write } from './place.js';
import { insight, spend, tiles } from './spend.js';
import { budgets, forecast, latency, savings, trouble } from './panels.js';
import { requests, show } from './requests.js';
import { live } from './live.js';

const $ = (id) => document.getElementById(id);
const now = () => Math.floor(Date.now() / 1000);
let me = null, place = null, sort = 'cost', running = null;

function go(next) {
  const hash = write(next);
  if (hash !== location.hash) location.hash = hash; // hashchange shows it
}

function failed(error) {
  if (error.name === 'AbortError') return;
  if (!(error instanceof Failure)) console.error(error);
  $('failure').textContent = error instanceof Failure ? error.message[0].toUpperCase() + error.message.slice(1) : 'The page itself failed; reload it.';
  $('failure').hidden = false;
}

function crumbs() {
  const parts = [[me.role === 'admin' ? 'All teams' : `Team ${me.team}`, { ...place, team: null, model: null, user: null }]];
  DIMENSIONS.forEach((d, i) => {
    if (place[d] === null || (d === 'team' && me.role !== 'admin')) return;
    const next = { ...place };
    for (const later of DIMENSIONS.slice(i + 1)) next[later] = null;
    parts.push([name(place[d]), next]);
  });
  $('crumbs').replaceChildren(el('ol', {}, parts.map(([text, next], i) => el('li', {}, i === parts.length - 1 ? el('span', { 'aria-current': 'page' }, text)
    : el('button', { type: 'button', class: 'link', onclick: () => go(next) }, text)))));
  $('range').replaceChildren(span(place.from, place.to), place.zoomed
    ? el('button', { type: 'button', class: 'chip', onclick: () => go({ ...place, zoomed: false }) }, `back to ${PERIODS[place.period].title.toLowerCase()}`) : '');
  document.title = `${[name(place.user ?? place.model ?? place.team ?? 'Spend'), span(place.from, place.to)].join(', ')} · tollgate`;
}

function periods() {
  $('periods').replaceChildren(...Object.entries(PERIODS).map(([key, p]) => el('button', { type: 'button', 'aria-pressed': String(place.period === key),
    onclick: () => go({ ...place, period: key, zoomed: false, request: null }) }, p.title)));
  const form = $('custom-form').elements;
  form.from.value = isoDay(place.from);
  form.until.value = isoDay(place.to - 1);
}

/** Narrowed to a team that a viewer has anyway. */
const seen = (p) => ({ ...p, team: me.role === 'admin' ? p.team : p.team ?? me.team });

async function refresh() {
  running?.abort();
  const signal = (running = new AbortController()).signal, at = seen(place), hash = location.hash;
  const part = (promise) => promise.catch((error) => { failed(error); return null; });
  $('main').setAttribute('aria-busy', 'true');
  const [answer, limits, ahead, saved] = await Promise.all([part(spend(at, go, signal)), part(budgets(at, signal)), part(forecast(at, signal)), part(savings(at, signal)),
    part(requests(at, sort, go, signal)), part(latency(at, signal)), part(trouble(at, go, signal))]);
  if (signal.aborted) return;
  if (answer && ahead && saved && limits) {
    const held = await part(ask('holds', { team: at.team }, signal));
    if (held) tiles(answer, ahead, held, saved);
    await part(insight(answer, at, go, signal));
  }
  if (signal.aborted) return;
  $('main').removeAttribute('aria-busy');
  $('main').dataset.shown = hash;
}

function arrive() {
  const before = place;
  place = read(location.hash, now());
  $('failure').hidden = true;
  crumbs();
  periods();
  show(place, go).catch(failed);
  if (before && write({ ...before, request: null }) === write({ ...place, request: null }) && before.request !== place.request) return; // only the dialog changed
  refresh();
}

function themes() {
  const kinds = ['auto', 'light', 'dark'], signs = { auto: '◐', light: '☀', dark: '☾' }, words = { auto: 'as the system', light: 'light', dark: 'dark' };
  let kind = localStorage.getItem('colours') ?? 'auto';
  const apply = () => {
    if (kind === 'auto') delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = kind;
    $('theme').textContent = signs[kind];
    $('theme').setAttribute('aria-label', `Colours: ${words[kind]}`);
  };
  $('theme').addEventListener('click', () => { kind = kinds[(kinds.indexOf(kind) + 1) % 3]; localStorage.setItem('colours', kind); apply(); refresh(); });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => place && refresh());
  apply();
}

function controls() {
  $('skip').addEventListener('click', (e) => { e.preventDefault(); $('main').focus(); });
  $('logout').addEventListener('click', () => signOut().catch(failed));
  $('custom-form').addEventListener('submit', (e) => {
    e.preventDefault();
    const form = e.target.elements, from = Date.parse(form.from.value) / 1000, to = Date.parse(form.until.value) / 1000 + DAY;
    $('custom').open = false;
    if (from < to) go({ ...place, period: null, zoomed: false, from, to, request: null });
  });
  $('find').addEventListener('submit', (e) => { e.preventDefault(); const id = e.target.elements.id.value.trim(); if (id) go({ ...place, request: id }); });
  $('sort').addEventListener('click', (e) => {
    if (!e.target.dataset.sort) return;
    sort = e.target.dataset.sort;
    for (const b of $('sort').children) b.setAttribute('aria-pressed', String(b.dataset.sort === sort));
    requests(seen(place), sort, go).catch(failed);
  });
}

async function start() {
  themes();
  controls();
  me = await ask('me');
  sessionStorage.removeItem('signed-in-again');
  const kept = sessionStorage.getItem('place');
  sessionStorage.removeItem('place');
  if (kept && !location.hash) history.replaceState(null, '', kept);
  $('who').replaceChildren(el('b', {}, me.user), ` ${me.role === 'admin' ? 'admin' : `team ${me.team}`}`);
  $('version').textContent = `tollgate ${me.version}`;
  addEventListener('hashchange', arrive);
  arrive();
  live((id) => go({ ...place, request: String(id) }));
  // Not under the hands of somebody who is in the middle of a table with the keyboard.
  setInterval(() => { if (!document.hidden && !$('request').open && place.to > now() && !$('main').contains(document.activeElement)) refresh(); }, 60000);
}

start().catch(failed);
