-- The ledger, schema 1.
--
-- Whole numbers only: money in nano-dollars (10^-9 USD), prices in pico-dollars (10^-12 USD) per token, times in microseconds UTC
-- since 1970 (columns end in _us), everything else in the unit its name says. NULL: not known, or not yet.
-- Tables ending in _row keep codes and references; read the views of the same name without it (request, attempt, correction,
-- rollup: see views.sql), which spell everything out.

-- Whose request: one row for each combination that ever occurred. '' = the token did not say.
CREATE TABLE who (
    id           INTEGER PRIMARY KEY,
    organization TEXT NOT NULL,
    team         TEXT NOT NULL,
    user_name    TEXT NOT NULL,
    application  TEXT NOT NULL,
    cost_center  TEXT NOT NULL,
    subject      TEXT NOT NULL,           -- sub of the token
    issuer       TEXT NOT NULL,           -- iss of the token
    account      INTEGER NOT NULL REFERENCES account (id),
    UNIQUE (subject, issuer, user_name, team, application, cost_center, organization)
) STRICT;

-- The part of `who` that is charged: what the roll-up by day is kept by.
CREATE TABLE account (
    id           INTEGER PRIMARY KEY,
    organization TEXT NOT NULL,
    team         TEXT NOT NULL,
    application  TEXT NOT NULL,
    cost_center  TEXT NOT NULL,
    UNIQUE (team, cost_center, application, organization)
) STRICT;

-- Where a request went: provider group (an HAProxy backend), provider and model as the price table names them.
CREATE TABLE target (
    id       INTEGER PRIMARY KEY,
    grp      TEXT NOT NULL,
    provider TEXT NOT NULL,
    model    TEXT NOT NULL,
    UNIQUE (model, grp, provider)
) STRICT;

-- One row for each request that was decided. Written when it is decided, completed once when it is settled, never changed after that:
-- what becomes known later is a row of correction_row.
CREATE TABLE request_row (
    id                 INTEGER PRIMARY KEY, -- given by the agent, ascending
    request_id         TEXT    NOT NULL,    -- HAProxy's unique-id, also in its log
    started_us         INTEGER NOT NULL,
    who                INTEGER NOT NULL REFERENCES who (id),
    state              INTEGER NOT NULL,    -- 0 open (money is held), 1 settled, 2 denied
    deny_reason        TEXT,
    endpoint           INTEGER NOT NULL,    -- 0 chat, 1 responses, 2 completions, 3 embeddings, 4 messages
    stream             INTEGER NOT NULL,
    alias              TEXT    NOT NULL,    -- the model as it was asked for
    plan               INTEGER REFERENCES target (id), -- first choice
    plan_fallback      INTEGER REFERENCES target (id),
    input_counted      INTEGER,             -- tokens before sending
    input_bound        INTEGER,             -- what the hold assumes, >= input_counted
    exactness          INTEGER,             -- of input_counted: 0 exact, 1 documented rule, 2 estimate
    output_ceiling     INTEGER,             -- of one choice
    choices            INTEGER,
    hold_nano          INTEGER NOT NULL,    -- reserved while open: the most it could cost
    price_version      INTEGER,             -- the price table of hold_nano, later of cost_nano
    body_bytes         INTEGER,
    identity_us        INTEGER,             -- the agent's own time by stage
    tokens_us          INTEGER,
    budget_us          INTEGER,
    -- from here on: known when it is settled
    http_status        INTEGER,             -- what the client got
    settled_us         INTEGER,
    known_by           INTEGER,             -- how cost_nano is known: 0 open, 1 reported, 2 counted, 3 bounded, 4 none
    outcome            TEXT,
    served             INTEGER REFERENCES target (id),
    -- tokens by kind; a token is in exactly one of them
    input              INTEGER,
    input_cached       INTEGER,
    input_cache_write  INTEGER,
    input_cache_write_1h INTEGER,
    output             INTEGER,
    output_reasoning   INTEGER,
    input_audio        INTEGER,
    output_audio       INTEGER,
    cost_nano          INTEGER NOT NULL DEFAULT 0,
    saved_nano         INTEGER NOT NULL DEFAULT 0, -- answered from the cache: what it would have cost
    provider_cost_nano INTEGER,             -- as claimed by the provider; for comparison only
    ttft_us            INTEGER,             -- time to the first byte of the answer
    tpot_ns            INTEGER,             -- nanoseconds per output token after the first byte
    total_us           INTEGER,
    attempts           INTEGER,
    fallback           INTEGER,             -- 1: answered by the fallback group
    response_bytes     INTEGER,
    commit_us          INTEGER              -- how long the decision waited for its commit
) STRICT;

CREATE INDEX request_started ON request_row (started_us);
CREATE INDEX request_open ON request_row (id) WHERE state = 0;

-- One row for each try at a provider.
CREATE TABLE attempt_row (
    request       INTEGER NOT NULL REFERENCES request_row (id),
    number        INTEGER NOT NULL,         -- from 1
    target        INTEGER REFERENCES target (id),
    started_us    INTEGER NOT NULL,
    http_status   INTEGER,
    outcome       TEXT NOT NULL,
    first_byte_us INTEGER,
    total_us      INTEGER,
    PRIMARY KEY (request, number)
) STRICT, WITHOUT ROWID;

-- Changes to settled requests: differences, possibly negative.
CREATE TABLE correction_row (
    id            INTEGER PRIMARY KEY,
    request       INTEGER NOT NULL REFERENCES request_row (id),
    booked_us     INTEGER NOT NULL,
    account_us    INTEGER NOT NULL,         -- the moment it counts for: the request's start, or booked_us when that month is closed
    reason        TEXT    NOT NULL,
    known_by      INTEGER NOT NULL,
    input         INTEGER NOT NULL,
    input_cached  INTEGER NOT NULL,
    input_cache_write INTEGER NOT NULL,
    input_cache_write_1h INTEGER NOT NULL,
    output        INTEGER NOT NULL,
    output_reasoning INTEGER NOT NULL,
    input_audio   INTEGER NOT NULL,
    output_audio  INTEGER NOT NULL,
    cost_nano     INTEGER NOT NULL,
    price_version INTEGER
) STRICT;
CREATE INDEX correction_request ON correction_row (request);

-- Sums over settled and denied requests and corrections, written in the same transaction as they are. Target: served, or planned
-- when nothing was served; NULL cannot be a key, so 0 stands for none. By 15 minutes, because every time zone's midnight falls on one.
CREATE TABLE rollup_row (
    slot          INTEGER NOT NULL,         -- start, in seconds UTC since 1970
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
    PRIMARY KEY (slot, who, target)
) STRICT, WITHOUT ROWID;

-- The same sums by UTC day and account, so that a year's report reads thousands of rows, not millions.
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
    PRIMARY KEY (slot, who, target)
) STRICT, WITHOUT ROWID;

-- Price tables by content: id is the first 12 hexadecimal digits of hash as a number.
CREATE TABLE price_version (
    id            INTEGER PRIMARY KEY,
    hash          TEXT NOT NULL UNIQUE,     -- SHA-256
    source        TEXT NOT NULL,
    models        INTEGER NOT NULL,
    imported_us   INTEGER NOT NULL
) STRICT;

-- Which version was in force from when on. The last row is the active one.
CREATE TABLE price_validity (
    id            INTEGER PRIMARY KEY,
    version       INTEGER NOT NULL REFERENCES price_version (id),
    valid_from_us INTEGER NOT NULL,
    imported_us   INTEGER NOT NULL
) STRICT;

-- Pico-dollars per token. tier 0 holds for requests up to the next tier's `above`; a higher tier prices the whole request.
CREATE TABLE price (
    version       INTEGER NOT NULL REFERENCES price_version (id),
    provider      TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    tier          INTEGER NOT NULL,
    above         INTEGER NOT NULL,         -- input tokens
    input         INTEGER NOT NULL,
    input_cached  INTEGER NOT NULL,
    input_cache_write INTEGER NOT NULL,
    input_cache_write_1h INTEGER NOT NULL,
    output        INTEGER NOT NULL,
    output_reasoning INTEGER NOT NULL,
    input_audio   INTEGER NOT NULL,
    output_audio  INTEGER NOT NULL,
    request_pico  INTEGER NOT NULL,         -- per request
    published     INTEGER NOT NULL,         -- bit per kind, in the order of the columns: stood in the source; others follow a rule
    status        INTEGER NOT NULL,         -- 0 unpriced, 1 half priced, 2 all zero in a catalogue, 3 priced
    overridden    INTEGER NOT NULL,         -- 1: from the configuration
    context       INTEGER NOT NULL,         -- limits in tokens, 0 unknown
    input_limit   INTEGER NOT NULL,
    output_limit  INTEGER NOT NULL,
    PRIMARY KEY (version, provider, model, tier)
) STRICT, WITHOUT ROWID;

-- Everything before the last before_us is frozen: corrections to it count for the month they are booked in.
CREATE TABLE month_close (
    before_us INTEGER PRIMARY KEY,
    closed_us INTEGER NOT NULL
) STRICT;

-- Rows that were moved out, by file: id range and sums, so that roll-ups can still be checked against raw rows.
CREATE TABLE archive (
    file        TEXT    NOT NULL,
    first_id    INTEGER NOT NULL,
    last_id     INTEGER NOT NULL,
    requests    INTEGER NOT NULL,
    cost_nano   INTEGER NOT NULL,           -- with corrections
    moved_us    INTEGER NOT NULL
) STRICT;

-- What the agent notes about the file itself.
CREATE TABLE ledger_note (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO ledger_note VALUES ('last_id', 0), ('probe', 0);
