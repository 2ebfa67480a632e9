-- Schema 8: thresholds of limits that were passed, so that each is reported once, also over restarts.
CREATE TABLE alert (
    id         INTEGER PRIMARY KEY,
    event      TEXT    NOT NULL UNIQUE,    -- webhook-id
    limit_name TEXT    NOT NULL,
    unit       TEXT    NOT NULL,           -- usd, tokens, requests
    subject    TEXT    NOT NULL,           -- "team=research user=ann"
    percent    INTEGER NOT NULL,
    at_us      INTEGER NOT NULL,           -- UTC microseconds
    body       TEXT    NOT NULL,           -- as it is sent
    state      TEXT    NOT NULL,           -- pending, sent, dropped (given up), unheard (no webhook was configured)
    attempts   INTEGER NOT NULL DEFAULT 0,
    ended_us   INTEGER                     -- sent or given up
) STRICT;
CREATE INDEX alert_crossing ON alert (limit_name, subject, percent, at_us);
CREATE INDEX alert_pending ON alert (id) WHERE state = 'pending';
