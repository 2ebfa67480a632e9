#include "dialect/content.h"

#include "dialect/media.h"

void content_image(struct walk *w, struct json_text url, enum image_detail detail, enum ask_place place)
{
    struct media m = media_from_url(url);
    struct ask_part *p = walk_part(w, PART_IMAGE, place);

    if (p == NULL)
        return;
    p->width = m.width;
    p->height = m.height;
    p->bytes = m.bytes;
    p->detail = detail;
    w->ask->features |= ASK_IMAGES;
}

static enum image_detail detail_of(struct json_text t)
{
    static const struct slice low = FIELD("low"), high = FIELD("high"), original = FIELD("original");
    if (json_text_is(t, low))
        return IMAGE_LOW;
    return json_text_is(t, high) || json_text_is(t, original) ? IMAGE_HIGH : IMAGE_AUTO;
}

/* {"url": ..., "detail": ...}, or the URL alone. */
static void image_url(struct walk *w, struct json_text *url, struct json_text *detail)
{
    enum { URL, DETAIL };
    static const struct slice names[] = { FIELD("url"), FIELD("detail") };
    struct fields f = FIELDS(names, 2, true);

    if (walk_is(w, JSON_STRING)) {
        walk_string(w, url);
        return;
    }
    if (walk_null(w) || !walk_object(w, "an object"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;) {
        if (k == URL)
            walk_string(w, url);
        else if (!walk_null(w))
            walk_string(w, detail);
    }
}

/* {"data": base64, "format": ...} */
static void input_audio(struct walk *w, enum ask_place place)
{
    enum { DATA, FORMAT };
    static const struct slice names[] = { FIELD("data"), FIELD("format") };
    struct fields f = FIELDS(names, 1, true);
    struct json_text data = { 0 };

    if (!walk_object(w, "an object"))
        return;
    while (walk_field(w, &f) >= 0)
        walk_string(w, &data);
    struct ask_part *p = walk_part(w, data.raw.n > 0 ? PART_AUDIO : PART_UNKNOWN, place);
    if (p != NULL) {
        p->bytes = media_from_base64(data).bytes;
        w->ask->features |= ASK_AUDIO;
    }
}

struct file_ref {
    struct json_text data, name, id, url;
};

static void file_part(struct walk *w, const struct file_ref *f, enum ask_place place)
{
    walk_text_read(w, f->name, place);
    struct ask_part *p = walk_part(w, f->data.raw.n > 0 ? PART_FILE : PART_UNKNOWN, place);
    if (p == NULL)
        return;
    w->ask->features |= ASK_FILES;
    if (f->data.raw.n > 0) {
        struct media m = media_from_url(f->data);
        p->bytes = m.inline_data ? m.bytes : media_from_base64(f->data).bytes;
    }
    if (f->id.raw.n > 0)
        w->ask->features |= ASK_STORED;
}

static void file_object(struct walk *w, enum ask_place place)
{
    enum { FILE_DATA, FILENAME, FILE_ID };
    static const struct slice names[] = { FIELD("file_data"), FIELD("filename"), FIELD("file_id") };
    struct fields f = FIELDS(names, 3, true);
    struct file_ref file = { 0 };

    if (!walk_object(w, "an object"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;)
        walk_optional_text(w, k == FILE_DATA ? &file.data : k == FILENAME ? &file.name : &file.id);
    file_part(w, &file, place);
}

/* What the members of a part said. */
struct part_seen {
    struct json_text type, text, refusal, image, detail;
    struct file_ref file;
    bool has_text, has_image, has_audio, has_file_object;
};

static void part_finish(struct walk *w, const struct part_seen *seen, enum ask_place place)
{
    static const struct slice image_types[] = { FIELD("image_url"), FIELD("input_image") };
    static const struct slice file_types[] = { FIELD("file"), FIELD("input_file") };
    static const struct slice other_types[] = { FIELD("text"),        FIELD("input_text"),     FIELD("output_text"), FIELD("refusal"),
                                                FIELD("input_audio"), FIELD("reasoning_text"), FIELD("summary_text") };
    bool known = false, image = false, file = false;

    for (size_t i = 0; i < 2; i++) {
        image = image || json_text_is(seen->type, image_types[i]);
        file = file || json_text_is(seen->type, file_types[i]);
    }
    for (size_t i = 0; i < sizeof other_types / sizeof *other_types; i++)
        known = known || json_text_is(seen->type, other_types[i]);
    walk_text_read(w, seen->text, place);
    walk_text_read(w, seen->refusal, place);
    /* The members count, whatever type says: no server is trusted to look at type first. */
    if (seen->has_image)
        content_image(w, seen->image, detail_of(seen->detail), place);
    else if (image) /* an image by file_id */
        content_image(w, (struct json_text){ 0 }, IMAGE_HIGH, place);
    if (image && seen->file.id.raw.n > 0)
        w->ask->features |= ASK_STORED;
    bool file_member = seen->file.data.raw.n > 0 || seen->file.url.raw.n > 0 || (seen->file.id.raw.n > 0 && !image);
    if (file_member || (file && !seen->has_file_object))
        file_part(w, &seen->file, place);
    if (!known && !image && !file)
        (void)walk_part(w, PART_UNKNOWN, place);
}

void content_part(struct walk *w, enum ask_place place)
{
    enum { TYPE, TEXT, REFUSAL, IMAGE_URL, DETAIL, INPUT_AUDIO, FILE_OBJECT, FILE_DATA, FILENAME, FILE_ID, FILE_URL, READ };
    static const struct slice names[] = {
        FIELD("type"), FIELD("text"), FIELD("refusal"), FIELD("image_url"), FIELD("detail"), FIELD("input_audio"), FIELD("file"),
        FIELD("file_data"), FIELD("filename"), FIELD("file_id"), FIELD("file_url"),
        FIELD("annotations"), FIELD("logprobs"), FIELD("cache_control"), FIELD("prompt_cache_breakpoint"),
    };
    struct fields f = FIELDS(names, READ, true);
    struct part_seen seen = { 0 };

    if (!walk_object(w, "an object with a type"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;) {
        switch (k) {
        case TYPE: walk_string(w, &seen.type); break;
        case TEXT: walk_optional_text(w, &seen.text); break;
        case REFUSAL: walk_optional_text(w, &seen.refusal); break;
        case IMAGE_URL:
            image_url(w, &seen.image, &seen.detail);
            seen.has_image = seen.image.raw.n > 0;
            break;
        case DETAIL: walk_optional_text(w, &seen.detail); break;
        case INPUT_AUDIO: input_audio(w, place); break;
        case FILE_OBJECT:
            file_object(w, place);
            seen.has_file_object = true;
            break;
        case FILE_DATA: walk_optional_text(w, &seen.file.data); break;
        case FILENAME: walk_optional_text(w, &seen.file.name); break;
        case FILE_ID: walk_optional_text(w, &seen.file.id); break;
        default: walk_optional_text(w, &seen.file.url); break;
        }
    }
    walk_require(w, &f, TYPE);
    part_finish(w, &seen, place);
}

void content_walk(struct walk *w, enum ask_place place)
{
    switch (json_scan_kind(&w->s)) {
    case JSON_STRING:
        walk_text(w, place);
        break;
    case JSON_NULL:
        walk_null(w);
        break;
    case JSON_ARRAY:
        if (walk_array(w, "an array"))
            while (walk_element(w)) {
                if (walk_is(w, JSON_STRING)) /* some servers take bare strings */
                    walk_text(w, place);
                else
                    content_part(w, place);
            }
        break;
    default:
        walk_wrong_type(w, "a string or an array of content parts");
    }
}

void content_move(struct walk *w, size_t first, enum ask_place place)
{
    for (size_t i = first; i < w->count; i++) {
        struct ask_part *p = &w->chunks[i / ASK_PARTS_CHUNK][i % ASK_PARTS_CHUNK];
        if (p->place == IN_CONTENT)
            p->place = place;
    }
}

void content_sealed(struct walk *w, enum ask_place place)
{
    struct json_text t = { 0 };
    walk_optional_text(w, &t);
    struct ask_part *p = t.raw.n > 0 ? walk_part(w, PART_FILE, place) : NULL;
    if (p != NULL)
        p->bytes = media_from_base64(t).bytes;
}
