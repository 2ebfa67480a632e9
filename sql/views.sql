-- Views for people. Made anew whenever the ledger is opened for writing, so they always fit the program.
-- usd columns are exact decimal text (nine digits); for sums and comparisons take the nano columns.

DROP VIEW IF EXISTS request;
CREATE VIEW request AS
SELECT r.id,
       r.request_id,
       strftime('%Y-%m-%dT%H:%M:%S', r.started_us / 1000000, 'unixepoch') || printf('.%06dZ', r.started_us % 1000000) AS started,
       w.organization, w.team, w.user_name, w.application, w.cost_center, w.subject, w.issuer,
       CASE r.endpoint WHEN 0 THEN 'chat' WHEN 1 THEN 'responses' WHEN 2 THEN 'completions' WHEN 3 THEN 'embeddings'
                       WHEN 4 THEN 'messages' WHEN 5 THEN 'passthrough' END AS endpoint,
       r.alias,
       r.stream,
       CASE r.state WHEN 0 THEN 'open' WHEN 1 THEN 'settled' WHEN 2 THEN 'denied' END AS state,
       r.deny_reason,
       r.http_status,
       r.outcome,
       p.grp AS planned_group, p.provider AS planned_provider, p.model AS planned_model,
       f.grp AS fallback_group, f.provider AS fallback_provider, f.model AS fallback_model,
       s.grp AS served_group, s.provider AS provider, s.model AS model, s.key_name AS provider_key,
       r.input_counted, r.input_bound,
       CASE r.exactness WHEN 0 THEN 'exact' WHEN 1 THEN 'documented' WHEN 2 THEN 'estimated' END AS exactness,
       r.output_ceiling, r.choices,
       r.input, r.input_cached, r.input_cache_write, r.input_cache_write_1h, r.output, r.output_reasoning,
       r.input_audio, r.output_audio,
       r.hold_nano, r.cost_nano, r.saved_nano, r.discount_nano, r.prompt_saved_nano, r.provider_cost_nano,
       printf('%s%d.%09d', iif(r.hold_nano < 0, '-', ''), abs(r.hold_nano) / 1000000000, abs(r.hold_nano) % 1000000000) AS hold_usd,
       printf('%s%d.%09d', iif(r.cost_nano < 0, '-', ''), abs(r.cost_nano) / 1000000000, abs(r.cost_nano) % 1000000000) AS cost_usd,
       CASE r.known_by WHEN 0 THEN 'open' WHEN 1 THEN 'reported' WHEN 2 THEN 'counted' WHEN 3 THEN 'bounded' WHEN 4 THEN 'none' END
           AS known_by,
       r.price_version, r.budget_left_nano, r.images, r.images_out, r.output_image, coalesce(r.charged_as, r.alias) AS charged_as,
       r.ttft_us, r.tpot_ns, r.total_us, r.attempts, r.fallback, r.body_bytes, r.response_bytes,
       r.identity_us, r.tokens_us, r.budget_us, r.commit_us, r.provider_request_id,
       strftime('%Y-%m-%dT%H:%M:%S', r.settled_us / 1000000, 'unixepoch') || printf('.%06dZ', r.settled_us % 1000000) AS settled,
       r.started_us, r.settled_us
FROM request_row AS r
JOIN who AS w ON w.id = r.who
LEFT JOIN target AS p ON p.id = r.plan
LEFT JOIN target AS f ON f.id = r.plan_fallback
LEFT JOIN target AS s ON s.id = r.served;

DROP VIEW IF EXISTS attempt;
CREATE VIEW attempt AS
SELECT a.request, r.request_id, a.number,
       strftime('%Y-%m-%dT%H:%M:%S', a.started_us / 1000000, 'unixepoch') || printf('.%06dZ', a.started_us % 1000000) AS started,
       t.grp AS provider_group, t.provider, t.model, t.key_name AS provider_key, a.http_status, a.outcome, a.first_byte_us, a.total_us, a.started_us, a.provider_request_id
FROM attempt_row AS a
LEFT JOIN request_row AS r ON r.id = a.request
LEFT JOIN target AS t ON t.id = a.target;

DROP VIEW IF EXISTS correction;
CREATE VIEW correction AS
SELECT c.id, c.request, r.request_id,
       strftime('%Y-%m-%dT%H:%M:%SZ', c.booked_us / 1000000, 'unixepoch') AS booked,
       strftime('%Y-%m-%dT%H:%M:%SZ', c.account_us / 1000000, 'unixepoch') AS counts_for,
       c.reason,
       CASE c.known_by WHEN 1 THEN 'reported' WHEN 2 THEN 'counted' WHEN 3 THEN 'bounded' WHEN 4 THEN 'none' END AS known_by,
       c.input, c.input_cached, c.input_cache_write, c.input_cache_write_1h, c.output, c.output_reasoning, c.input_audio,
       c.output_audio, c.cost_nano,
       printf('%s%d.%09d', iif(c.cost_nano < 0, '-', ''), abs(c.cost_nano) / 1000000000, abs(c.cost_nano) % 1000000000) AS cost_usd,
       c.price_version, c.booked_us, c.account_us
FROM correction_row AS c
LEFT JOIN request_row AS r ON r.id = c.request;

-- What roll-ups do not hold yet: requests newer than ledger_note 'rolled', one row each, and corrections to them.
DROP VIEW IF EXISTS unrolled;
CREATE VIEW unrolled AS
SELECT started_us / 1000000 AS second, who, coalesce(served, plan, 0) AS target, state = 1 AS settled, state = 2 AS denied, 0 AS corrections,
       coalesce(input, 0) AS input, coalesce(input_cached, 0) AS input_cached, coalesce(input_cache_write, 0) AS input_cache_write,
       coalesce(input_cache_write_1h, 0) AS input_cache_write_1h, coalesce(output, 0) AS output,
       coalesce(output_reasoning, 0) AS output_reasoning, coalesce(input_audio, 0) AS input_audio, coalesce(output_audio, 0) AS output_audio,
       cost_nano, saved_nano, discount_nano, state = 1 AND saved_nano > 0 AS cache_answers, prompt_saved_nano,
       coalesce(fallback = 1 AND outcome <> 'provider_error', 0) AS fallback_answers,
       iif(coalesce(fallback, 0) = 1 AND outcome <> 'provider_error', cost_nano, 0) AS fallback_nano,
       state = 1 AND known_by = 2 AS counted, iif(state = 1 AND known_by = 2, cost_nano, 0) AS counted_nano,
       state = 1 AND known_by = 3 AS bounded, iif(state = 1 AND known_by = 3, cost_nano, 0) AS bounded_nano,
       state = 1 AND known_by = 4 AS uncharged, 0 AS correction_nano
FROM request_row
WHERE id > (SELECT value FROM ledger_note WHERE name = 'rolled') AND state <> 0
UNION ALL
SELECT c.account_us / 1000000, r.who, coalesce(r.served, r.plan, 0), 0, 0, 1, c.input, c.input_cached, c.input_cache_write,
       c.input_cache_write_1h, c.output, c.output_reasoning, c.input_audio, c.output_audio, c.cost_nano, 0, c.discount_nano, 0, 0, 0, 0, 0, 0, 0,
       0, 0, c.cost_nano
FROM correction_row AS c JOIN request_row AS r ON r.id = c.request
WHERE c.request > (SELECT value FROM ledger_note WHERE name = 'rolled');

-- Sums by 15 minutes, who and target; a cell may come in parts. The next three: by UTC day and account, day and who, month and who.
DROP VIEW IF EXISTS quarters;
CREATE VIEW quarters AS
SELECT slot, who, target,
       settled, denied, corrections, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio,
       output_audio, cost_nano, saved_nano, discount_nano, cache_answers, prompt_saved_nano, fallback_answers, fallback_nano, counted,
       counted_nano, bounded, bounded_nano, uncharged, correction_nano
FROM rollup_row
UNION ALL
SELECT second / 900 * 900, who, target,
       settled, denied, corrections, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio,
       output_audio, cost_nano, saved_nano, discount_nano, cache_answers, prompt_saved_nano, fallback_answers, fallback_nano, counted,
       counted_nano, bounded, bounded_nano, uncharged, correction_nano
FROM unrolled AS n;

DROP VIEW IF EXISTS days;
CREATE VIEW days AS
SELECT slot, who, target,
       settled, denied, corrections, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio,
       output_audio, cost_nano, saved_nano, discount_nano, cache_answers, prompt_saved_nano, fallback_answers, fallback_nano, counted,
       counted_nano, bounded, bounded_nano, uncharged, correction_nano
FROM rollup_day_row
UNION ALL
SELECT second / 86400 * 86400, w.account, target,
       settled, denied, corrections, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio,
       output_audio, cost_nano, saved_nano, discount_nano, cache_answers, prompt_saved_nano, fallback_answers, fallback_nano, counted,
       counted_nano, bounded, bounded_nano, uncharged, correction_nano
FROM unrolled AS n JOIN who AS w ON w.id = n.who;

DROP VIEW IF EXISTS user_days;
CREATE VIEW user_days AS
SELECT slot, who, target,
       settled, denied, corrections, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio,
       output_audio, cost_nano, saved_nano, discount_nano, cache_answers, prompt_saved_nano, fallback_answers, fallback_nano, counted,
       counted_nano, bounded, bounded_nano, uncharged, correction_nano
FROM rollup_user_day_row
UNION ALL
SELECT second / 86400 * 86400, who, target,
       settled, denied, corrections, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio,
       output_audio, cost_nano, saved_nano, discount_nano, cache_answers, prompt_saved_nano, fallback_answers, fallback_nano, counted,
       counted_nano, bounded, bounded_nano, uncharged, correction_nano
FROM unrolled AS n;

DROP VIEW IF EXISTS user_months;
CREATE VIEW user_months AS
SELECT slot, who, target,
       settled, denied, corrections, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio,
       output_audio, cost_nano, saved_nano, discount_nano, cache_answers, prompt_saved_nano, fallback_answers, fallback_nano, counted,
       counted_nano, bounded, bounded_nano, uncharged, correction_nano
FROM rollup_user_month_row
UNION ALL
SELECT unixepoch(second, 'unixepoch', 'start of month'), who, target,
       settled, denied, corrections, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio,
       output_audio, cost_nano, saved_nano, discount_nano, cache_answers, prompt_saved_nano, fallback_answers, fallback_nano, counted,
       counted_nano, bounded, bounded_nano, uncharged, correction_nano
FROM unrolled AS n;

-- The same, spelled out.
DROP VIEW IF EXISTS rollup;
CREATE VIEW rollup AS
SELECT strftime('%Y-%m-%dT%H:%M:%SZ', u.slot, 'unixepoch') AS slot_start,
       w.organization, w.team, w.user_name, w.application, w.cost_center, w.subject, w.issuer,
       t.grp AS provider_group, t.provider, t.model, t.key_name AS provider_key, u.settled + u.denied AS requests,
       u.settled, u.denied, u.corrections, u.input, u.input_cached, u.input_cache_write, u.input_cache_write_1h, u.output,
       u.output_reasoning, u.input_audio, u.output_audio, u.cost_nano, u.saved_nano, u.discount_nano, u.cache_answers,
       u.prompt_saved_nano, u.fallback_answers, u.fallback_nano, u.counted, u.counted_nano, u.bounded, u.bounded_nano, u.uncharged,
       u.correction_nano, u.slot
FROM quarters AS u
JOIN who AS w ON w.id = u.who
LEFT JOIN target AS t ON t.id = u.target;

DROP VIEW IF EXISTS rollup_day;
CREATE VIEW rollup_day AS
SELECT strftime('%Y-%m-%d', u.slot, 'unixepoch') AS day,
       a.organization, a.team, a.application, a.cost_center,
       t.grp AS provider_group, t.provider, t.model, t.key_name AS provider_key, u.settled + u.denied AS requests,
       u.settled, u.denied, u.corrections, u.input, u.input_cached, u.input_cache_write, u.input_cache_write_1h, u.output,
       u.output_reasoning, u.input_audio, u.output_audio, u.cost_nano, u.saved_nano, u.discount_nano, u.cache_answers,
       u.prompt_saved_nano, u.fallback_answers, u.fallback_nano, u.counted, u.counted_nano, u.bounded, u.bounded_nano, u.uncharged,
       u.correction_nano, u.slot
FROM days AS u
JOIN account AS a ON a.id = u.who
LEFT JOIN target AS t ON t.id = u.target;

-- What each team spent on each UTC day.
DROP VIEW IF EXISTS spend_by_team_day;
CREATE VIEW spend_by_team_day AS
SELECT strftime('%Y-%m-%d', u.slot, 'unixepoch') AS day, u.organization, u.team, u.requests, u.denied, u.tokens_in, u.tokens_out,
       printf('%s%d.%09d', iif(u.cost_nano < 0, '-', ''), abs(u.cost_nano) / 1000000000, abs(u.cost_nano) % 1000000000) AS cost_usd, u.cost_nano
FROM (SELECT s.slot, a.organization, a.team, sum(requests) AS requests, sum(denied) AS denied, sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out, sum(cost_nano) AS cost_nano
      FROM (SELECT slot, who, sum(settled + denied) AS requests, sum(denied) AS denied,
             sum(input + input_cached + input_cache_write + input_cache_write_1h + input_audio) AS tokens_in,
             sum(output + output_reasoning + output_audio) AS tokens_out, sum(cost_nano) AS cost_nano FROM days GROUP BY slot, who) AS s
      JOIN account AS a ON a.id = s.who GROUP BY s.slot, a.organization, a.team) AS u
ORDER BY u.slot, u.organization, u.team;

-- What each cost centre spent in each UTC month.
DROP VIEW IF EXISTS spend_by_cost_center_month;
CREATE VIEW spend_by_cost_center_month AS
SELECT month, organization, cost_center, requests, denied, tokens_in, tokens_out,
       printf('%s%d.%09d', iif(cost_nano < 0, '-', ''), abs(cost_nano) / 1000000000, abs(cost_nano) % 1000000000) AS cost_usd, cost_nano
FROM (SELECT strftime('%Y-%m', s.slot, 'unixepoch') AS month, a.organization, a.cost_center,
             sum(requests) AS requests, sum(denied) AS denied, sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out, sum(cost_nano) AS cost_nano
      FROM (SELECT slot, who, sum(settled + denied) AS requests, sum(denied) AS denied,
             sum(input + input_cached + input_cache_write + input_cache_write_1h + input_audio) AS tokens_in,
             sum(output + output_reasoning + output_audio) AS tokens_out, sum(cost_nano) AS cost_nano FROM days GROUP BY slot, who) AS s
      JOIN account AS a ON a.id = s.who GROUP BY 1, 2, 3)
ORDER BY month, organization, cost_center;

-- What was spent on each model, ever; the dearest first.
DROP VIEW IF EXISTS spend_by_model;
CREATE VIEW spend_by_model AS
SELECT provider, model, requests, tokens_in, tokens_cached, tokens_out,
       printf('%s%d.%09d', iif(cost_nano < 0, '-', ''), abs(cost_nano) / 1000000000, abs(cost_nano) % 1000000000) AS cost_usd, cost_nano
FROM (SELECT t.provider, t.model, sum(s.settled) AS requests, sum(s.tokens_in) AS tokens_in, sum(s.tokens_cached) AS tokens_cached,
             sum(s.tokens_out) AS tokens_out, sum(s.cost_nano) AS cost_nano
      FROM (SELECT target, sum(settled) AS settled, sum(corrections) AS corrections, sum(input_cached) AS tokens_cached,
                   sum(input + input_cached + input_cache_write + input_cache_write_1h + input_audio) AS tokens_in,
                   sum(output + output_reasoning + output_audio) AS tokens_out, sum(cost_nano) AS cost_nano FROM user_months GROUP BY target) AS s
      LEFT JOIN target AS t ON t.id = s.target GROUP BY t.provider, t.model HAVING sum(s.settled) + sum(s.corrections) > 0)
ORDER BY cost_nano DESC, provider, model;

-- What each user spent on each UTC day. Of a large ledger, ask for days (WHERE slot >= unixepoch('...')).
DROP VIEW IF EXISTS spend_by_user_day;
CREATE VIEW spend_by_user_day AS
SELECT strftime('%Y-%m-%d', u.slot, 'unixepoch') AS day, u.organization, u.team, u.user_name, u.requests, u.denied, u.tokens_in, u.tokens_out,
       printf('%s%d.%09d', iif(u.cost_nano < 0, '-', ''), abs(u.cost_nano) / 1000000000, abs(u.cost_nano) % 1000000000) AS cost_usd, u.cost_nano, u.slot
FROM (SELECT s.slot, w.organization, w.team, w.user_name, sum(requests) AS requests, sum(denied) AS denied, sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out, sum(cost_nano) AS cost_nano
      FROM (SELECT slot, who, sum(settled + denied) AS requests, sum(denied) AS denied,
             sum(input + input_cached + input_cache_write + input_cache_write_1h + input_audio) AS tokens_in,
             sum(output + output_reasoning + output_audio) AS tokens_out, sum(cost_nano) AS cost_nano FROM user_days GROUP BY slot, who) AS s
      JOIN who AS w ON w.id = s.who GROUP BY s.slot, w.organization, w.team, w.user_name) AS u
ORDER BY u.slot, u.organization, u.team, u.user_name;

-- Money held right now by requests that are not settled.
DROP VIEW IF EXISTS open_holds;
CREATE VIEW open_holds AS
SELECT r.id, r.request_id,
       strftime('%Y-%m-%dT%H:%M:%SZ', r.started_us / 1000000, 'unixepoch') AS started,
       w.organization, w.team, w.user_name, w.application, w.cost_center, r.alias, t.grp AS provider_group, t.model,
       printf('%d.%09d', r.hold_nano / 1000000000, r.hold_nano % 1000000000) AS hold_usd, r.hold_nano, r.started_us
FROM request_row AS r INDEXED BY request_open
JOIN who AS w ON w.id = r.who
LEFT JOIN target AS t ON t.id = r.plan
WHERE r.state = 0
ORDER BY r.id;

-- Requests that were refused, why and how often, by UTC day.
DROP VIEW IF EXISTS denials_by_day;
CREATE VIEW denials_by_day AS
SELECT strftime('%Y-%m-%d', d.slot, 'unixepoch') AS day, a.team, d.deny_reason, d.http_status, sum(d.requests) AS requests
FROM (SELECT slot, account, deny_reason, http_status, requests FROM denial_day_row
      UNION ALL
      SELECT r.started_us / 86400000000 * 86400, w.account, coalesce(r.deny_reason, ''), coalesce(r.http_status, 0), 1
      FROM request_row AS r JOIN who AS w ON w.id = r.who
      WHERE r.id > (SELECT value FROM ledger_note WHERE name = 'rolled') AND r.state = 2) AS d
JOIN account AS a ON a.id = d.account
GROUP BY d.slot, a.team, d.deny_reason, d.http_status
ORDER BY d.slot, a.team, 5 DESC;

-- How the figures of each UTC day are known: all reported is best; bounded means the hold was charged. Corrections are not in it.
DROP VIEW IF EXISTS certainty_by_day;
CREATE VIEW certainty_by_day AS
SELECT strftime('%Y-%m-%d', k.slot, 'unixepoch') AS day, k.known_by, k.requests, printf('%d.%09d', k.cost_nano / 1000000000, k.cost_nano % 1000000000) AS cost_usd, k.cost_nano
FROM (SELECT slot, CASE n.i WHEN 1 THEN 'reported' WHEN 2 THEN 'counted' WHEN 3 THEN 'bounded' ELSE 'none' END AS known_by,
             CASE n.i WHEN 1 THEN settled - counted - bounded - uncharged WHEN 2 THEN counted WHEN 3 THEN bounded ELSE uncharged END AS requests,
             CASE n.i WHEN 1 THEN cost_nano - counted_nano - bounded_nano WHEN 2 THEN counted_nano WHEN 3 THEN bounded_nano ELSE 0 END AS cost_nano
      FROM (SELECT slot, sum(settled) AS settled, sum(counted) AS counted, sum(bounded) AS bounded, sum(uncharged) AS uncharged,
                   sum(counted_nano) AS counted_nano, sum(bounded_nano) AS bounded_nano, sum(cost_nano - correction_nano) AS cost_nano
            FROM days GROUP BY slot)
      JOIN (SELECT 1 AS i UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4) AS n) AS k
WHERE k.requests > 0
ORDER BY k.slot, k.known_by;

-- The price table in force: USD per million tokens.
DROP VIEW IF EXISTS active_prices;
CREATE VIEW active_prices AS
SELECT p.provider, p.model, p.tier, p.above AS above_input_tokens,
       printf('%d.%06d', p.input / 1000000, p.input % 1000000) AS input,
       printf('%d.%06d', p.input_cached / 1000000, p.input_cached % 1000000) AS input_cached,
       printf('%d.%06d', p.input_cache_write / 1000000, p.input_cache_write % 1000000) AS input_cache_write,
       printf('%d.%06d', p.output / 1000000, p.output % 1000000) AS output,
       printf('%d.%06d', p.output_reasoning / 1000000, p.output_reasoning % 1000000) AS output_reasoning,
       CASE p.status WHEN 0 THEN 'unpriced' WHEN 1 THEN 'half priced' WHEN 2 THEN 'zero' WHEN 3 THEN 'priced' END AS status,
       p.overridden, p.context, p.output_limit
FROM price AS p
WHERE p.version = (SELECT version FROM price_validity ORDER BY id DESC LIMIT 1);

-- Must be empty: cells whose roll-up differs from the sum of the raw rows that are still in this file, cells of days and months that
-- differ from the sum of their quarters, histogram cells that differ from the rows. Reads every row; slots from before the last
-- archived row are left out of the first, months of archived rows of the last.
DROP VIEW IF EXISTS rollup_mismatch;
CREATE VIEW rollup_mismatch AS
WITH rolled (id) AS (SELECT value FROM ledger_note WHERE name = 'rolled'),
archived (slot) AS (SELECT coalesce((SELECT value FROM ledger_note WHERE name = 'archived_slot'), -1)),
pairs AS (
    SELECT 'quarter' AS cell, started_us / 900000000 * 900 AS slot, who, coalesce(served, plan, 0) AS target, state = 1 AS settled,
           state = 2 AS denied, 0 AS corrections, coalesce(input, 0) AS input, coalesce(input_cached, 0) AS input_cached,
           coalesce(input_cache_write, 0) AS input_cache_write, coalesce(input_cache_write_1h, 0) AS input_cache_write_1h,
           coalesce(output, 0) AS output, coalesce(output_reasoning, 0) AS output_reasoning, coalesce(input_audio, 0) AS input_audio,
           coalesce(output_audio, 0) AS output_audio, cost_nano, saved_nano, discount_nano, state = 1 AND saved_nano > 0 AS cache_answers,
           prompt_saved_nano, coalesce(fallback = 1 AND outcome <> 'provider_error', 0) AS fallback_answers,
           iif(coalesce(fallback, 0) = 1 AND outcome <> 'provider_error', cost_nano, 0) AS fallback_nano,
           state = 1 AND known_by = 2 AS counted, iif(state = 1 AND known_by = 2, cost_nano, 0) AS counted_nano,
           state = 1 AND known_by = 3 AS bounded, iif(state = 1 AND known_by = 3, cost_nano, 0) AS bounded_nano,
           state = 1 AND known_by = 4 AS uncharged, 0 AS correction_nano
    FROM request_row, rolled, archived WHERE request_row.id <= rolled.id AND state <> 0 AND started_us / 1000000 >= archived.slot + 900
    UNION ALL
    SELECT 'quarter', c.account_us / 900000000 * 900, r.who, coalesce(r.served, r.plan, 0), 0, 0, 1, c.input, c.input_cached,
           c.input_cache_write, c.input_cache_write_1h, c.output, c.output_reasoning, c.input_audio, c.output_audio, c.cost_nano, 0,
           c.discount_nano, 0, 0, 0, 0, 0, 0, 0, 0, 0, c.cost_nano
    FROM correction_row AS c JOIN request_row AS r ON r.id = c.request, rolled, archived
    WHERE c.request <= rolled.id AND c.account_us / 1000000 >= archived.slot + 900
    UNION ALL
    SELECT 'quarter', q.slot, who, target, -settled, -denied, -corrections, -input, -input_cached, -input_cache_write, -input_cache_write_1h, -output, -output_reasoning, -input_audio, -output_audio, -cost_nano, -saved_nano, -discount_nano, -cache_answers, -prompt_saved_nano, -fallback_answers, -fallback_nano, -counted, -counted_nano, -bounded, -bounded_nano, -uncharged, -correction_nano
    FROM rollup_row AS q, archived WHERE q.slot > archived.slot
    UNION ALL
    SELECT 'user day', slot / 86400 * 86400, who, target, settled, denied, corrections, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio, output_audio, cost_nano, saved_nano, discount_nano, cache_answers, prompt_saved_nano, fallback_answers, fallback_nano, counted, counted_nano, bounded, bounded_nano, uncharged, correction_nano
    FROM rollup_row
    UNION ALL
    SELECT 'user day', slot, who, target, -settled, -denied, -corrections, -input, -input_cached, -input_cache_write, -input_cache_write_1h, -output, -output_reasoning, -input_audio, -output_audio, -cost_nano, -saved_nano, -discount_nano, -cache_answers, -prompt_saved_nano, -fallback_answers, -fallback_nano, -counted, -counted_nano, -bounded, -bounded_nano, -uncharged, -correction_nano FROM rollup_user_day_row
    UNION ALL
    SELECT 'user month', unixepoch(slot, 'unixepoch', 'start of month'), who, target, settled, denied, corrections, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio, output_audio, cost_nano, saved_nano, discount_nano, cache_answers, prompt_saved_nano, fallback_answers, fallback_nano, counted, counted_nano, bounded, bounded_nano, uncharged, correction_nano
    FROM rollup_row
    UNION ALL
    SELECT 'user month', slot, who, target, -settled, -denied, -corrections, -input, -input_cached, -input_cache_write, -input_cache_write_1h, -output, -output_reasoning, -input_audio, -output_audio, -cost_nano, -saved_nano, -discount_nano, -cache_answers, -prompt_saved_nano, -fallback_answers, -fallback_nano, -counted, -counted_nano, -bounded, -bounded_nano, -uncharged, -correction_nano FROM rollup_user_month_row
    UNION ALL
    SELECT 'day', slot / 86400 * 86400, account, target, settled, denied, corrections, input, input_cached, input_cache_write, input_cache_write_1h, output, output_reasoning, input_audio, output_audio, cost_nano, saved_nano, discount_nano, cache_answers, prompt_saved_nano, fallback_answers, fallback_nano, counted, counted_nano, bounded, bounded_nano, uncharged, correction_nano
    FROM rollup_row JOIN who ON who.id = who
    UNION ALL
    SELECT 'day', slot, who, target, -settled, -denied, -corrections, -input, -input_cached, -input_cache_write, -input_cache_write_1h, -output, -output_reasoning, -input_audio, -output_audio, -cost_nano, -saved_nano, -discount_nano, -cache_answers, -prompt_saved_nano, -fallback_answers, -fallback_nano, -counted, -counted_nano, -bounded, -bounded_nano, -uncharged, -correction_nano FROM rollup_day_row
),
cost AS (
    SELECT unixepoch(r.started_us / 1000000, 'unixepoch', 'start of month') AS month, p.id AS peers,
           r.cost_nano + (SELECT coalesce(sum(c.cost_nano), 0) FROM correction_row AS c WHERE c.request = r.id) AS nano
    FROM request_row AS r JOIN who AS w ON w.id = r.who LEFT JOIN target AS t ON t.id = coalesce(r.served, r.plan)
    LEFT JOIN peers AS p ON p.team = w.team AND p.model = coalesce(t.model, '') AND p.organization = w.organization, rolled
    WHERE r.state = 1 AND r.id <= rolled.id
),
scaled AS (
    SELECT month, peers, nano, CAST('1' || substr('0000000000000000000', 1, max(length(nano) - 2, 0)) AS INTEGER) AS unit FROM cost WHERE nano > 0
),
histogram AS (
    SELECT month, peers, nano / unit * unit AS nano, 1 AS n FROM scaled
    UNION ALL
    SELECT month, peers, cost_nano, -requests FROM cost_histogram_row
)
SELECT cell, slot, who, target, sum(settled) AS settled, sum(denied) AS denied, sum(corrections) AS corrections, sum(cost_nano) AS cost_nano
FROM pairs
GROUP BY cell, slot, who, target
HAVING sum(settled) OR sum(denied) OR sum(corrections) OR sum(input) OR sum(input_cached) OR sum(input_cache_write) OR sum(input_cache_write_1h) OR
       sum(output) OR sum(output_reasoning) OR sum(input_audio) OR sum(output_audio) OR sum(cost_nano) OR sum(saved_nano) OR sum(discount_nano) OR
       sum(cache_answers) OR sum(prompt_saved_nano) OR sum(fallback_answers) OR sum(fallback_nano) OR sum(counted) OR sum(counted_nano) OR
       sum(bounded) OR sum(bounded_nano) OR sum(uncharged) OR sum(correction_nano)
UNION ALL
SELECT 'histogram', month, peers, nano, sum(n), 0, 0, 0
FROM histogram, archived WHERE month > archived.slot
GROUP BY month, peers, nano HAVING sum(n);
