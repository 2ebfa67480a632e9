-- Schema 6: the circuit breaker of each target, so that what is known of a provider outlives a restart.
CREATE TABLE route_state (
    grp           TEXT    NOT NULL,        -- provider group
    model         TEXT    NOT NULL,        -- the model's name there
    state         TEXT    NOT NULL,        -- closed, open, half_open
    reason        TEXT    NOT NULL,        -- why it was last opened; '' never
    drained       INTEGER NOT NULL,        -- 1: set aside by an operator
    open_until_us INTEGER NOT NULL,        -- 0: not open
    openings      INTEGER NOT NULL,        -- in a row, without a recovery
    ttft_us       INTEGER NOT NULL,        -- decayed: time to the first token of streams, -1 unknown
    tpot_ns       INTEGER NOT NULL,        -- time for each further token, nanoseconds
    plain_us      INTEGER NOT NULL,        -- whole time of answers that are no stream
    output_tokens INTEGER NOT NULL,        -- of the usual answer
    updated_us    INTEGER NOT NULL,
    PRIMARY KEY (grp, model)
) STRICT, WITHOUT ROWID;
