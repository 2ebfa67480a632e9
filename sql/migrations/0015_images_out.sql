-- Schema 15: images that requests are answered with.
ALTER TABLE request_row ADD COLUMN images_out INTEGER NOT NULL DEFAULT 0;   -- answered with; what was held while it is open
ALTER TABLE request_row ADD COLUMN output_image INTEGER NOT NULL DEFAULT 0; -- of `output`: tokens of images
ALTER TABLE price ADD COLUMN image_out_pico INTEGER NOT NULL DEFAULT 0;     -- per image answered with
ALTER TABLE price ADD COLUMN image_token_pico INTEGER NOT NULL DEFAULT 0;   -- per token of such images; 0: as output
