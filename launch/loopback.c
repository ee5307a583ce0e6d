/* Loaded before other libraries into mpirun where all ranks are on its own machine: Open MPI 4.1 listens on
 * all interfaces whatever it is told, and takes connections from whoever comes. What would be bound to any
 * address is bound to the loopback interface. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

typedef int bind_function(int, const struct sockaddr*, socklen_t);

int bind(int socket, const struct sockaddr* address, socklen_t size) {
    struct sockaddr_storage chosen;
    bind_function* next = 0;
    *(void**)&next = dlsym(RTLD_NEXT, "bind");
    if (!address || size > sizeof chosen) return next(socket, address, size);
    memcpy(&chosen, address, size);
    if (address->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
        struct in_addr* const to = &((struct sockaddr_in*)&chosen)->sin_addr;
        if (to->s_addr == htonl(INADDR_ANY)) to->s_addr = htonl(INADDR_LOOPBACK);
    } else if (address->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
        struct in6_addr* const to = &((struct sockaddr_in6*)&chosen)->sin6_addr;
        if (IN6_IS_ADDR_UNSPECIFIED(to)) *to = in6addr_loopback;
    }
    return next(socket, (const struct sockaddr*)&chosen, size);
}
