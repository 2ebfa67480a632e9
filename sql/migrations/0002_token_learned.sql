-- Schema 2: what providers' reported input tokens taught about our counts. One row for each kind of request (shape) and size of a
-- model; ratios are reported / counted, in millionths.
CREATE TABLE token_learned (
    provider     TEXT    NOT NULL,
    model        TEXT    NOT NULL,
    shape        INTEGER NOT NULL,         -- 0 plain, 1 with tools, 2 with tool calls or results, 3 other, 4 exact or documented counts
    size         INTEGER NOT NULL,         -- counted tokens: 0 below 64, 1 below 512, 2 below 4096, 3 above
    observations INTEGER NOT NULL,
    agreed       INTEGER NOT NULL,         -- reported exactly what was counted
    p01_ppm      INTEGER NOT NULL,         -- 1 % of the ratios are at or below
    median_ppm   INTEGER NOT NULL,
    p99_ppm      INTEGER NOT NULL,
    max_ppm      INTEGER NOT NULL,
    histogram    TEXT    NOT NULL,         -- "bin:count ...": bin 0 up to 0.125, each further one 2 % wider
    updated_us   INTEGER NOT NULL,
    PRIMARY KEY (provider, model, shape, size)
) STRICT, WITHOUT ROWID;
