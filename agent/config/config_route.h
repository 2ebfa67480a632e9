/* The routing part of the configuration: targets and their conditions, members to drop or refuse, circuit breakers. */
#ifndef TOLLGATE_CONFIG_ROUTE_H
#define TOLLGATE_CONFIG_ROUTE_H

#include "config/config.h"
#include "config/config_doc.h"
#include "route/breaker.h"
#include "route/route.h"

/* Turns primary and fallback into targets and fills in words that were left out; before any check. */
void config_route_defaults(struct config *c);
/* One model: its targets, order and conditions; one provider: dialects, drop and refuse, its breaker. */
void config_route_check_model(const struct config *c, unsigned model, const struct config_doc *doc, struct config_errors *errors);
void config_route_check_provider(const struct config *c, unsigned provider, const struct config_doc *doc, struct config_errors *errors);
void config_route_check_breaker(const struct config_breaker *b, const char *path, const struct config_doc *doc,
                                struct config_errors *errors);

/* What follows is for values that passed the checks. */

struct breaker_options config_breaker(const struct config *c, const struct config_provider *p);
enum route_order config_route_order(const char *word);
enum route_sticky config_route_sticky(const char *word);
/* "5%", "0.25%": hundredths of a per cent, -1 when it is none. */
int32_t config_percent(const char *text);
/* ask_feature bits of a list of words. */
unsigned config_features(char *const *words, unsigned count);
/* (1 << enum endpoint) bits; 0: all. */
unsigned config_dialects(const struct config_provider *p);
/* Days and times into *out, by the rules of base/hours.h: the days may stand in `at` or in the list. NULL, or what is wrong (static). */
const char *config_hours(const struct config_hours *h, struct hours *out);
/* True for a member of request bodies that a list may name: not one the gateway itself reads the request by. */
bool config_member_ok(const char *name);

#endif
