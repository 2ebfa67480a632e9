-- What a gateway key may be used for beside its models, and which secret its hash was made with.
ALTER TABLE gateway_key ADD COLUMN endpoints TEXT NOT NULL DEFAULT ''; -- one a line: chat, responses, completions, embeddings, messages; '': all
ALTER TABLE gateway_key ADD COLUMN budget TEXT NOT NULL DEFAULT '';    -- "$50 month"; '': none of its own
ALTER TABLE gateway_key ADD COLUMN secret TEXT NOT NULL DEFAULT '';    -- tells the secret, gives nothing of it away
