/* Holds a pod's namespaces open and collects its orphans, as the pause container does. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void collect(int signal) {
    (void)signal;
    while (waitpid(-1, 0, WNOHANG) > 0)
        ;
}

static void leave(int signal) {
    (void)signal;
    _exit(0);
}

int main(void) {
    signal(SIGINT, leave);
    signal(SIGTERM, leave);
    signal(SIGCHLD, collect);
    for (;;)
        pause();
}
