// Where the page is: a period and what it is narrowed to. Kept behind the # of the address, so that back, forward and links work.

import { DAY, HOUR } from './format.js';

export const DIMENSIONS = ['team', 'model', 'user'];

const today = (now) => now - now % DAY;

export const PERIODS = {
  today: { title: 'Today', range: (now) => [today(now), today(now) + DAY] },
  yesterday: { title: 'Yesterday', range: (now) => [today(now) - DAY, today(now)] },
  '7d': { title: '7 days', range: (now) => [today(now) - 6 * DAY, today(now) + DAY] },
  '30d': { title: '30 days', range: (now) => [today(now) - 29 * DAY, today(now) + DAY] },
};

export function read(hash, now) {
  const q = new URLSearchParams(hash.replace(/^#/, ''));
  const place = { period: q.get('period'), from: Number(q.get('from')), to: Number(q.get('to')), request: q.get('request') };
  for (const d of DIMENSIONS) place[d] = q.get(d);
  const given = Number.isInteger(place.from) && Number.isInteger(place.to) && place.from > 0 && place.to > place.from && place.to - place.from <= 400 * DAY;
  if (!PERIODS[place.period]) place.period = given ? null : 'today';
  if (!given) [place.from, place.to] = PERIODS[place.period].range(now);
  place.zoomed = Boolean(given && place.period);
  return place;
}

export function write(place) {
  const q = new URLSearchParams();
  if (place.period) q.set('period', place.period);
  if (!place.period || place.zoomed) { q.set('from', place.from); q.set('to', place.to); }
  for (const d of [...DIMENSIONS, 'request']) if (place[d] !== null && place[d] !== undefined) q.set(d, place[d]);
  return '#' + q;
}

/** What the next click narrows: the first dimension that is not fixed yet. */
export const nextDimension = (place) => DIMENSIONS.find((d) => place[d] === null) ?? null;

export function stepOf(from, to) {
  const length = to - from;
  if (length <= 6 * HOUR) return 900;
  if (length <= 3 * DAY) return HOUR;
  if (length <= 10 * DAY && length % (3 * HOUR) === 0) return 3 * HOUR;
  return DAY;
}

/** The question's parameters: everything narrowed; days are whole where the step is a day. */
export function query(place) {
  const step = stepOf(place.from, place.to);
  const from = step === DAY ? place.from - place.from % DAY : place.from - place.from % 900;
  const to = from + Math.ceil((place.to - from) / step) * step;
  return { from, to, step, team: place.team, model: place.model, user: place.user };
}
