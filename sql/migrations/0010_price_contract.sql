-- Schema 10: what contracts make of the list prices. Part of a price version, in the order in which they are tried.
CREATE TABLE price_contract (
    version INTEGER NOT NULL REFERENCES price_version (id),
    place   INTEGER NOT NULL,
    name    TEXT    NOT NULL,
    terms   TEXT    NOT NULL,               -- JSON: whom and what it covers, discount_bp (1/100 %), rates of its own (pico-dollars)
    PRIMARY KEY (version, place)
) STRICT, WITHOUT ROWID;
