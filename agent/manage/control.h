/* Control: the methods of the admin socket. Control thread. */
#ifndef TOLLGATE_CONTROL_H
#define TOLLGATE_CONTROL_H

#include "admin/rpc.h"

/* For rpc_server_new with the struct agent as `user`: ping, status, budget, reload, reprice, close_month. */
extern const struct rpc_method control_methods[];

#endif
