-- Schema 9: what the tightest money limit had left when the request was decided; null when none applied.
ALTER TABLE request_row ADD COLUMN budget_left_nano INTEGER;
