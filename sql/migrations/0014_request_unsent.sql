-- Schema 14: settled requests that no provider was asked for count in no limit on requests.
CREATE INDEX request_unsent ON request_row (started_us) WHERE known_by = 4 AND attempts = 0;
