/* Put before a program by LD_PRELOAD: reads hang for ever, as from a file server that is gone, of the file
 * whose name ends in $HANGING_FILE, once the file $HANGING_SINCE exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int hangs(int fd) {
    char link[64], path[4096];
    const char *name = getenv("HANGING_FILE"), *since = getenv("HANGING_SINCE");
    if (!name || !since || access(since, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    const size_t wanted = strlen(name);
    return length >= (ssize_t)wanted && !strncmp(path + length - wanted, name, wanted);
}

typedef ssize_t (*Read)(int, void*, size_t, off_t);

ssize_t pread(int fd, void* data, size_t count, off_t offset) {
    while (hangs(fd)) sleep(1);
    return ((Read)dlsym(RTLD_NEXT, "pread"))(fd, data, count, offset);
}

ssize_t pread64(int fd, void* data, size_t count, off_t offset) {
    return pread(fd, data, count, offset);
}
