-- Schema 7: what did not go as planned, found by time without reading the rest: refused, failed, cut, rescued by a fallback.
CREATE INDEX request_trouble ON request_row (started_us) WHERE state = 2 OR fallback = 1 OR outcome <> 'ok';
