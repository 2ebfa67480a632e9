-- Schema 4: roll-ups that every finance report can be read from.
--
-- Roll-ups hold the requests up to the id in ledger_note 'rolled' (with their corrections); what is newer is still few enough to be
-- summed from the rows themselves. The views rollup, rollup_day, rollup_user_day and rollup_user_month put both together: take those.

ALTER TABLE request_row ADD COLUMN discount_nano INTEGER NOT NULL DEFAULT 0;     -- what list prices would have cost more than cost_nano
ALTER TABLE request_row ADD COLUMN prompt_saved_nano INTEGER NOT NULL DEFAULT 0; -- what its cached input would have cost more, uncached
ALTER TABLE correction_row ADD COLUMN discount_nano INTEGER NOT NULL DEFAULT 0;
ALTER TABLE correction_row ADD COLUMN started_us INTEGER NOT NULL DEFAULT 0;     -- of the request
UPDATE correction_row SET started_us = (SELECT r.started_us FROM request_row AS r WHERE r.id = correction_row.request);
-- Those that count for another month than their request's.
CREATE INDEX correction_moved ON correction_row (account_us) WHERE account_us <> started_us;

UPDATE request_row SET prompt_saved_nano = coalesce(
    (SELECT request_row.input_cached * (p.input - p.input_cached) / 1000 FROM price AS p JOIN target AS t ON t.id = request_row.served
     WHERE p.version = request_row.price_version AND p.provider = t.provider AND p.model = t.model AND p.input > p.input_cached
       AND (p.tier = 0 OR p.above < request_row.input + request_row.input_cached + request_row.input_cache_write
                                    + request_row.input_cache_write_1h + request_row.input_audio)
     ORDER BY p.tier DESC LIMIT 1), 0)
WHERE input_cached > 0;

ALTER TABLE rollup_row ADD COLUMN discount_nano INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_row ADD COLUMN cache_answers INTEGER NOT NULL DEFAULT 0;      -- answered by the gateway's cache; saved_nano is theirs
ALTER TABLE rollup_row ADD COLUMN prompt_saved_nano INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_row ADD COLUMN fallback_answers INTEGER NOT NULL DEFAULT 0;   -- rescued by the fallback group, and what that cost
ALTER TABLE rollup_row ADD COLUMN fallback_nano INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_row ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;            -- of settled: known_by counted, bounded, none; their costs
ALTER TABLE rollup_row ADD COLUMN counted_nano INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_row ADD COLUMN bounded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_row ADD COLUMN bounded_nano INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_row ADD COLUMN uncharged INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_row ADD COLUMN correction_nano INTEGER NOT NULL DEFAULT 0;    -- of cost_nano: booked by corrections

-- Of requests that were archived before this schema the new columns stay 0.
UPDATE rollup_row SET (cache_answers, prompt_saved_nano, fallback_answers, fallback_nano, counted, counted_nano, bounded, bounded_nano, uncharged)
    = (n.a, n.b, n.c, n.d, n.e, n.f, n.g, n.h, n.i)
FROM (SELECT started_us / 900000000 * 900 AS slot, who, coalesce(served, plan, 0) AS target, sum(saved_nano > 0) AS a, sum(prompt_saved_nano) AS b,
             sum(coalesce(fallback, 0) = 1 AND outcome <> 'provider_error') AS c,
             sum(iif(coalesce(fallback, 0) = 1 AND outcome <> 'provider_error', cost_nano, 0)) AS d,
             sum(known_by = 2) AS e, sum(iif(known_by = 2, cost_nano, 0)) AS f, sum(known_by = 3) AS g, sum(iif(known_by = 3, cost_nano, 0)) AS h,
             sum(known_by = 4) AS i
      FROM request_row WHERE state = 1 GROUP BY 1, 2, 3) AS n
WHERE n.slot = rollup_row.slot AND n.who = rollup_row.who AND n.target = rollup_row.target;
UPDATE rollup_row SET correction_nano = n.nano
FROM (SELECT c.account_us / 900000000 * 900 AS slot, r.who, coalesce(r.served, r.plan, 0) AS target, sum(c.cost_nano) AS nano
      FROM correction_row AS c JOIN request_row AS r ON r.id = c.request GROUP BY 1, 2, 3) AS n
WHERE n.slot = rollup_row.slot AND n.who = rollup_row.who AND n.target = rollup_row.target;

-- By UTC day and who, and by UTC month and who: a year by user reads months, a month by user days.
CREATE TABLE rollup_user_day_row (
    slot          INTEGER NOT NULL,         -- start of the day, in seconds UTC since 1970
    who           INTEGER NOT NULL REFERENCES who (id),
    target        INTEGER NOT NULL,
    settled       INTEGER NOT NULL,
    denied        INTEGER NOT NULL,
    corrections   INTEGER NOT NULL,
    input         INTEGER NOT NULL,
    input_cached  INTEGER NOT NULL,
    input_cache_write INTEGER NOT NULL,
    input_cache_write_1h INTEGER NOT NULL,
    output        INTEGER NOT NULL,
    output_reasoning INTEGER NOT NULL,
    input_audio   INTEGER NOT NULL,
    output_audio  INTEGER NOT NULL,
    cost_nano     INTEGER NOT NULL,
    saved_nano    INTEGER NOT NULL,
    discount_nano INTEGER NOT NULL,
    cache_answers INTEGER NOT NULL,
    prompt_saved_nano INTEGER NOT NULL,
    fallback_answers INTEGER NOT NULL,
    fallback_nano INTEGER NOT NULL,
    counted       INTEGER NOT NULL,
    counted_nano  INTEGER NOT NULL,
    bounded       INTEGER NOT NULL,
    bounded_nano  INTEGER NOT NULL,
    uncharged     INTEGER NOT NULL,
    correction_nano INTEGER NOT NULL,
    PRIMARY KEY (slot, who, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollup_user_month_row (
    slot          INTEGER NOT NULL,         -- start of the month, in seconds UTC since 1970
    who           INTEGER NOT NULL REFERENCES who (id),
    target        INTEGER NOT NULL,
    settled       INTEGER NOT NULL,
    denied        INTEGER NOT NULL,
    corrections   INTEGER NOT NULL,
    input         INTEGER NOT NULL,
    input_cached  INTEGER NOT NULL,
    input_cache_write INTEGER NOT NULL,
    input_cache_write_1h INTEGER NOT NULL,
    output        INTEGER NOT NULL,
    output_reasoning INTEGER NOT NULL,
    input_audio   INTEGER NOT NULL,
    output_audio  INTEGER NOT NULL,
    cost_nano     INTEGER NOT NULL,
    saved_nano    INTEGER NOT NULL,
    discount_nano INTEGER NOT NULL,
    cache_answers INTEGER NOT NULL,
    prompt_saved_nano INTEGER NOT NULL,
    fallback_answers INTEGER NOT NULL,
    fallback_nano INTEGER NOT NULL,
    counted       INTEGER NOT NULL,
    counted_nano  INTEGER NOT NULL,
    bounded       INTEGER NOT NULL,
    bounded_nano  INTEGER NOT NULL,
    uncharged     INTEGER NOT NULL,
    correction_nano INTEGER NOT NULL,
    PRIMARY KEY (slot, who, target)
) STRICT, WITHOUT ROWID;

INSERT INTO rollup_user_day_row
SELECT slot / 86400 * 86400, who, target, sum(settled), sum(denied), sum(corrections), sum(input), sum(input_cached), sum(input_cache_write),
       sum(input_cache_write_1h), sum(output), sum(output_reasoning), sum(input_audio), sum(output_audio), sum(cost_nano), sum(saved_nano),
       sum(discount_nano), sum(cache_answers), sum(prompt_saved_nano), sum(fallback_answers), sum(fallback_nano), sum(counted),
       sum(counted_nano), sum(bounded), sum(bounded_nano), sum(uncharged), sum(correction_nano)
FROM rollup_row GROUP BY 1, 2, 3;

INSERT INTO rollup_user_month_row
SELECT unixepoch(slot, 'unixepoch', 'start of month'), who, target, sum(settled), sum(denied), sum(corrections), sum(input), sum(input_cached),
       sum(input_cache_write), sum(input_cache_write_1h), sum(output), sum(output_reasoning), sum(input_audio), sum(output_audio), sum(cost_nano),
       sum(saved_nano), sum(discount_nano), sum(cache_answers), sum(prompt_saved_nano), sum(fallback_answers), sum(fallback_nano), sum(counted),
       sum(counted_nano), sum(bounded), sum(bounded_nano), sum(uncharged), sum(correction_nano)
FROM rollup_user_day_row GROUP BY 1, 2, 3;

-- The roll-up by account and day, made anew from the one by user with the same columns.
DROP VIEW IF EXISTS rollup_day;
DROP TABLE rollup_day_row;
CREATE TABLE rollup_day_row (
    slot          INTEGER NOT NULL,         -- start of the day, in seconds UTC since 1970
    who           INTEGER NOT NULL REFERENCES account (id),
    target        INTEGER NOT NULL,
    settled       INTEGER NOT NULL,
    denied        INTEGER NOT NULL,
    corrections   INTEGER NOT NULL,
    input         INTEGER NOT NULL,
    input_cached  INTEGER NOT NULL,
    input_cache_write INTEGER NOT NULL,
    input_cache_write_1h INTEGER NOT NULL,
    output        INTEGER NOT NULL,
    output_reasoning INTEGER NOT NULL,
    input_audio   INTEGER NOT NULL,
    output_audio  INTEGER NOT NULL,
    cost_nano     INTEGER NOT NULL,
    saved_nano    INTEGER NOT NULL,
    discount_nano INTEGER NOT NULL,
    cache_answers INTEGER NOT NULL,
    prompt_saved_nano INTEGER NOT NULL,
    fallback_answers INTEGER NOT NULL,
    fallback_nano INTEGER NOT NULL,
    counted       INTEGER NOT NULL,
    counted_nano  INTEGER NOT NULL,
    bounded       INTEGER NOT NULL,
    bounded_nano  INTEGER NOT NULL,
    uncharged     INTEGER NOT NULL,
    correction_nano INTEGER NOT NULL,
    PRIMARY KEY (slot, who, target)
) STRICT, WITHOUT ROWID;
INSERT INTO rollup_day_row
SELECT u.slot, w.account, u.target, sum(u.settled), sum(u.denied), sum(u.corrections), sum(u.input), sum(u.input_cached), sum(u.input_cache_write),
       sum(u.input_cache_write_1h), sum(u.output), sum(u.output_reasoning), sum(u.input_audio), sum(u.output_audio), sum(u.cost_nano),
       sum(u.saved_nano), sum(u.discount_nano), sum(u.cache_answers), sum(u.prompt_saved_nano), sum(u.fallback_answers), sum(u.fallback_nano),
       sum(u.counted), sum(u.counted_nano), sum(u.bounded), sum(u.bounded_nano), sum(u.uncharged), sum(u.correction_nano)
FROM rollup_user_day_row AS u JOIN who AS w ON w.id = u.who GROUP BY 1, 2, 3;

-- Refusals by UTC day, account and reason.
CREATE TABLE denial_day_row (
    slot          INTEGER NOT NULL,
    account       INTEGER NOT NULL REFERENCES account (id),
    deny_reason   TEXT    NOT NULL,
    http_status   INTEGER NOT NULL,
    requests      INTEGER NOT NULL,
    PRIMARY KEY (slot, account, deny_reason, http_status)
) STRICT, WITHOUT ROWID;
INSERT INTO denial_day_row
SELECT r.started_us / 86400000000 * 86400, w.account, coalesce(r.deny_reason, ''), coalesce(r.http_status, 0), count(*)
FROM request_row AS r JOIN who AS w ON w.id = r.who WHERE r.state = 2 GROUP BY 1, 2, 3, 4;

-- With whom a request is compared: those of its team on the same model, in the same UTC month.
CREATE TABLE peers (
    id            INTEGER PRIMARY KEY,
    organization  TEXT NOT NULL,
    team          TEXT NOT NULL,
    model         TEXT NOT NULL,
    UNIQUE (team, model, organization)
) STRICT;

-- How many settled requests cost how much (corrections included): cost_nano rounded down to two significant digits. Costs of 0 are left out.
CREATE TABLE cost_histogram_row (
    month         INTEGER NOT NULL,         -- start, in seconds UTC since 1970, of the month the request started in
    peers         INTEGER NOT NULL REFERENCES peers (id),
    cost_nano     INTEGER NOT NULL,
    requests      INTEGER NOT NULL,
    PRIMARY KEY (month, peers, cost_nano)
) STRICT, WITHOUT ROWID;

-- Requests that stood far above their peers' median when they were rolled up, with what a report says of them. Some that do not any more are
-- among them; whether some are missing, the histogram tells.
CREATE TABLE outlier_row (
    month         INTEGER NOT NULL,
    peers         INTEGER NOT NULL REFERENCES peers (id),
    cost_nano     INTEGER NOT NULL,         -- with corrections
    request       INTEGER NOT NULL,         -- may be in an archive by now
    request_id    TEXT    NOT NULL,
    started_us    INTEGER NOT NULL,
    who           INTEGER NOT NULL REFERENCES who (id),
    target        INTEGER NOT NULL,
    known_by      INTEGER NOT NULL,
    PRIMARY KEY (month, peers, cost_nano, request)
) STRICT, WITHOUT ROWID;

INSERT INTO peers (organization, team, model)
SELECT DISTINCT w.organization, w.team, coalesce(t.model, '') FROM rollup_user_month_row AS u JOIN who AS w ON w.id = u.who LEFT JOIN target AS t ON t.id = u.target;
WITH cost AS (SELECT unixepoch(r.started_us / 1000000, 'unixepoch', 'start of month') AS month, p.id AS peers,
                     r.cost_nano + (SELECT coalesce(sum(c.cost_nano), 0) FROM correction_row AS c WHERE c.request = r.id) AS nano
              FROM request_row AS r JOIN who AS w ON w.id = r.who LEFT JOIN target AS t ON t.id = coalesce(r.served, r.plan)
              JOIN peers AS p ON p.team = w.team AND p.model = coalesce(t.model, '') AND p.organization = w.organization WHERE r.state = 1),
     scaled AS (SELECT month, peers, nano, CAST('1' || substr('0000000000000000000', 1, max(length(nano) - 2, 0)) AS INTEGER) AS unit FROM cost WHERE nano > 0)
INSERT INTO cost_histogram_row SELECT month, peers, nano / unit * unit, count(*) FROM scaled GROUP BY 1, 2, 3;

INSERT INTO ledger_note
SELECT 'rolled', max((SELECT coalesce(max(id), 0) FROM request_row), (SELECT value FROM ledger_note WHERE name = 'last_id'));
