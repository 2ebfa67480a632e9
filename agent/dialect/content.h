/* Content parts as OpenAI's APIs write them: chat {"type":"text",...} and Responses {"type":"input_text",...} share most of their members.
 * Internal to this folder. */
#ifndef TOLLGATE_DIALECT_CONTENT_H
#define TOLLGATE_DIALECT_CONTENT_H

#include "dialect/walk.h"

/* A string, an array of parts, or null. */
void content_walk(struct walk *w, enum ask_place place);
/* One part, an object; what its members mean is decided when all are read, as they come in any order. */
void content_part(struct walk *w, enum ask_place place);
/* Moves the text parts from `first` on, as far as they are IN_CONTENT, to `place`. */
void content_move(struct walk *w, size_t first, enum ask_place place);
/* Adds an image that is carried in, or named by, a URL. */
void content_image(struct walk *w, struct json_text url, enum image_detail detail, enum ask_place place);
/* Reasoning given back sealed, base64, or null. */
void content_sealed(struct walk *w, enum ask_place place);

#endif
