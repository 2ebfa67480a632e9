-- Schema 12: what limits on an alias count, also of requests that moved to an archive; images, which some providers price by the piece.
ALTER TABLE request_row ADD COLUMN charged_as TEXT;                  -- the alias that limits counted it for; null: `alias`
ALTER TABLE request_row ADD COLUMN images INTEGER NOT NULL DEFAULT 0; -- sent with the request
ALTER TABLE price ADD COLUMN image_pico INTEGER NOT NULL DEFAULT 0;  -- per image sent

-- Limits on tokens count these with the tokens of their hold.
CREATE INDEX request_bounded ON request_row (started_us) WHERE known_by = 3;

-- Settled requests that were archived, with their corrections, by 15 minutes. Roll-ups do not know aliases.
CREATE TABLE archived_alias (
    slot      INTEGER NOT NULL,         -- start, in seconds UTC since 1970
    who       INTEGER NOT NULL REFERENCES who (id),
    target    INTEGER NOT NULL,         -- served or planned; 0: none
    alias     TEXT    NOT NULL,
    settled   INTEGER NOT NULL,
    tokens    INTEGER NOT NULL,         -- of all kinds
    cost_nano INTEGER NOT NULL,
    PRIMARY KEY (slot, who, target, alias)
) STRICT, WITHOUT ROWID;
