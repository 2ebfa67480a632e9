/* Writes the HAProxy files of a plan given as lines `key value` on standard input into the folder named by the first argument:
 * the generator as tests of HAProxy itself use it, without a tollgate configuration around it. A `group NAME` line opens a group;
 * the keys after it belong to it. */
#include "route/haproxy_config.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ITEMS 64

static struct haproxy_bind binds[MAX_ITEMS];
static struct haproxy_group groups[MAX_ITEMS];
static struct haproxy_header headers[MAX_ITEMS][8];

static bool set_group(struct haproxy_group *g, const char *key, char *value)
{
    if (strcmp(key, "url") == 0)
        g->url = value;
    else if (strcmp(key, "path") == 0)
        g->path = value;
    else if (strcmp(key, "query") == 0)
        g->query = value;
    else if (strcmp(key, "ca_file") == 0)
        g->ca_file = value;
    else if (strcmp(key, "server_name") == 0)
        g->server_name = value;
    else if (strcmp(key, "insecure") == 0)
        g->insecure = true;
    else if (strcmp(key, "first_byte_stream_ms") == 0)
        g->first_byte_stream_ms = atoi(value);
    else if (strcmp(key, "first_byte_plain_ms") == 0)
        g->first_byte_plain_ms = atoi(value);
    else if (strcmp(key, "auth") == 0)
        return haproxy_auth_from_word(value, &g->auth);
    else if (strcmp(key, "header") == 0 && strchr(value, ' ')) {
        struct haproxy_header *h = &headers[g - groups][g->header_count++];
        char *space = strchr(value, ' ');
        *space = '\0';
        *h = (struct haproxy_header){ value, space + 1 };
        g->headers = headers[g - groups];
    } else
        return false;
    return true;
}

static bool set_plan(struct haproxy_plan *p, const char *key, char *value)
{
    if (strcmp(key, "bind") == 0)
        binds[p->bind_count++].address = value;
    else if (strcmp(key, "bind_h2") == 0)
        binds[p->bind_count++] = (struct haproxy_bind){ .address = value, .http2_only = true };
    else if (strcmp(key, "conf_dir") == 0)
        p->conf_dir = value;
    else if (strcmp(key, "run_dir") == 0)
        p->run_dir = value;
    else if (strcmp(key, "chroot") == 0)
        p->chroot = value;
    else if (strcmp(key, "user") == 0)
        p->user = value;
    else if (strcmp(key, "lua") == 0)
        p->lua = atoi(value) != 0;
    else if (strcmp(key, "spop_address") == 0)
        p->spop_address = value;
    else if (strcmp(key, "ring_address") == 0)
        p->ring_address = value;
    else if (strcmp(key, "settle_socket") == 0)
        p->settle_socket = value;
    else if (strcmp(key, "relay") == 0)
        p->relay = value;
    else if (strcmp(key, "max_body_bytes") == 0)
        p->max_body_bytes = atoll(value);
    else if (strcmp(key, "first_byte_stream_ms") == 0)
        p->first_byte_stream_ms = atoi(value);
    else if (strcmp(key, "first_byte_plain_ms") == 0)
        p->first_byte_plain_ms = atoi(value);
    else if (strcmp(key, "stall_ms") == 0)
        p->stall_ms = atoi(value);
    else if (strcmp(key, "decision_ms") == 0)
        p->decision_ms = atoi(value);
    else if (strcmp(key, "retry_after_ms") == 0)
        p->retry_after_ms = atoi(value);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    struct haproxy_plan plan = { .binds = binds, .groups = groups, .lua = true };
    char line[4096], why[512];
    if (argc != 2) {
        fprintf(stderr, "usage: write_plan FOLDER < plan\n");
        return 2;
    }
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        char *text = strdup(line), *value = text ? strchr(text, ' ') : NULL;
        if (!value) {
            fprintf(stderr, "write_plan: not `key value`: %s\n", line);
            return 2;
        }
        *value++ = '\0';
        if (strcmp(text, "group") == 0)
            groups[plan.group_count++].name = value;
        else if (!(plan.group_count ? set_group(&groups[plan.group_count - 1], text, value) : set_plan(&plan, text, value))) {
            fprintf(stderr, "write_plan: unknown key: %s\n", line);
            return 2;
        }
    }
    if (!haproxy_write_folder(argv[1], &plan, why, sizeof(why))) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    return 0;
}
