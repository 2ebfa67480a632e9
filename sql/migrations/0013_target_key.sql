-- Schema 13: which of the provider's keys served: its name in the configuration, never the key. '' for what was sent before this schema, or
-- without a key. Made anew rather than renamed: views name the table.
CREATE TABLE target_before AS SELECT id, grp, provider, model FROM target;
DROP TABLE target;
CREATE TABLE target (
    id       INTEGER PRIMARY KEY,
    grp      TEXT NOT NULL,
    provider TEXT NOT NULL,
    model    TEXT NOT NULL,
    key_name TEXT NOT NULL,
    UNIQUE (model, grp, provider, key_name)
) STRICT;
INSERT INTO target SELECT id, grp, provider, model, '' FROM target_before;
DROP TABLE target_before;
