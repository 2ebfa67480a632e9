/* What commands record that change something while no agent runs. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_AUDIT_H
#define TOLLGATE_ADMIN_TOLLGATECTL_AUDIT_H

#include <stdbool.h>

struct ctl_place;

/* Before the act, with the words the agent would use (agent/manage/auditing.h). False after saying why: then nothing is to be done. */
bool ctl_audit_offline(const struct ctl_place *p, const char *action, const char *object, const char *detail) __attribute__((warn_unused_result));

#endif
