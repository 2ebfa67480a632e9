/* Server: the life of the agent process. */
#ifndef TOLLGATE_SERVER_H
#define TOLLGATE_SERVER_H

/* Runs until SIGTERM or SIGINT; SIGHUP reloads. The process's exit code: 0 after a clean stop, 1 when it could not start. */
int server_run(const char *config_file);

#endif
