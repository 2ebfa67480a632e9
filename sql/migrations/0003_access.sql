-- Who is refused although his credential is good, gateway keys, and who changed either.

CREATE TABLE revocation (
    kind        TEXT    NOT NULL,           -- subject, token, team, key, session
    issuer      TEXT    NOT NULL,           -- '': whoever issued it
    value       TEXT    NOT NULL,
    origin      TEXT    NOT NULL,           -- operator, logout
    before_s    INTEGER NOT NULL,           -- only what was issued until then (seconds since 1970); 0: all
    sessionless INTEGER NOT NULL,           -- 1: only tokens that name no session
    expires_s   INTEGER NOT NULL,           -- the entry ends then; 0: never
    revoked_us  INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    note        TEXT    NOT NULL,
    PRIMARY KEY (kind, issuer, value, origin)
) STRICT, WITHOUT ROWID;

-- Keys for machines. The key itself is nowhere: a hash keyed with a secret outside this file is.
CREATE TABLE gateway_key (
    id               TEXT PRIMARY KEY,
    name             TEXT    NOT NULL,
    hash             BLOB    NOT NULL,      -- HMAC-SHA-256
    previous_hash    BLOB    NOT NULL,      -- before the last rotation; empty: none
    previous_until_s INTEGER NOT NULL,      -- it is accepted until then
    created_us       INTEGER NOT NULL,
    rotated_us       INTEGER NOT NULL,      -- 0: never
    expires_s        INTEGER NOT NULL,      -- 0: never
    organization     TEXT    NOT NULL,
    team             TEXT    NOT NULL,
    user_name        TEXT    NOT NULL,
    application      TEXT    NOT NULL,
    cost_center      TEXT    NOT NULL,
    groups           TEXT    NOT NULL,      -- one a line
    models           TEXT    NOT NULL,      -- what it may ask for, one a line; '': no restriction of its own
    actor            TEXT    NOT NULL       -- who created it
) STRICT, WITHOUT ROWID;

-- Only ever added to, in the transaction of the change itself.
CREATE TABLE access_event (
    id      INTEGER PRIMARY KEY,
    at_us   INTEGER NOT NULL,
    actor   TEXT    NOT NULL,               -- "uid 0" at the admin socket, or "issuer URL" for a logout
    action  TEXT    NOT NULL,               -- revoke, unrevoke, key_create, key_rotate
    object  TEXT    NOT NULL,
    detail  TEXT    NOT NULL
) STRICT;
