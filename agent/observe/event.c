#include "observe/event.h"

const char *event_kind_name(enum event_kind kind)
{
    static const char *const names[] = { "allowed", "denied", "answered", "settled", "corrected" };
    return names[kind];
}

const char *event_known_by_name(enum known_by known_by)
{
    static const char *const names[] = { "open", "reported", "counted", "bounded", "none" };
    return names[known_by];
}
