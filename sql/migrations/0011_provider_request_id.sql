-- Schema 11: the provider's own id of a request, which its support asks for: of the answer, and of each try.
ALTER TABLE request_row ADD COLUMN provider_request_id TEXT;
ALTER TABLE attempt_row ADD COLUMN provider_request_id TEXT;
